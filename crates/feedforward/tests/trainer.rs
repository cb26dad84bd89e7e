//! The promises of the trainer: the same bits whatever the threads and however often a run was
//! stopped.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

use feedforward::table::objective::TabularObjective;
use ff_graph::Graph;
use ff_nn::models::{Mlp, MlpConfig};
use ff_nn::{Builder, Loss, LossConfig, ModelConfig, NormKind};
use ff_ops::Activation;
use ff_table::{Encoded, Target};
use ff_tensor::{DType, Device, DeviceOptions, Key, Rng};
use ff_train::optim::{Lbfgs, Optimizer, OptimizerConfig, OptimizerKind};
use ff_train::schedule::{FinderConfig, Plateau, Schedule, ScheduleConfig, Span};
use ff_train::{
    Checkpoint, CheckpointPlace, Error, Event, Monitor, Observer, Stop, TrainConfig, Trainer,
};
use std::path::Path;

const NUMERIC: usize = 7;
const CLASSES: usize = 3;

/// Rows whose class depends on two of their numbers and their category.
fn rows(count: usize, seed: u64) -> Encoded {
    let mut rng = Rng::new(Key::new(seed));
    let numeric: Vec<f32> = (0..count * NUMERIC).map(|_| rng.normal() as f32).collect();
    let categorical: Vec<i32> = (0..count).map(|_| rng.below(4) as i32).collect();
    let classes = (0..count)
        .map(|i| {
            let x = &numeric[i * NUMERIC..];
            let score = x[0] + 0.5 * x[1] + categorical[i] as f32 * 0.3 - 0.5;
            i32::from(score > -0.4) + i32::from(score > 0.5)
        })
        .collect();
    Encoded {
        rows: count,
        numeric,
        n_numeric: NUMERIC,
        categorical,
        n_categorical: 1,
        texts: Vec::new(),
        target: Some(Target::Class(classes)),
        weights: None,
        unfamiliar: Vec::new(),
    }
}

struct Setting {
    model: Mlp,
    loss: Loss,
    train: Encoded,
    valid: Encoded,
    network: ModelConfig,
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    config: TrainConfig,
}

impl Setting {
    /// Everything at once that carries state or draws random numbers.
    fn everything() -> Self {
        let network = ModelConfig {
            hidden: vec![16, 16],
            activation: Activation::Gelu.into(),
            norm: NormKind::Batch,
            dropout: 0.2,
            residual: true,
            ..Default::default()
        };
        let mut optimizer = OptimizerConfig::new(OptimizerKind::AdamW);
        (optimizer.lr, optimizer.clip_norm, optimizer.ema) = (Some(0.01), Some(1.0), Some(0.9));
        let plateau = Plateau { patience: 1, ..Plateau::default() };
        let schedule = ScheduleConfig { warmup: Some(Span::Steps(5)), ..plateau.into() };
        let config = TrainConfig {
            epochs: 6,
            batch_size: 16,
            accumulate: 2,
            input_noise: 0.1,
            mixup: 0.3,
            checkpoint_seconds: 0.0,
            seed: 3,
            patience: 0,
            ..Default::default()
        };
        Self::new(network, optimizer, schedule, config)
    }

    fn new(
        network: ModelConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        config: TrainConfig,
    ) -> Self {
        let loss = Loss::new(&LossConfig::default(), Some(CLASSES), None).unwrap();
        let model = Mlp::new(&mut Builder::new(), &Self::mlp(&network));
        Self {
            model,
            loss,
            train: rows(150, 1),
            valid: rows(60, 2),
            network,
            optimizer,
            schedule,
            config,
        }
    }

    fn mlp(network: &ModelConfig) -> MlpConfig {
        MlpConfig {
            numeric: NUMERIC,
            cardinalities: vec![4],
            outputs: CLASSES,
            network: network.clone(),
            ..Default::default()
        }
    }

