//! A batch ensemble over piecewise-linear numbers: against `tabm` and `rtdl_num_embeddings`,
//! central differences, its predictor, and its members.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Mode, Params, Value};
use ff_nn::models::{Mlp, MlpConfig, MlpInput, Predictor};
use ff_nn::{ActivationKind, Builder, ModelConfig, NormKind, NumericKind, Precision};
use ff_ops::Activation;
use ff_tensor::{DType, Device, DeviceOptions, Element, Key, Rng, Tensor};
use ff_testkit::{WeightedSum, network_check};
use safetensors::SafeTensors;
use std::path::Path;

const MEMBERS: usize = 3;

fn config(activation: Activation) -> MlpConfig {
    let network = ModelConfig {
        hidden: vec![6, 6],
        activation: activation.into(),
        members: Some(MEMBERS),
        numeric: NumericKind::Piecewise,
        numeric_dim: Some(2),
        ..Default::default()
    };
    network.validate().unwrap();
    MlpConfig { numeric: 4, bins: vec![3; 4], outputs: 3, network, ..Default::default() }
}

fn build(config: &MlpConfig, dtype: DType) -> (Mlp, Params) {
    let device = Device::default();
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, config);
    let mut params = builder.build(&device, dtype, 5, true).unwrap();
    let edges = vec![vec![-1.0, -0.2, 0.3, 1.1]; 4];
    if let Some(numbers) = model.numbers() {
        match dtype {
            DType::F64 => numbers.set_edges::<f64>(&mut params, &edges).unwrap(),
            _ => numbers.set_edges::<f32>(&mut params, &edges).unwrap(),
        }
        // Vectors start as lines; bent ones tell more.
        let id = params.id("numeric.bins").unwrap();
        let bends = noise(params.info(id).spec.shape.len(), 8);
        if dtype == DType::F64 {
            params.values_mut::<f64>(id).unwrap().copy_from_slice(&bends);
        } else {
            let values = params.values_mut::<f32>(id).unwrap();
            values.iter_mut().zip(bends).for_each(|(v, bend)| *v = bend as f32);
        }
    }
    (model, params)
}

fn forward<T: Element>(model: &Mlp, graph: &mut Graph, x: &[T], dims: &[usize]) -> Value {
    let x = Tensor::from_slice(graph.device(), x, dims).unwrap();
    let numeric = Some(graph.input(x));
    model.forward(graph, &MlpInput { numeric, ..Default::default() }).unwrap()
}

fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(Key::new(seed));
    (0..count).map(|_| rng.normal()).collect()
}

/// Values, gradients, and twenty steps in f64: all within some roundings of short sums.
#[test]
fn agrees_with_tabm_in_values_gradients_and_twenty_steps() {
    const RATE: f64 = 0.01;
    let path = "fixtures/network/ensemble.safetensors";
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
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
    let (model, mut params) = build(&config(Activation::Silu), DType::F64);
    let infos = params.infos().to_vec();
    let trained: Vec<_> = infos.iter().filter(|i| i.spec.name != "numeric.edges").collect();
    assert_eq!(stored.len(), 3 * trained.len() + 4);
    for info in &infos {
        let id = params.id(&info.spec.name).unwrap();
        params.values_mut::<f64>(id).unwrap().copy_from_slice(&values(&info.spec.name));
    }
    let mut graph = Graph::new(&Device::default(), params);
    for step in 0..20 {
        graph.reset();
        graph.params_mut().clear_gradients();
        let y = forward(&model, &mut graph, &values("x"), &[5, 4]);
        assert_eq!(y.shape().dims(), [5, MEMBERS, 3]);
        if step == 0 {
            close("y", &values("y"), y.slice().unwrap());
        }
        let dy = Tensor::from_slice(graph.device(), &values("dy"), &[5, MEMBERS, 3]).unwrap();
        graph.backward_from(y, Some(dy)).unwrap();
        let gradients = graph.params_mut().gradients::<f64>().unwrap().to_vec();
        for info in &trained {
            let gradient = &gradients[info.range()];
            if step == 0 {
                let name = format!("grad.{}", info.spec.name);
                close(&name, &values(&name), gradient);
            }
            let params = graph.params_mut();
            let id = params.id(&info.spec.name).unwrap();
            let values = params.values_mut::<f64>(id).unwrap();
            values.iter_mut().zip(gradient).for_each(|(v, g)| *v -= RATE * g);
        }
    }
    for info in &trained {
        let name = format!("after.{}", info.spec.name);
        let id = graph.params().id(&info.spec.name).unwrap();
        close(&name, &values(&name), graph.params().values::<f64>(id).unwrap());
    }
}

