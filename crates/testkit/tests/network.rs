//! The gradient check of whole networks as built from recipes: every activation with every
//! normalisation, and every loss.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Result, Value};
use ff_nn::models::{Mlp, MlpConfig, MlpInput};
use ff_nn::{
    ActivationKind, Builder, Loss, LossConfig, LossKind, LossTarget, ModelConfig, NormKind,
};
use ff_ops::{Activation, RegressionLoss};
use ff_tensor::{DType, Device, Element, Key, Rng, Tensor};
use ff_testkit::network_check;

const ROWS: usize = 7;
const NUMERIC: usize = 4;
const CARDINALITIES: [usize; 2] = [3, 5];

const LOSSES: [(LossKind, Option<usize>); 7] = [
    (LossKind::CrossEntropy, Some(3)),
    (LossKind::Bce, Some(2)),
    (LossKind::Focal, Some(3)),
    (LossKind::Kl, Some(3)),
    (LossKind::Regression(RegressionLoss::Mse), None),
    (LossKind::Regression(RegressionLoss::Mae), None),
    (LossKind::Regression(RegressionLoss::Huber { delta: 1.0 }), None),
];

fn input<T: Element>(graph: &Graph, values: &[T], dims: &[usize]) -> Value {
    graph.input(Tensor::from_slice(graph.device(), values, dims).unwrap())
}

/// Numbers and categories of every row, the same in every call.
fn rows(graph: &Graph) -> MlpInput {
    let mut rng = Rng::new(Key::new(8));
    let numbers: Vec<f64> = (0..ROWS * NUMERIC).map(|_| rng.normal()).collect();
    let numeric = Some(input(graph, &numbers, &[ROWS, NUMERIC]));
    let ids = CARDINALITIES.iter().map(|&n| {
        // Every id occurs, so that every row of a table has a gradient.
        let ids: Vec<i32> = (0..ROWS).map(|i| (i * 3 % n) as i32).collect();
        input(graph, &ids, &[ROWS])
    });
    MlpInput { numeric, categorical: ids.collect(), ..MlpInput::default() }
}

fn target(graph: &Graph, loss: &Loss) -> Value {
    match loss.target() {
        LossTarget::Classes => {
            let classes: Vec<i32> = (0..ROWS).map(|i| (i % loss.outputs()) as i32).collect();
            input(graph, &classes, &[ROWS])
        }
        LossTarget::Probabilities(n) => {
            let row: Vec<f64> = (1..=n).map(|c| c as f64 / (n * (n + 1) / 2) as f64).collect();
            input(graph, &row.repeat(ROWS), &[ROWS, n])
        }
        LossTarget::Values => {
            let values: Vec<f64> = (0..ROWS).map(|i| (i % 2) as f64).collect();
            input(graph, &values, &[ROWS, 1])
        }
    }
}

/// Checks a network of two hidden layers; both of one width, so that the second can be residual.
fn check(network: ModelConfig, kind: LossKind, classes: Option<usize>) {
    let name = format!("{:?}, {:?}, {kind:?}", network.activation, network.norm);
    let loss = Loss::new(&LossConfig { kind, ..Default::default() }, classes, None).unwrap();
    let config = MlpConfig {
        numeric: NUMERIC,
        cardinalities: CARDINALITIES.to_vec(),
        outputs: loss.outputs(),
        network,
        ..Default::default()
    };
    config.network.validate().unwrap();
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, &config);
    let mut params = builder.build(&Device::default(), DType::F64, 5, true).unwrap();
    // Moves biases from zero and gains from one, which would hide a missing term.
    let mut rng = Rng::new(Key::new(9));
    params.flat_mut::<f64>().unwrap().iter_mut().for_each(|v| *v += 0.1 * rng.normal());
    let build = |graph: &mut Graph| -> Result<Value> {
        let rows = rows(graph);
        let target = target(graph, &loss);
        let weights: Vec<f64> = (0..ROWS).map(|i| 0.5 + i as f64 / 4.0).collect();
        let weights = input(graph, &weights, &[ROWS]);
        let output = model.forward(graph, &rows)?;
        Ok(loss.apply(graph, &output, &target, Some(&weights))?.0)
    };
    network_check(&name, params, build).assert();
}

#[test]
fn every_activation_with_every_normalisation() {
    for (i, activation) in ActivationKind::all().enumerate() {
        for (j, norm) in [NormKind::None, NormKind::Batch, NormKind::Layer, NormKind::Rms]
            .into_iter()
            .enumerate()
        {
            let network = ModelConfig {
                hidden: vec![6, 6],
                activation,
                norm,
                dropout: 0.2,
                input_dropout: 0.1,
                residual: (i + j) % 2 == 0,
                bias: j != 3,
                ..Default::default()
            };
            check(network, LossKind::CrossEntropy, Some(3));
        }
    }
}

#[test]
fn every_loss() {
    for (kind, classes) in LOSSES {
        let hidden = vec![6, 6];
        let activation = Activation::Gelu.into();
        let network = ModelConfig { hidden, activation, residual: true, ..Default::default() };
        check(network, kind, classes);
    }
    // Without hidden layers: a linear model.
    check(
        ModelConfig { hidden: vec![], ..Default::default() },
        LossKind::Regression(RegressionLoss::Mse),
        None,
    );
}