    fn trainer(&self, threads: usize) -> Trainer {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let mut builder = Builder::new();
        Mlp::new(&mut builder, &Self::mlp(&self.network));
        let params = builder.build(&device, DType::F32, self.config.seed, true).unwrap();
        let optimizer = Optimizer::new(&self.optimizer, &params, &device).unwrap();
        let schedule = Schedule::new(&self.schedule, self.optimizer.lr()).unwrap();
        Trainer::new(Graph::new(&device, params), optimizer, schedule, self.config.clone())
    }

    fn objective(&self) -> TabularObjective<'_> {
        TabularObjective::new(&self.model, &self.loss, &self.train, &self.valid, &self.config)
    }

    fn fit(&self, trainer: &mut Trainer) -> Vec<u32> {
        trainer.fit(&mut self.objective(), &mut (), None).unwrap();
        bits(trainer)
    }
}

/// All weights and statistics, bit by bit.
fn bits(trainer: &mut Trainer) -> Vec<u32> {
    let params = trainer.graph_mut().params();
    let values = params.flat::<f32>().unwrap().iter().chain(params.state::<f32>().unwrap());
    values.map(|v| v.to_bits()).collect()
}

/// Asks to stop after some steps, and remembers the losses.
struct StopAfter(u64, Vec<u64>);

impl Observer for StopAfter {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step { loss, .. } = event {
            self.0 = self.0.saturating_sub(1);
            self.1.push(loss.to_bits());
        }
    }
    fn interrupted(&mut self) -> bool {
        self.0 == 0
    }
}

#[test]
fn threads_do_not_show_in_the_weights() {
    let setting = Setting::everything();
    let one = setting.fit(&mut setting.trainer(1));
    for threads in [2, 4] {
        assert!(setting.fit(&mut setting.trainer(threads)) == one, "{threads} threads");
    }
}

#[test]
fn a_run_stopped_after_any_step_ends_with_the_bits_of_one_that_was_not() {
    let setting = Setting::everything();
    let mut whole = setting.trainer(1);
    let mut losses = StopAfter(u64::MAX, Vec::new());
    whole.fit(&mut setting.objective(), &mut losses, None).unwrap();
    let steps = whole.progress().step;
    assert_eq!(steps, 6 * 5, "150 rows, 16 × 2 a step");
    let expected = bits(&mut whole);
    let folder = tempfile::tempdir().unwrap();
    for stop in 1..=steps {
        let path = folder.path().join(format!("{stop}.safetensors"));
        let place = CheckpointPlace { path: &path, identity: "this" };
        let mut first = setting.trainer(2);
        let mut watch = StopAfter(stop, Vec::new());
        let ended = first.fit(&mut setting.objective(), &mut watch, Some(&place)).unwrap();
        assert_eq!((ended, first.progress().step), (Stop::Interrupted, stop));

        let mut second = setting.trainer(1);
        let isa = second.graph_mut().device().cpu().isa();
        second.resume(&Checkpoint::open(&place, isa).unwrap()).unwrap();
        watch.0 = u64::MAX;
        second.fit(&mut setting.objective(), &mut watch, Some(&place)).unwrap();
        assert!(bits(&mut second) == expected, "stopped after step {stop}");
        assert_eq!(watch.1, losses.1, "the losses of every step, stopped after {stop}");
        let history = |t: &Trainer| -> Vec<_> {
            let records = t.progress().history.iter();
            records.map(|r| (r.epoch, r.step, r.train_loss, r.valid_loss, r.lr)).collect()
        };
        assert_eq!(history(&second), history(&whole));
    }
}

