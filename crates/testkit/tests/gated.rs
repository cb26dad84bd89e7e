//! The gated block after hidden layers, against PyTorch, central differences and its predictor.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Mode, Params, Value};
use ff_nn::layers::Gated;
use ff_nn::models::{Mlp, MlpConfig, MlpInput, Predictor};
use ff_nn::{ActivationKind, Builder, ModelConfig, Precision};
use ff_ops::Activation;
use ff_tensor::{DType, Device, Element, Key, Rng, Tensor};
use ff_testkit::{WeightedSum, network_check};
use safetensors::SafeTensors;
use std::path::Path;

fn config(activation: Activation, expansion: f64, bias: bool) -> MlpConfig {
    let gated = Some(Gated { activation: activation.into(), expansion });
    let network = ModelConfig { hidden: vec![6, 6], gated, bias, ..Default::default() };
    network.validate().unwrap();
    MlpConfig { numeric: 4, outputs: 3, network, ..Default::default() }
}

fn build(config: &MlpConfig, dtype: DType) -> (Mlp, Params) {
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, config);
    (model, builder.build(&Device::default(), dtype, 5, true).unwrap())
}

fn forward<T: Element>(model: &Mlp, graph: &mut Graph, x: &[T]) -> Value {
    let x = Tensor::from_slice(graph.device(), x, &[x.len() / 4, 4]).unwrap();
    let numeric = Some(graph.input(x));
    model.forward(graph, &MlpInput { numeric, ..Default::default() }).unwrap()
}

fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(Key::new(seed));
    (0..count).map(|_| rng.normal()).collect()
}

/// Outputs and gradients in f64 agree within a few roundings of sums of at most 12 terms.
fn agrees_with_pytorch(file: &str, config: &MlpConfig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/network").join(file);
    let bytes = std::fs::read(path).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let data = stored.tensor(name).unwrap().data();
        data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let close = |what: &str, expected: &[f64], found: &[f64]| {
        assert_eq!(expected.len(), found.len(), "{what}");
        for (e, f) in expected.iter().zip(found) {
            assert!((e - f).abs() <= 1e-12 * (1.0 + e.abs()), "{what}: {f}, expected {e}");
        }
    };
    let (model, mut params) = build(config, DType::F64);
    let infos = params.infos().to_vec();
    assert_eq!(stored.len(), 2 * infos.len() + 3);
    for info in &infos {
        let id = params.id(&info.spec.name).unwrap();
        params.values_mut::<f64>(id).unwrap().copy_from_slice(&values(&info.spec.name));
    }
    let mut graph = Graph::new(&Device::default(), params);
    let y = forward(&model, &mut graph, &values("x"));
    close("y", &values("y"), y.slice().unwrap());
    let dims = y.shape().dims().to_vec();
    let dy = Tensor::from_slice(graph.device(), &values("dy"), &dims).unwrap();
    graph.backward_from(y, Some(dy)).unwrap();
    let gradients = graph.params_mut().gradients::<f64>().unwrap();
    for info in &infos {
        let name = format!("grad.{}", info.spec.name);
        close(&name, &values(&name), &gradients[info.range()]);
    }
}

#[test]
fn agrees_with_pytorch_in_values_and_gradients() {
    agrees_with_pytorch("gated_silu.safetensors", &config(Activation::Silu, 2.0, true));
    agrees_with_pytorch("gated_gelu.safetensors", &config(Activation::Gelu, 1.5, false));
}

/// Gates with several activations, after other layers.
fn networks() -> Vec<MlpConfig> {
    let kinds = [Activation::Silu, Activation::Gelu, Activation::Sigmoid];
    let config = |(i, activation)| {
        let mut config = config(activation, 1.5, i != 1);
        config.network.dropout = 0.2;
        config.network.residual = i == 2;
        config
    };
    kinds.into_iter().enumerate().map(config).collect()
}

#[test]
fn gradients_agree_with_central_differences() {
    for config in networks() {
        let (model, params) = build(&config, DType::F64);
        let result = network_check("gated", params, |graph| {
            let y = forward(&model, graph, &noise(7 * 4, 3));
            let dy = Tensor::from_slice(graph.device(), &noise(7 * 3, 4), &[7, 3]).unwrap();
            WeightedSum::apply(graph, &[&y], vec![dy])
        });
        result.assert();
    }
}

/// Rows through the graph in evaluation mode, and through the predictor in f32.
fn outputs(config: &MlpConfig, rows: usize) -> (Vec<f32>, Option<Vec<f32>>) {
    let (model, params) = build(config, DType::F32);
    let x: Vec<f32> = noise(rows * 4, 5).into_iter().map(|v| v as f32).collect();
    let f32 = config.network.precision == Precision::F32;
    let predicted = f32.then(|| {
        let mut predictor = Predictor::new(config, &params, &Device::default()).unwrap();
        let mut y = vec![f32::NAN; rows * 3];
        predictor.predict(&x, &mut y).unwrap();
        y
    });
    let mut graph = Graph::new(&Device::default(), params);
    graph.set_mode(Mode::Eval);
    let y = forward(&model, &mut graph, &x).slice::<f32>().unwrap().to_vec();
    (y, predicted)
}

/// The largest difference, relative to the largest value.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    off / a.iter().fold(0.0, |m: f32, v| m.max(v.abs()))
}

/// A few tens of roundings, as for other layers.
#[test]
fn the_predictor_computes_what_the_graph_does() {
    for config in networks() {
        for rows in [1, 7, 200] {
            let (graph, predictor) = outputs(&config, rows);
            let off = difference(&graph, &predictor.unwrap());
            assert!(off < 1e-5, "{:?}, {rows} rows: {off:e}", config.network.gated);
        }
    }
}

/// A bf16 has 8 bits; five products in a row round their inputs, and roundings partly cancel.
#[test]
fn bf16_is_near_f32() {
    for mut config in networks() {
        let (exact, _) = outputs(&config, 7);
        config.network.precision = Precision::Bf16;
        let off = difference(&exact, &outputs(&config, 7).0);
        assert!(off > 0.0 && off < 5.0 / 256.0, "{off:e}");
    }
}

#[test]
fn values_outside_of_their_domains_are_named() {
    for (expansion, activation, part) in [
        (0.0, Activation::Silu.into(), "model.gated.expansion: must be above 0"),
        (f64::NAN, Activation::Silu.into(), "model.gated.expansion"),
        (2.0, ActivationKind::Prelu, "model.gated.activation: prelu"),
    ] {
        let gated = Some(Gated { activation, expansion });
        let network = ModelConfig { gated, ..Default::default() };
        let error = network.validate().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
