//! The predictor against the graph in evaluation mode, for every kind of network in recipes.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Mode, ParamKind, Params};
use ff_nn::layers::BagInput;
use ff_nn::models::{Bags, Mlp, MlpConfig, MlpInput, Predictor};
use ff_nn::{ActivationKind, Builder, ModelConfig, NormKind};
use ff_tensor::{DType, Device, DeviceOptions, Element, Isa, Key, Rng, Tensor};
const NORMS: [NormKind; 4] = [NormKind::None, NormKind::Batch, NormKind::Layer, NormKind::Rms];

fn device(threads: usize, isa: Option<Isa>) -> Device {
    Device::open(DeviceOptions { threads, isa }).unwrap()
}

/// Parameters away from values that would hide a missing term, with positive variances.
fn params(config: &MlpConfig, device: &Device) -> (Mlp, Params) {
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, config);
    let mut params = builder.build(device, DType::F32, 5, false).unwrap();
    let mut rng = Rng::new(Key::new(9));
    let infos = params.infos().to_vec();
    for (i, info) in infos.iter().enumerate() {
        for value in params.values_mut::<f32>(ff_graph::ParamId::new(i)).unwrap() {
            let noise = 0.1 * rng.normal() as f32;
            *value += if info.spec.kind == ParamKind::Statistic { noise.abs() } else { noise };
        }
    }
    (model, params)
}

struct Rows {
    numeric: Vec<f32>,
    /// Of categories, then of texts.
    ids: Vec<i32>,
}

/// Three sparse rows for each text, the first one empty.
const TEXTS: Bags<'_> = Bags {
    offsets: &[0, 0, 4, 7],
    indices: &[3, 1, 1, 9, 0, 8, 2],
    values: &[0.5, -1.0, 2.0, 0.25, 1.5, -0.75, 1.0],
};

impl Rows {
    fn new(config: &MlpConfig, rows: usize) -> Self {
        let mut rng = Rng::new(Key::new(8));
        let numeric = (0..rows * config.numeric).map(|_| rng.normal() as f32).collect();
        let id = |n: &usize, row: usize| (row * 3 % n) as i32;
        let ids = (0..rows)
            .flat_map(|row| {
                let categories = config.cardinalities.iter().map(move |n| id(n, row));
                categories.chain(config.texts.iter().map(move |_| row as i32 % 3))
            })
            .collect();
        Self { numeric, ids }
    }

    fn on_graph(&self, config: &MlpConfig, model: &Mlp, graph: &mut Graph) -> Vec<f32> {
        fn input<T: Element>(graph: &Graph, values: &[T], dims: &[usize]) -> ff_graph::Value {
            graph.input(Tensor::from_slice(graph.device(), values, dims).unwrap())
        }
        let (categories, texts) = (config.cardinalities.len(), config.texts.len());
        let columns = categories + texts;
        let rows = self.ids.len().checked_div(columns);
        let rows = rows.unwrap_or_else(|| self.numeric.len() / config.numeric);
        let numeric =
            (config.numeric > 0).then(|| input(graph, &self.numeric, &[rows, config.numeric]));
        let column = |c| self.ids.iter().copied().skip(c).step_by(columns).collect::<Vec<i32>>();
        let text = |c| BagInput {
            ids: input(graph, &column(c), &[rows]),
            offsets: input(graph, TEXTS.offsets, &[4]),
            indices: input(graph, TEXTS.indices, &[7]),
            values: input(graph, TEXTS.values, &[7]),
        };
        let texts = (categories..columns).map(text).collect();
        let categorical = (0..categories).map(|c| input(graph, &column(c), &[rows])).collect();
        let output = model.forward(graph, &MlpInput { numeric, categorical, texts }).unwrap();
        output.slice::<f32>().unwrap().to_vec()
    }
}

/// Three layers of sums of at most 24 terms of about one: a few tens of roundings of a value and
/// its activation.
const TOLERANCE: f32 = 1e-5;

fn check(config: &MlpConfig, rows: usize, threads: usize, isa: Option<Isa>) {
    let device = device(threads, isa);
    let (model, params) = params(config, &device);
    let mut predictor = Predictor::new(config, &params, &device).unwrap();
    let mut graph = Graph::new(&device, params);
    graph.set_mode(Mode::Eval);
    let input = Rows::new(config, rows);
    let expected = input.on_graph(config, &model, &mut graph);
    let mut found = vec![f32::NAN; rows * config.outputs];
    let texts = vec![TEXTS; config.texts.len()];
    predictor.predict_with_texts(&input.numeric, &input.ids, &texts, &mut found).unwrap();
    for (i, (y, e)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (y - e).abs() <= TOLERANCE * (1.0 + e.abs()),
            "{:?}, {:?}, {rows} rows, {threads} threads: output {i} is {y}, expected {e}",
            config.network.activation,
            config.network.norm
        );
    }
}