/// The best epoch's weights have a file of their own, with the names of a model; a resumed run
/// writes the same one.
#[test]
fn the_best_weights_lie_beside_the_checkpoint() {
    let setting = Setting::everything();
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str, stop: u64| {
        let path = folder.path().join(name).join("last.safetensors");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let place = CheckpointPlace { path: &path, identity: "this" };
        let mut trainer = setting.trainer(1);
        let mut watch = StopAfter(stop, Vec::new());
        trainer.fit(&mut setting.objective(), &mut watch, Some(&place)).unwrap();
        if stop < u64::MAX {
            assert_eq!(place.best().exists(), stop > 5, "an epoch has five steps");
            // Lost or half a run old: going on puts it right.
            let _ = std::fs::remove_file(place.best());
            trainer = setting.trainer(1);
            let isa = trainer.graph_mut().device().cpu().isa();
            trainer.resume(&Checkpoint::open(&place, isa).unwrap()).unwrap();
            trainer.fit(&mut setting.objective(), &mut (), Some(&place)).unwrap();
        }
        (trainer, place.best())
    };
    let (mut whole, best) = train("whole", u64::MAX);
    let expected = std::fs::read(&best).unwrap();
    let tensors = ff_formats::TensorFile::open(&best).unwrap();
    let params = whole.graph_mut().params();
    assert_eq!(tensors.entries().count(), params.infos().len());
    for (id, info) in params.iter() {
        // `fit` ends with the best weights put back.
        let values = tensors.f32(&info.spec.name, info.spec.shape.dims()).unwrap();
        assert_eq!(*values, *params.values::<f32>(id).unwrap(), "{}", info.spec.name);
    }
    for stop in [2, 5, 17, 29] {
        let (_, best) = train(&stop.to_string(), stop);
        assert!(std::fs::read(best).unwrap() == expected, "stopped after step {stop}");
    }
}

#[test]
fn a_sweep_of_rates_finds_one_that_learns() {
    let network = ModelConfig { hidden: vec![16], ..Default::default() };
    let setting = |kind| {
        let config = TrainConfig { batch_size: 32, epochs: 1, ..Default::default() };
        Setting::new(network.clone(), OptimizerConfig::new(kind), ScheduleConfig::default(), config)
    };
    let sweep = |kind| {
        let setting = setting(kind);
        setting.trainer(1).find_lr(&mut setting.objective(), &FinderConfig::default())
    };
    let report = sweep(OptimizerKind::Sgd).unwrap();
    // Plain SGD on three classes with inputs of size one: far below 1 nothing moves.
    let lr = report.steepest.unwrap();
    assert!((1e-2..10.0).contains(&lr), "{lr}");
    assert!(report.smoothed.iter().any(|loss| *loss < 0.8 * report.losses[0]), "{report:?}");
    assert_eq!(report, sweep(OptimizerKind::Sgd).unwrap());
    let adam = sweep(OptimizerKind::Adam).unwrap().steepest.unwrap();
    assert!((1e-4..1.0).contains(&adam) && adam < lr, "{adam}");
    let message = sweep(OptimizerKind::Lbfgs).unwrap_err().to_string();
    assert!(
        message.contains("optimizer.kind") && message.contains("keep the default"),
        "{message}"
    );
}

