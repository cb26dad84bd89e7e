//! RealMLP against pytabkit, and periodic vectors against rtdl_num_embeddings: stored values, f64
//! gradients and twenty steps, made by `crates/testkit/scripts/realmlp_fixtures.py`.
#![allow(clippy::unwrap_used)]

use feedforward::Recipe;
use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Mode, Params, Value};
use feedforward::nn::models::{Mlp, MlpConfig, MlpInput};
use feedforward::nn::{Builder, Loss, ModelConfig, NumericKind};
use feedforward::table::{Target, prepare};
use feedforward::tensor::{DType, Device, Element, Tensor, ThreadPool};
use ff_train::optim::Optimizer;
use ff_train::schedule::Schedule;
use std::fmt::Write;
use std::path::Path;

const ROWS: usize = 12;
const STEPS: usize = 20;

struct Fixture(TensorFile);

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/network");
        Self(TensorFile::open(&folder.join(name)).unwrap())
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.0.f64(name).unwrap()
    }

    fn fill(&self, params: &mut Params) {
        for info in params.infos().to_vec() {
            let name = &info.spec.name;
            assert_eq!(self.0.dims(name).unwrap(), info.spec.shape.dims(), "{name}");
            let id = params.id(name).unwrap();
            params.values_mut::<f64>(id).unwrap().copy_from_slice(&self.values(name));
        }
    }

    /// Within a few roundings of short sums.
    fn close(&self, name: &str, found: &[f64], tolerance: f64) {
        let expected = self.values(name);
        assert_eq!(expected.len(), found.len(), "{name}");
        for (e, f) in expected.iter().zip(found) {
            assert!((e - f).abs() <= tolerance * (1.0 + e.abs()), "{name}: {f}, expected {e}");
        }
    }

    fn close_params(&self, prefix: &str, params: &Params, tolerance: f64) {
        for (id, info) in params.iter() {
            let name = format!("{prefix}.{}", info.spec.name);
            self.close(&name, params.values::<f64>(id).unwrap(), tolerance);
        }
    }
}

fn input<T: Element>(graph: &Graph, values: &[T], dims: &[usize]) -> Value {
    graph.input(Tensor::from_slice(graph.device(), values, dims).unwrap())
}

/// The settings of a run on so many classes, or on numbers.
fn recipe(classes: Option<usize>) -> Recipe {
    let sets = ["data.path='a.csv'", "model.kind='realmlp'", "model.hidden=[8,8,8]"];
    let own: &[&str] = match classes {
        Some(_) => &["model.activation='selu'", "optimizer.lr=0.04", "model.dropout=0"],
        None => &[
            "model.activation='mish'",
            "optimizer.lr=0.2",
            "model.dropout=0",
            "loss.label_smoothing=0",
        ],
    };
    let sets: Vec<String> = sets.iter().chain(own).map(|&set| set.to_owned()).collect();
    Recipe::parse("", "test", &sets).unwrap()
}

/// Values agree within 1e-12: roundings of sums of at most 24 products. Steps of Adam divide by the
/// root of a mean of squares, which makes relative errors of small gradients absolute ones of
/// weights: 1e-9 after twenty steps.
fn agrees(name: &str, classes: Option<usize>) {
    let fixture = Fixture::open(name);
    let (recipe, device) = (recipe(classes), Device::default());
    let loss = Loss::new(&recipe.loss, classes, None).unwrap();
    let width = fixture.0.dims("x").unwrap()[1];
    // Three numbers with vectors; one-hot columns without.
    let bins = (0..width).map(|i| usize::from(i < 3)).collect();
    let config = MlpConfig {
        numeric: width,
        bins,
        cardinalities: vec![12],
        outputs: loss.outputs(),
        network: recipe.model.clone(),
        ..Default::default()
    };
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, &config);
    let mut params = builder.build(&device, DType::F64, 0, true).unwrap();
    fixture.fill(&mut params);
    let mut optimizer = Optimizer::new(&recipe.optimizer, &params, &device).unwrap();
    let schedule = Schedule::new(&recipe.schedule, recipe.optimizer.lr()).unwrap();
    let mut graph = Graph::new(&device, params);
    let (x, ids) = (fixture.values("x"), fixture.0.i32("ids").unwrap());
    for step in 0..STEPS {
        graph.reset();
        graph.params_mut().clear_gradients();
        let rows = step * ROWS..(step + 1) * ROWS;
        let numbers = &x[rows.start * width..rows.end * width];
        let batch = MlpInput {
            numeric: Some(input(&graph, numbers, &[ROWS, width])),
            categorical: [input(&graph, &ids[rows.clone()], &[ROWS])].into_iter().collect(),
            ..Default::default()
        };
        if step == 0 {
            graph.set_mode(Mode::Eval);
            let y = model.forward(&mut graph, &batch).unwrap();
            let mut found: Vec<f64> = y.slice::<f64>().unwrap().to_vec();
            if classes.is_none() {
                // In the target's unit, within its range.
                let target = fixture.values("target");
                for y in &mut found {
                    *y = (*y * target[1] + target[0]).clamp(target[2], target[3]);
                }
            }
            fixture.close("logits", &found, 1e-12);
            graph.set_mode(Mode::Train);
        }
        let y = model.forward(&mut graph, &batch).unwrap();
        let target = match classes {
            Some(_) => input(&graph, &fixture.0.i32("y").unwrap()[rows], &[ROWS]),
            None => input(&graph, &fixture.values("y")[rows], &[ROWS, 1]),
        };
        let (sum, count) = loss.apply(&mut graph, &y, &target, None).unwrap();
        let count = count.item().unwrap();
        graph.backward(sum).unwrap();
        if step == 0 {
            // The gradient of the mean; pytabkit's squared error and ours differ by no factor.
            let gradients = graph.params_mut().gradients::<f64>().unwrap().to_vec();
            for info in graph.params().infos() {
                let mean: Vec<f64> = gradients[info.range()].iter().map(|g| g / count).collect();
                fixture.close(&format!("grad.{}", info.spec.name), &mean, 1e-12);
            }
        }
        optimizer.set_progress(step as f64 / STEPS as f64);
        let lr = schedule.lr_at(step as u64, STEPS as u64);
        optimizer.step(graph.params_mut(), count, lr).unwrap();
    }
    fixture.close_params("after", graph.params(), 1e-9);
}