fn config(network: ModelConfig) -> MlpConfig {
    MlpConfig { numeric: 4, cardinalities: vec![3, 5], outputs: 3, network, ..Default::default() }
}

#[test]
fn every_activation_with_every_normalisation() {
    for (i, activation) in ActivationKind::all().enumerate() {
        for (j, norm) in NORMS.into_iter().enumerate() {
            let network = ModelConfig {
                hidden: vec![20, 20],
                activation,
                norm,
                dropout: 0.2,
                input_dropout: 0.1,
                residual: (i + j) % 2 == 0,
                bias: j != 3,
                ..Default::default()
            };
            for rows in [1, 7] {
                check(&config(network.clone()), rows, 1, None);
            }
        }
    }
}

#[test]
fn every_instruction_set_and_number_of_rows() {
    let network = ModelConfig { hidden: vec![24, 17], norm: NormKind::Batch, ..Default::default() };
    for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|&isa| isa <= Isa::detect())
    {
        for rows in [1, 2, 5, 12, 13, 31, 97, 200] {
            check(&config(network.clone()), rows, 2, Some(isa));
        }
    }
}

#[test]
fn inputs_of_one_kind_and_no_hidden_layer() {
    let linear = ModelConfig { hidden: vec![], ..Default::default() };
    check(&MlpConfig { cardinalities: vec![], ..config(linear.clone()) }, 5, 1, None);
    check(&MlpConfig { numeric: 0, ..config(linear) }, 5, 1, None);
    let hidden = ModelConfig { hidden: vec![6, 6], residual: true, ..Default::default() };
    check(&MlpConfig { cardinalities: vec![], ..config(hidden) }, 1, 1, None);
}

#[test]
fn texts_alone_and_beside_other_inputs() {
    let network = ModelConfig { hidden: vec![6], members: Some(3), ..Default::default() };
    let beside = MlpConfig { texts: vec![10, 12], ..config(network) };
    let alone = MlpConfig { numeric: 0, cardinalities: vec![], ..beside.clone() };
    let mut hidden = alone.clone();
    hidden.network.text_dim = Some(5);
    assert!(alone.texts_alone() && alone.members().is_none() && !hidden.texts_alone());
    for config in [beside, alone, hidden] {
        for rows in [1, 7, 200] {
            check(&config, rows, 2, None);
        }
    }
}

/// Large enough for threads to share columns (one row), and rows (many).
#[test]
fn threads_give_the_same_bits() {
    let network =
        ModelConfig { hidden: vec![600, 500], norm: NormKind::Layer, ..Default::default() };
    let config = config(network);
    for rows in [1, 2, 32, 33, 97, 150] {
        let input = Rows::new(&config, rows);
        let results = [1, 2, 3, 4].map(|threads| {
            let device = device(threads, None);
            let (_, params) = params(&config, &device);
            let mut predictor = Predictor::new(&config, &params, &device).unwrap();
            let mut y = vec![0.0; rows * config.outputs];
            predictor.predict_with_ids(&input.numeric, &input.ids, &mut y).unwrap();
            y
        });
        assert!(results.iter().all(|y| *y == results[0]), "{rows} rows");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let config = config(ModelConfig::default());
    let device = device(1, None);
    let (_, params) = params(&config, &device);
    let mut predictor = Predictor::new(&config, &params, &device).unwrap();
    let mut y = [0.0; 6];
    let error = predictor.predict(&[0.0; 8], &mut y).unwrap_err().to_string();
    assert!(error.contains("4 numbers, 2 ids and 3 outputs"), "{error}");
    let error = predictor.predict_with_ids(&[0.0; 8], &[0, 0, 2, 5], &mut y).unwrap_err();
    assert!(error.to_string().contains("id 5 in row 1 of category 1"), "{error}");
    let error = predictor.predict_with_ids(&[0.0; 8], &[0, 0, -1, 4], &mut y).unwrap_err();
    assert!(error.to_string().contains("id -1 in row 1 of category 0"), "{error}");
    predictor.predict_with_ids(&[], &[], &mut []).unwrap();

    let mut other = config.clone();
    other.network.precision = ff_nn::Precision::Bf16;
    let error = Predictor::new(&other, &params, &device).unwrap_err().to_string();
    assert!(error.contains("bf16") && error.contains("expected f32"), "{error}");

    let other = MlpConfig { outputs: 4, ..config };
    let error = Predictor::new(&other, &params, &device).unwrap_err().to_string();
    assert!(error.contains("output.weight") && error.contains("[4, 32]"), "{error}");
}
