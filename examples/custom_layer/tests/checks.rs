//! The operation and the layer, checked like those of `feedforward`.

use custom_layer::{Snake, SnakeLayer};
use ff_graph::{Case, CaseInput, Fill, Graph, Params, Spec};
use ff_nn::Builder;
use ff_nn::layers::{Feedforward, Layer, Sequence};
use ff_ops::{Activation, Reduction, RegressionLoss};
use ff_tensor::{DType, Device, Tensor};
use ff_testkit::{Machine, check_case, network_check};

fn cases() -> Vec<Case> {
    let case = |name: &str, dims: &[usize], alpha: Fill| {
        let features = dims[dims.len() - 1];
        let inputs = vec![CaseInput::normal(dims), CaseInput::new([features], alpha)];
        Case::new(format!("snake/{name}"), Snake::op(), inputs)
    };
    vec![
        case("positive", &[5, 3], Fill::Uniform(0.5, 2.0)),
        case("any_sign", &[5, 3], Fill::Normal(1.0)),
        case("zero", &[5, 3], Fill::Values(vec![0.0, 1e-9, -1e-3])),
        case("folded", &[2, 3, 4], Fill::Normal(1.0)),
        case("one", &[1, 1], Fill::Normal(1.0)),
        case("no_rows", &[0, 3], Fill::Normal(1.0)),
    ]
}

/// All checks of `feedforward`'s operations: gradients against central differences, accumulation,
/// planned memory, threads, instruction sets, NaN.
#[test]
fn the_operation_passes_every_check() {
    let machine = Machine::new().unwrap();
    for case in cases() {
        check_case(&case, &machine).assert();
    }
}

#[test]
fn a_wrong_shape_is_named() {
    let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
    let message = |x: &[Spec]| {
        let need = vec![false; x.len()];
        Snake::op().contract(x, &need).unwrap_err().to_string()
    };
    assert_eq!(
        message(&[spec(&[5, 3]), spec(&[2])]),
        "alpha must be [3], one per feature of x [5, 3], found [2]"
    );
    assert_eq!(message(&[spec(&[5, 3])]), "expected x and alpha, found 1 inputs");
}

fn network(builder: &mut Builder) -> Sequence {
    let mut network = Sequence::new();
    network.push(builder.scope("layers.0", |b| Feedforward::new(b, 1, 16, Activation::Identity)));
    network.push(builder.scope("layers.1", |b| SnakeLayer::new(b, 16, 2.0)));
    network.push(builder.scope("layers.2", |b| Feedforward::new(b, 16, 1, Activation::Identity)));
    network
}

/// sin 3x at 64 points between −2 and 2.
fn wave(device: &Device, dtype: DType) -> (Tensor, Tensor) {
    let x: Vec<f64> = (0..64).map(|i| f64::from(i) / 16.0 - 2.0 + 1.0 / 32.0).collect();
    let y: Vec<f64> = x.iter().map(|x| (3.0 * x).sin()).collect();
    let tensor = |values: &[f64]| {
        let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        match dtype {
            DType::F32 => Tensor::from_slice(device, &narrow, &[64, 1]),
            _ => Tensor::from_slice(device, values, &[64, 1]),
        }
        .unwrap()
    };
    (tensor(&x), tensor(&y))
}

fn loss(graph: &mut Graph, network: &Sequence) -> ff_graph::Result<ff_graph::Value> {
    let (x, target) = wave(&graph.device().clone(), graph.params().dtype());
    let (x, target) = (graph.input(x), graph.input(target));
    let y = network.forward(graph, x)?;
    graph.apply(&RegressionLoss::Mse.op(Reduction::Mean), &[&y, &target])
}

fn build(dtype: DType) -> (Sequence, Params) {
    let mut builder = Builder::new();
    let network = network(&mut builder);
    (network, builder.build(&Device::default(), dtype, 3, true).unwrap())
}

#[test]
fn the_gradient_of_a_network_with_the_layer_is_right() {
    let (network, params) = build(DType::F64);
    assert!(params.id("layers.1.alpha").is_some());
    network_check("snake network", params, |graph| loss(graph, &network)).assert();
}

#[test]
fn a_network_with_the_layer_learns_a_wave() {
    let (network, params) = build(DType::F32);
    let mut graph = Graph::new(&Device::default(), params);
    let alpha = graph.params().id("layers.1.alpha").unwrap();
    let mut losses = Vec::new();
    for _ in 0..400 {
        graph.reset();
        let loss = loss(&mut graph, &network).unwrap();
        losses.push(loss.item().unwrap());
        graph.backward(loss).unwrap();
        let (values, gradients) = graph.params_mut().flat_and_gradients::<f32>().unwrap();
        values.iter_mut().zip(gradients).for_each(|(v, g)| *v -= 0.02 * *g);
        graph.params_mut().clear_gradients();
    }
    let last = losses[losses.len() - 1];
    assert!(last < 0.05 * losses[0], "the loss went from {} to {last}", losses[0]);
    let alpha = graph.params().values::<f32>(alpha).unwrap();
    assert!(alpha.iter().any(|a| (a - 2.0).abs() > 0.01), "frequencies are learned: {alpha:?}");
}
