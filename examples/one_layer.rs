//! One feedforward layer, by hand and by the library: forward, a loss, backward, one update.
//!
//! Run it with `cargo run -p feedforward --example one_layer`.
#![allow(clippy::print_stdout)] // The example prints its steps.

use feedforward::graph::{Graph, ParamKind, ParamSpec, Params};
use feedforward::ops::{Activation, Feedforward, Reduction, RegressionLoss};
use feedforward::tensor::{DType, Device, Tensor};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let device = Device::default();

    println!("A feedforward layer computes y = f(x Wᵀ + b).\n");
    let x = [1.0f32, 2.0];
    let weight = [2.0f32, 1.0, 1.0, 3.0]; // [out, in], row by row
    let bias = [0.0f32, 1.0];
    println!("x = {x:?}   W = [[2, 1], [1, 3]]   b = {bias:?}\n");

    // Parameters live in one flat arena; each has a name, a shape and a range.
    let specs = vec![
        ParamSpec::new("weight", [2, 2], ParamKind::Weight),
        ParamSpec::new("bias", [2], ParamKind::Bias),
    ];
    let mut params = Params::allocate(&device, DType::F32, specs, true)?;
    let (w, b) = (params.id("weight").ok_or("weight")?, params.id("bias").ok_or("bias")?);
    params.values_mut::<f32>(w)?.copy_from_slice(&weight);
    params.values_mut::<f32>(b)?.copy_from_slice(&bias);

    // The graph runs operations forward and records them.
    let mut graph = Graph::new(&device, params);
    let input = graph.variable(Tensor::from_slice(&device, &x, &[1, 2])?);
    let (w_value, b_value) = (graph.param(w), graph.param(b));

    println!("Forward, element by element:");
    println!("  z₁ = 2·1 + 1·2 + 0 = 4");
    println!("  z₂ = 1·1 + 3·2 + 1 = 8");
    let layer = Feedforward::op(Activation::Relu, true);
    let y = graph.apply(&layer, &[&input, &w_value, &b_value])?;
    println!(
        "  y = relu(z) = {:?}   (both are positive, so ReLU changes nothing)\n",
        y.slice::<f32>()?
    );
    assert_eq!(y.slice::<f32>()?, [4.0, 8.0]);

    let target = [3.0f32, 9.0];
    println!("The loss is the mean squared error against t = {target:?}:");
    println!("  L = ((4 − 3)² + (8 − 9)²) / 2 = 1");
    let t = graph.input(Tensor::from_slice(&device, &target, &[1, 2])?);
    let loss = graph.apply(&RegressionLoss::Mse.op(Reduction::Mean), &[&y, &t])?;
    println!("  L = {}\n", loss.item()?);
    assert_eq!(loss.item()?, 1.0);

    println!("Backward, from the loss to all inputs:");
    println!("  dy = 2 (y − t) / 2 = [1, −1]");
    println!("  dz = dy ⊙ relu′(z) = [1, −1]     (relu′ is 1 where z > 0, else 0)");
    println!("  dW = dzᵀ x         = [[1, 2], [−1, −2]]");
    println!("  db = Σ dz          = [1, −1]");
    println!("  dx = dz W          = [1·2 − 1·1, 1·1 − 1·3] = [1, −2]");
    graph.backward(loss)?;
    let dx = graph.grad(&input).ok_or("no gradient reached x")?.slice::<f32>()?.to_vec();
    let gradients = graph.params_mut().gradients::<f32>()?.to_vec();
    println!(
        "  the library: dW = {:?}, db = {:?}, dx = {dx:?}\n",
        &gradients[..4],
        &gradients[4..]
    );
    assert_eq!(gradients, [1.0, 2.0, -1.0, -2.0, 1.0, -1.0]);
    assert_eq!(dx, [1.0, -2.0]);

    let lr = 0.1f32;
    println!("One step of gradient descent at rate {lr}: w ← w − {lr} dw");
    let (values, gradients) = graph.params_mut().flat_and_gradients::<f32>()?;
    values.iter_mut().zip(gradients).for_each(|(value, gradient)| *value -= lr * *gradient);
    let values = graph.params().flat::<f32>()?;
    println!("  W = {:?}, b = {:?}\n", &values[..4], &values[4..]);

    // A new step: the tape is cleared, parameters stay.
    graph.reset();
    let input = graph.input(Tensor::from_slice(&device, &x, &[1, 2])?);
    let (w_value, b_value) = (graph.param(w), graph.param(b));
    let t = graph.input(Tensor::from_slice(&device, &target, &[1, 2])?);
    let y = graph.apply(&layer, &[&input, &w_value, &b_value])?;
    let loss = graph.apply(&RegressionLoss::Mse.op(Reduction::Mean), &[&y, &t])?;
    println!(
        "Forward again: y = {:?}, L = {:.4} — smaller than 1, so it learned.",
        y.slice::<f32>()?,
        loss.item()?
    );
    assert!(loss.item()? < 1.0);
    Ok(())
}