#[test]
fn classes_agree_with_pytabkit_in_values_gradients_and_twenty_steps() {
    agrees("realmlp_class.safetensors", Some(3));
}

#[test]
fn numbers_agree_with_pytabkit_in_values_gradients_and_twenty_steps() {
    agrees("realmlp_number.safetensors", None);
}

#[test]
fn periodic_vectors_agree_with_rtdl_num_embeddings() {
    let fixture = Fixture::open("periodic.safetensors");
    let network = ModelConfig {
        hidden: vec![],
        numeric: NumericKind::PeriodicRelu,
        numeric_dim: Some(4),
        numeric_frequencies: Some(5),
        ..Default::default()
    };
    network.validate().unwrap();
    let config =
        MlpConfig { numeric: 3, bins: vec![1; 3], outputs: 2, network, ..Default::default() };
    let (mut builder, device) = (Builder::new(), Device::default());
    let model = Mlp::new(&mut builder, &config);
    let mut params = builder.build(&device, DType::F64, 0, true).unwrap();
    fixture.fill(&mut params);
    let mut graph = Graph::new(&device, params);
    for step in 0..STEPS {
        graph.reset();
        graph.params_mut().clear_gradients();
        let x = input(&graph, &fixture.values("x"), &[ROWS, 3]);
        let batch = MlpInput { numeric: Some(x), ..Default::default() };
        let y = model.forward(&mut graph, &batch).unwrap();
        let dy = Tensor::from_slice(&device, &fixture.values("dy"), &[ROWS, 2]).unwrap();
        if step == 0 {
            fixture.close("y", y.slice().unwrap(), 1e-12);
        }
        graph.backward_from(y, Some(dy)).unwrap();
        let gradients = graph.params_mut().gradients::<f64>().unwrap().to_vec();
        for info in graph.params().infos().to_vec() {
            if step == 0 {
                let name = format!("grad.{}", info.spec.name);
                fixture.close(&name, &gradients[info.range()], 1e-12);
            }
        }
        let values = graph.params_mut().flat_mut::<f64>().unwrap();
        values.iter_mut().zip(&gradients).for_each(|(v, g)| *v -= 0.01 * g);
    }
    fixture.close_params("after", graph.params(), 1e-12);
}

/// The recipe's data settings give pytabkit's features, rounded to f32.
#[test]
fn features_agree_with_pytabkit() {
    let fixture = Fixture::open("realmlp_number.safetensors");
    let (raw, categories) = (fixture.values("raw"), fixture.0.i32("category").unwrap());
    let mut csv = "a,b,c,two,four,eleven,y\n".to_owned();
    let target = fixture.values("target");
    for (row, y) in fixture.values("y").iter().enumerate() {
        let [a, b, c] = [0, 1, 2].map(|i| raw[3 * row + i]);
        let [two, four, eleven] = [0, 1, 2].map(|i| categories[3 * row + i]);
        let y = y * target[1] + target[0];
        writeln!(csv, "{a},{b},{c},k{two},k{four},k{eleven:02},{y}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), csv).unwrap();
    let recipe = recipe(None);
    let mut data = recipe.data.clone();
    (data.target, data.split.valid, data.split.test) = (Some("y".into()), 0.0, 0.0);
    let prepared = prepare(&data, 0, folder.path(), &ThreadPool::new(1)).unwrap();
    let train = &prepared.train;
    let width = fixture.0.dims("x").unwrap()[1];
    assert_eq!(train.n_numeric, width);
    // Rows are shuffled: in the order of the file.
    let encoded = prepared.transforms.encode(&prepared.table, &ThreadPool::new(1)).unwrap();
    for (e, f) in fixture.values("x").iter().zip(&encoded.numeric) {
        assert!((e - f64::from(*f)).abs() < 2e-7 * 3.0, "{f}, expected {e}");
    }
    assert_eq!(encoded.categorical, fixture.0.i32("ids").unwrap());
    let Some(Target::Value(_)) = &train.target else { panic!("numbers") };
    let fitted = &prepared.transforms.target;
    assert!((fitted.mean - target[0]).abs() < 1e-9 && (fitted.std - target[1]).abs() < 1e-9);
    assert_eq!(fitted.predicted(1e9), fitted.range.unwrap()[1]);
    assert!((fitted.predicted(-1e9) - target[2]).abs() < 1e-9);
}