#[test]
fn l_bfgs_goes_on_with_the_same_bits_too() {
    let optimizer = Lbfgs { history_size: 5, max_iter: 4, ..Lbfgs::default() }.into();
    let network =
        ModelConfig { hidden: vec![8], activation: Activation::Tanh.into(), ..Default::default() };
    let config =
        TrainConfig { epochs: 5, patience: 0, checkpoint_seconds: 0.0, ..Default::default() };
    let setting = Setting::new(network, optimizer, ScheduleConfig::default(), config);
    let mut whole = setting.trainer(1);
    let expected = setting.fit(&mut whole);
    let history = &whole.progress().history;
    assert!(history[4].train_loss < 0.5 * history[0].train_loss, "{history:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let place = CheckpointPlace { path: &path, identity: "this" };
    let mut watch = StopAfter(2, Vec::new());
    setting.trainer(2).fit(&mut setting.objective(), &mut watch, Some(&place)).unwrap();
    let mut second = setting.trainer(1);
    let isa = second.graph_mut().device().cpu().isa();
    second.resume(&Checkpoint::open(&place, isa).unwrap()).unwrap();
    assert!(setting.fit(&mut second) == expected);
}

/// One step over N rows at once and in micro-batches differ by the order of additions alone.
#[test]
fn accumulation_is_the_same_step_to_rounding() {
    let mut optimizer = OptimizerConfig::new(OptimizerKind::Sgd);
    optimizer.lr = Some(0.5);
    let network = ModelConfig { hidden: vec![16], ..Default::default() };
    let step = |batch_size: usize, accumulate: usize| {
        let config = TrainConfig { steps: Some(1), batch_size, accumulate, ..Default::default() };
        let setting =
            Setting::new(network.clone(), optimizer.clone(), ScheduleConfig::default(), config);
        let mut trainer = setting.trainer(1);
        setting.fit(&mut trainer);
        let loss = trainer.progress().history[0].train_loss;
        (loss, trainer.graph_mut().params().flat::<f32>().unwrap().to_vec())
    };
    let (loss, whole) = step(150, 1);
    // 7 leaves a last micro-batch of 3: an average of averages would weigh its rows more.
    for (batch, accumulate) in [(50, 3), (7, 22), (1, 150)] {
        let (parts_loss, parts) = step(batch, accumulate);
        assert!((parts_loss - loss).abs() < 1e-6 * loss, "{batch} × {accumulate}");
        for (a, b) in parts.iter().zip(&whole) {
            // Gradients are of order 0.1 and sums of 150 terms: 150 · 2⁻²⁴ · 0.1 · lr, about 5e-7.
            assert!((a - b).abs() < 1e-6, "{batch} × {accumulate}: {a} and {b}");
        }
    }
}

#[test]
fn patience_stops_and_the_best_weights_come_back() {
    let mut optimizer = OptimizerConfig::new(OptimizerKind::Adam);
    optimizer.lr = Some(0.05);
    let config = TrainConfig {
        epochs: 400,
        batch_size: 10,
        patience: 5,
        monitor: Monitor::Loss,
        ..Default::default()
    };
    let network = ModelConfig { hidden: vec![64], ..Default::default() };
    let setting = Setting::new(network, optimizer, ScheduleConfig::default(), config);
    let mut trainer = setting.trainer(1);
    let stop = trainer.fit(&mut setting.objective(), &mut (), None).unwrap();
    assert_eq!(stop, Stop::Early);
    let progress = trainer.progress().clone();
    let best = progress.best.unwrap();
    assert_eq!(progress.epoch, best.epoch + 5);
    let graph = trainer.graph_mut();
    let (found, _) = feedforward::table::objective::evaluate(
        graph,
        &setting.model,
        &setting.loss,
        &setting.valid,
    )
    .unwrap();
    assert_eq!(Some(found.loss), progress.history[best.epoch - 1].valid_loss);
    assert!(progress.history.iter().all(|r| r.valid_loss >= Some(found.loss)));
}

#[test]
fn small_gains_do_not_count_where_a_share_is_asked_for() {
    let mut optimizer = OptimizerConfig::new(OptimizerKind::Adam);
    optimizer.lr = Some(0.01);
    let config = TrainConfig {
        epochs: 400,
        batch_size: 10,
        patience: 3,
        min_gain: Some(0.1),
        monitor: Monitor::Loss,
        ..Default::default()
    };
    let setting =
        Setting::new(ModelConfig::default(), optimizer, ScheduleConfig::default(), config);
    let mut trainer = setting.trainer(1);
    assert_eq!(trainer.fit(&mut setting.objective(), &mut (), None).unwrap(), Stop::Early);
    let progress = trainer.progress();
    let losses = progress.history.iter().map(|record| record.valid_loss.unwrap());
    let mut best = (0, f64::INFINITY);
    for (epoch, loss) in (1..).zip(losses) {
        if best.0 == 0 || loss < 0.9 * best.1 {
            best = (epoch, loss);
        }
    }
    assert_eq!(progress.best.as_ref().map(|found| found.epoch), Some(best.0));
    assert_eq!(progress.epoch, best.0 + 3);
    // Later epochs were better by less than the share, or this shows nothing.
    assert!(progress.history[best.0..].iter().any(|record| record.valid_loss < Some(best.1)));
}

#[test]
fn nan_names_the_step_the_layer_and_a_way_out() {
    let mut setting = Setting::everything();
    setting.config.mixup = 0.0;
    let fails_with = |setting: &Setting, trainer: &mut Trainer, parts: &[&str]| {
        let error = trainer.fit(&mut setting.objective(), &mut (), None).unwrap_err();
        let Error::Diverged { step, .. } = &error else { panic!("{error}") };
        let message = error.to_string();
        assert!((1..=5).contains(step), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    };
    let mut trainer = setting.trainer(1);
    let params = trainer.graph_mut().params_mut();
    let id = params.id("layers.1.weight").unwrap();
    params.values_mut::<f32>(id).unwrap()[5] = f32::INFINITY;
    fails_with(&setting, &mut trainer, &["step 1: the loss is NaN", "layers.1.weight", "infinite"]);

    setting.train.numeric[NUMERIC * 40 + 2] = f32::NAN;
    let parts = ["the loss is NaN", "reads from the data is NaN", "--set optimizer.lr=0.001"];
    fails_with(&setting, &mut setting.trainer(1), &parts);
}

#[test]
fn a_rate_far_too_high_is_called_divergence() {
    let mut optimizer = OptimizerConfig::new(OptimizerKind::Sgd);
    optimizer.lr = Some(1e6);
    let network = ModelConfig { hidden: vec![16], ..Default::default() };
    let config = TrainConfig { patience: 0, ..Default::default() };
    let setting = Setting::new(network, optimizer, ScheduleConfig::default(), config);
    let error = setting.trainer(1).fit(&mut setting.objective(), &mut (), None).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("--set optimizer.lr=100000"), "{error}");
}

#[test]
fn a_checkpoint_of_something_else_is_refused_with_a_way_out() {
    let setting = Setting::everything();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let place = CheckpointPlace { path: &path, identity: "this" };
    let mut trainer = setting.trainer(1);
    let isa = trainer.graph_mut().device().cpu().isa();
    let mut watch = StopAfter(3, Vec::new());
    trainer.fit(&mut setting.objective(), &mut watch, Some(&place)).unwrap();

    let other = CheckpointPlace { identity: "that", ..place };
    let message = Checkpoint::open(&other, isa).unwrap_err().to_string();
    assert!(
        message.contains("another recipe or other data") && message.contains("--out"),
        "{message}"
    );

    if let Some(other) =
        [ff_tensor::Isa::Plain, ff_tensor::Isa::Avx512].into_iter().find(|i| *i != isa)
    {
        let message = Checkpoint::open(&place, other).unwrap_err().to_string();
        assert!(message.contains(&format!("--isa {isa}")), "{message}");
    }

    // The kernel path of f32 and the kernels for bf16 are recorded apart.
    let checkpoint = Checkpoint::open(&place, isa).unwrap();
    let plain = DeviceOptions { threads: 1, isa: Some(ff_tensor::Isa::Plain) };
    let (plain, here) = (Device::open(plain).unwrap(), Device::default());
    assert!(checkpoint.check_bf16(here.cpu()).is_ok());
    assert_eq!(checkpoint.check_bf16(plain.cpu()).is_err(), here.cpu().has_bf16());
    if let Err(error) = checkpoint.check_bf16(plain.cpu()) {
        assert!(error.to_string().contains("was written with bf16 products in "), "{error}");
    }

    let mut wider = Setting::everything();
    wider.network.hidden = vec![32, 16];
    let message =
        wider.trainer(1).resume(&Checkpoint::open(&place, isa).unwrap()).unwrap_err().to_string();
    assert!(
        message.contains("layers.0.weight") && message.contains("expected shape [32, "),
        "{message}"
    );

    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let message = Checkpoint::open(&place, isa).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
    }
    let missing = CheckpointPlace { path: Path::new("no/such/file"), identity: "this" };
    assert!(Checkpoint::open(&missing, isa).unwrap_err().to_string().contains("no/such/file"));
}

/// A disk that is full when the checkpoint is written ends the run with the reason, and leaves the
/// last checkpoint.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_that_cannot_be_written_says_so() {
    let setting = Setting::everything();
    let place = CheckpointPlace { path: Path::new("/proc/no/last.safetensors"), identity: "this" };
    let error =
        setting.trainer(1).fit(&mut setting.objective(), &mut (), Some(&place)).unwrap_err();
    assert!(error.to_string().contains("/proc/no/last.safetensors: writing"), "{error}");
}