/// Ensembles with what else may stand in a network.
fn networks() -> Vec<MlpConfig> {
    let change = |f: &dyn Fn(&mut MlpConfig)| {
        let mut config = config(Activation::Tanh);
        f(&mut config);
        config
    };
    vec![
        change(&|c| c.network.dropout = 0.2),
        change(&|c| (c.network.norm, c.network.residual) = (NormKind::Layer, true)),
        change(&|c| {
            c.network.norm = NormKind::Batch;
            c.network.activation = ActivationKind::Prelu;
        }),
        change(&|c| c.network.gated = Some(ff_nn::layers::Gated::default())),
        change(&|c| c.network.hidden.clear()),
        change(&|c| (c.bins, c.logits) = (vec![3, 0, 1, 2], true)),
        change(&|c| c.bins.clear()),
        change(&|c| (c.outputs, c.logits, c.network.members) = (1, true, Some(1))),
    ]
}

#[test]
fn gradients_agree_with_central_differences() {
    for config in networks() {
        let (model, params) = build(&config, DType::F64);
        let dims = [4, config.network.members.unwrap(), config.outputs];
        let result = network_check("ensemble", params, |graph| {
            // Rows of their own for each member.
            let x = [4, dims[1], 4];
            let y = forward(&model, graph, &noise(x.iter().product(), 3), &x);
            let dy = noise(dims.iter().product(), 4);
            let dy = Tensor::from_slice(graph.device(), &dy, &dims).unwrap();
            WeightedSum::apply(graph, &[&y], vec![dy])
        });
        result.assert();
    }
}

/// Some tens of roundings, as for other layers.
#[test]
fn the_predictor_computes_what_the_graph_does() {
    for (i, config) in networks().iter().enumerate() {
        let (model, params) = build(config, DType::F32);
        for rows in [1, 7, 200] {
            let x: Vec<f32> = noise(rows * 4, 5).into_iter().map(|v| v as f32).collect();
            let mut y = vec![f32::NAN; rows * config.outputs];
            let mut bits = Vec::new();
            for threads in [1, 2, 3] {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                let mut predictor = Predictor::new(config, &params, &device).unwrap();
                predictor.predict(&x, &mut y).unwrap();
                bits.push(y.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            }
            assert!(bits.iter().all(|b| *b == bits[0]), "network {i}, {rows} rows");
            let mut graph = Graph::new(&Device::default(), build(config, DType::F32).1);
            graph.set_mode(Mode::Eval);
            let expected = forward(&model, &mut graph, &x, &[rows, 4]);
            assert_eq!(expected.shape().dims(), [rows, config.outputs]);
            let expected = expected.slice::<f32>().unwrap();
            let largest = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            for (e, y) in expected.iter().zip(&y) {
                assert!((e - y).abs() < 1e-5 * largest, "network {i}, {rows} rows: {y}, {e}");
            }
        }
    }
}

#[test]
fn a_prediction_is_the_mean_of_the_members() {
    let mut config = config(Activation::Relu);
    config.logits = true;
    let (_, params) = build(&config, DType::F32);
    let device = Device::default();
    let x: Vec<f32> = noise(9 * 4, 6).into_iter().map(|v| v as f32).collect();
    let (mut all, mut each) = (vec![0.0; 9 * 3], vec![0.0; 9 * MEMBERS * 3]);
    Predictor::new(&config, &params, &device).unwrap().predict(&x, &mut all).unwrap();
    Predictor::of_members(&config, &params, &device).unwrap().predict(&x, &mut each).unwrap();
    let softmax = |z: &[f32]| {
        let sum: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
        z.iter().map(|&z| f64::from(z).exp() / sum).collect::<Vec<_>>()
    };
    for (all, each) in all.chunks(3).zip(each.chunks(MEMBERS * 3)) {
        let members: Vec<Vec<f64>> = each.chunks(3).map(softmax).collect();
        assert!(members[0] != members[1], "members differ");
        for (c, p) in softmax(all).into_iter().enumerate() {
            let mean = members.iter().map(|m| m[c]).sum::<f64>() / MEMBERS as f64;
            // Logarithms in f32 and back.
            assert!((p - mean).abs() < 1e-6, "{p}, {mean}");
        }
    }
}

#[test]
fn values_outside_of_their_domains_are_named() {
    let message = |f: &dyn Fn(&mut ModelConfig)| {
        let mut network = ModelConfig { members: Some(4), ..Default::default() };
        f(&mut network);
        network.validate().unwrap_err().to_string()
    };
    assert!(message(&|n| n.members = Some(0)).contains("model.members: must be from 1 to 1024"));
    assert!(message(&|n| n.precision = Precision::Bf16).contains("model.members: goes with"));
    assert!(message(&|n| n.bias = false).contains("each member has its own bias"));
    assert!(message(&|n| n.numeric_bins = Some(4)).contains("model.numeric_bins: goes with"));
    let piecewise = |n: &mut ModelConfig| {
        (n.numeric, n.numeric_dim) = (NumericKind::Piecewise, Some(0));
    };
    assert!(message(&piecewise).contains("model.numeric_dim: must be from 1"));
}
