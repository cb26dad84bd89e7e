//! The page of a language model's run.

use super::judge::STRETCH;
use super::run::{Job, PretrainSummary};
use super::samples::Sample;
use super::setup::{self, Measured};
use crate::Error;
use crate::Result;
use crate::clock::Clock;
use crate::notes::RunInfo;
use crate::report::words;
use crate::watch::LanguageNotice;
use ff_graph::{ParamInfo, Segment};
use ff_metrics::wilson;
use ff_nn::models::DecoderConfig;
use ff_nn::{Builder, models::CausalLm};
use ff_report::{
    Command, Curves, Fact, Layer, Live, Mark, Model, Panel, ReportData, Resource, Score, Series,
    Status, StatusKind, TextData, Token, Unit, Verdict, render,
};
use ff_tensor::{DType, Device};
use ff_train::{EpochRecord, Progress};
use std::collections::BTreeMap;
use std::io::Write;

/// Tokens of the example.
const EXAMPLE: usize = 200;
/// Bins of the documents' lengths.
const BINS: usize = 24;
/// Documents whose lengths are counted.
const DOCUMENTS: u64 = 20_000;

/// What is known of a run.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) info: &'a RunInfo,
    pub(super) config: &'a DecoderConfig,
    pub(super) notice: &'a LanguageNotice,
    pub(super) measured: &'a Measured,
    pub(super) samples: &'a [Sample],
    pub(super) before: Option<f64>,
}

/// How far the run has come.
pub(super) enum Outcome<'a> {
    /// It goes on, in this session since this step; the page reloads itself.
    Running {
        /// The step.
        from: u64,
    },
    /// It was stopped and can be resumed.
    Interrupted,
    /// It ended with an error.
    Failed(&'a Error),
    /// It went through.
    Finished(&'a PretrainSummary),
}

/// Writes `report.html`.
pub(super) fn write(
    known: &Known<'_>,
    progress: &Progress,
    clock: &Clock,
    outcome: &Outcome<'_>,
) -> Result<()> {
    let page = render(&gather(known, progress, clock, outcome)?);
    let path = known.job.folder.report();
    Ok(ff_formats::write_atomic(&path, |file| file.write_all(page.as_bytes()))?)
}

fn gather(
    known: &Known<'_>,
    progress: &Progress,
    clock: &Clock,
    outcome: &Outcome<'_>,
) -> Result<ReportData> {
    let recipe = known.job.recipe;
    let name = recipe.name.clone().unwrap_or_else(|| "language model".into());
    Ok(ReportData {
        title: name,
        subtitle: format!(
            "language model · {} · {} parameters",
            known.notice.layers,
            words::count(known.measured.parameters)
        ),
        created: words::now(),
        status: Some(status(progress, outcome)),
        live: live(known, progress, clock, outcome),
        verdict: verdict(known, progress, outcome),
        text: Some(text(known)?),
        curves: curves(known, progress),
        samples: samples(known, progress),
        model: Some(layers(known)?),
        resources: resources(known, progress, outcome),
        timings: clock.laps().to_vec(),
        commands: commands(known, outcome),
        environment: environment(known),
        ..ReportData::default()
    })
}

fn status(progress: &Progress, outcome: &Outcome<'_>) -> Status {
    let after = format!("after {}", words::plural(progress.step as usize, "step"));
    let (kind, message) = match outcome {
        Outcome::Running { .. } => (StatusKind::Running, format!("{after} so far")),
        Outcome::Interrupted => {
            (StatusKind::Stopped, format!("interrupted {after}; it can be resumed"))
        }
        Outcome::Failed(error) => (StatusKind::Failed, format!("{after}: {error}")),
        Outcome::Finished(summary) => {
            let kept = match (summary.best, progress.best) {
                (Some(best), Some(_)) if best != progress.epoch => {
                    format!("; kept evaluation {best} of {}", progress.epoch)
                }
                _ => String::new(),
            };
            (StatusKind::Finished, format!("{after}{kept}"))
        }
    };
    Status { kind, message }
}

fn live(
    known: &Known<'_>,
    progress: &Progress,
    clock: &Clock,
    outcome: &Outcome<'_>,
) -> Option<Live> {
    let Outcome::Running { from } = *outcome else { return None };
    let total = setup::total_steps(known.job.recipe, known.job.corpus.data.train.tokens());
    Some(crate::report::live::live(progress, total, from, clock.since_lap()))
}

/// Loss, perplexity and bits per byte against the start.
fn verdict(known: &Known<'_>, progress: &Progress, outcome: &Outcome<'_>) -> Option<Verdict> {
    let per_byte = 1.0 / std::f64::consts::LN_2 / known.job.corpus.valid_bytes_per_token();
    let (loss, tokens, bits, interval) =
        if let Outcome::Finished(PretrainSummary { valid: Some(valid), .. }) = outcome {
            (valid.loss, valid.tokens, valid.bits_per_byte, valid.interval)
        } else {
            let loss = progress.history.iter().rev().find_map(|record| record.valid_loss)?;
            (loss, known.job.corpus.data.report.valid.tokens, loss * per_byte, None)
        };
    // All three are functions of the loss, and so are the ends of their intervals.
    let score =
        |name: &str, value: f64, of_loss: &dyn Fn(f64) -> f64, before: &dyn Fn(f64) -> f64| {
            let score = Score::new(name, value, false);
            let score = match known.before {
                Some(loss) => score.baseline(before(loss)),
                None => score,
            };
            match interval {
                Some(interval) => score.interval(of_loss(interval.low), of_loss(interval.high)),
                None => score,
            }
        };
    let bits_of = |of: f64| bits * of / loss;
    let mut scores = vec![
        score("loss", loss, &|loss| loss, &|loss| loss),
        score("perplexity", loss.exp(), &f64::exp, &f64::exp),
        score("bits per byte", bits, &bits_of, &|loss| loss * per_byte),
    ];
    let mut methods = Vec::new();
    if interval.is_some() {
        methods.push(format!("bootstrap over stretches of about {} tokens", words::count(STRETCH)));
    }
    let mut sentence = format!(
        "The model needs {bits:.3} bits for a byte of text that it was not trained on{}.",
        known
            .before
            .map_or(String::new(), |loss| format!(", {:.3} before training", loss * per_byte))
    );
    if let Outcome::Finished(PretrainSummary { exact: Some(exact), .. }) = outcome {
        let mut score = Score::new("exact answers", exact.share(), true);
        if let Some(interval) = wilson(exact.right as f64, exact.questions as f64) {
            score = score.interval(interval.low, interval.high);
            methods.insert(0, "Wilson for exact answers".into());
        }
        scores.insert(0, score);
        sentence = format!(
            "{} of {} test sums, none of which was trained on in either order, are answered to the digit.",
            exact.right, exact.questions
        );
    }
    let chosen = known.job.recipe.train.restore_best && progress.history.len() > 1;
    let caveats = chosen.then(|| {
        "The kept evaluation was chosen on windows of this part, so the loss flatters a little."
            .to_owned()
    });
    let caveats = caveats.into_iter().collect();
    Some(Verdict {
        split: "valid".into(),
        rows: tokens,
        unit: "tokens".into(),
        baseline: "before training".into(),
        interval: if methods.is_empty() {
            String::new()
        } else {
            format!("95 %: {}", methods.join(", "))
        },
        scores,
        sentence,
        caveats,
    })
}

fn text(known: &Known<'_>) -> Result<TextData> {
    let corpus = known.job.corpus;
    let report = &corpus.data.report;
    let mut facts = vec![
        Fact::new("source", corpus.source.clone()),
        Fact::new("documents", words::count(report.documents.read as usize)),
        Fact::new("kept", words::count(report.documents.kept as usize)),
    ];
    for (why, count) in &report.documents.dropped {
        facts.push(Fact::new(format!("dropped: {why}"), words::count(*count as usize)));
    }
    facts.extend([
        Fact::new("tokens to train on", words::count(report.train.tokens as usize)),
        Fact::new("tokens to judge by", words::count(report.valid.tokens as usize)),
        Fact::new("bytes a token", format!("{:.3}", corpus.bytes_per_token())),
        Fact::new("tokenizer", corpus.tokenizer_line()),
        Fact::new(
            "documents in a window",
            match known.job.recipe.data.documents {
                ff_text::DocumentBorders::Packed => "attention goes on from one to the next",
                ff_text::DocumentBorders::Separate => {
                    "attention stays inside of each, positions start anew"
                }
            },
        ),
        Fact::new("hash of the tokens", corpus.data.train.hash()),
    ]);
    let (length_edges, length_counts) = lengths(corpus);
    Ok(TextData { facts, length_edges, length_counts, example: example(known)? })
}

/// How long documents are, in bins of equal ratios.
fn lengths(corpus: &super::corpus::Corpus) -> (Vec<f64>, Vec<u64>) {
    let train = &corpus.data.train;
    let count = train.documents().min(DOCUMENTS);
    if count < 2 {
        return (Vec::new(), Vec::new());
    }
    let starts: Vec<u64> =
        (0..=count).map(|i| train.document_start(i).unwrap_or(train.tokens())).collect();
    let lengths: Vec<f64> = starts.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
    let least = lengths.iter().copied().fold(f64::INFINITY, f64::min).max(1.0);
    let most = lengths.iter().copied().fold(0.0, f64::max) + 1.0;
    let bins = BINS.min((most - least) as usize).max(1);
    let width = (most - least) / bins as f64;
    let edges: Vec<f64> = (0..=bins).map(|i| least + width * i as f64).collect();
    let mut counts = vec![0; bins];
    for length in lengths {
        counts[(((length - least) / width) as usize).min(bins - 1)] += 1;
    }
    (edges, counts)
}

/// The beginning of the training part, each token marked that the loss counts.
fn example(known: &Known<'_>) -> Result<Vec<Token>> {
    let corpus = known.job.corpus;
    let train = &corpus.data.train;
    let count = EXAMPLE.min(train.tokens() as usize).min(known.job.recipe.train.context + 1);
    let mut ids = vec![0; count];
    let mut documents = vec![0; count];
    train.read(0, &mut ids)?;
    train.segments(0, &mut documents)?;
    let windows = super::run::windows_of(known.job.recipe, &corpus.tokenizer)?;
    let separate = windows.separate;
    let mut asked = windows.after.is_none();
    let mut tokens = Vec::with_capacity(count);
    for (i, &id) in ids.iter().enumerate() {
        let text = corpus.tokenizer.decode(&[id as u32])?;
        let other = i > 0 && documents[i] != documents[i - 1];
        if other && windows.after.is_some() {
            asked = false;
        }
        tokens.push(Token { text, trained: asked && i > 0 && !(separate && other) });
        asked |= windows.after == Some(id);
    }
    Ok(tokens)
}

fn curves(known: &Known<'_>, progress: &Progress) -> Option<Curves> {
    let history = &progress.history;
    if history.is_empty() {
        return None;
    }
    let steps: Vec<f64> = history.iter().map(|record| record.step as f64).collect();
    let series = |name: &str, value: &dyn Fn(&EpochRecord) -> f64| {
        Series::new(name, steps.clone(), history.iter().map(value).collect())
    };
    let mut loss =
        Panel::new("Loss", "step", "nats a token").with(series("train", &|r| r.train_loss));
    if history.iter().any(|record| record.valid_loss.is_some()) {
        let mut valid = series("valid", &|r| r.valid_loss.unwrap_or(f64::NAN));
        if let Some(before) = known.before {
            valid.x.insert(0, 0.0);
            valid.y.insert(0, before);
        }
        loss = loss.with(valid);
        loss.note =
            "Train: the mean since the evaluation before; valid: on the same windows each time."
                .into();
    }
    let rate = Panel::new("Learning rate", "step", "").with(series("", &|r| r.lr));
    let norm = Panel::new("Gradient norm", "step", "before clipping");
    let norm = norm.with(series("", &|r| r.grad_norm));
    let mut speed = vec![f64::NAN; history.len()];
    let (mut step, mut seconds) = (0, 0.0);
    for (speed, record) in speed.iter_mut().zip(history) {
        let spent = record.seconds - seconds;
        if spent > 0.0 {
            *speed = (record.step - step) as f64 * known.notice.tokens_per_step as f64 / spent;
        }
        (step, seconds) = (record.step, record.seconds);
    }
    let speed = Panel::new("Speed", "step", "tokens a second, evaluations included")
        .with(Series::new("", steps.clone(), speed));
    let best = progress.best.and_then(|best| history.get(best.epoch.checked_sub(1)?));
    Some(Curves {
        panels: vec![loss, rate, norm, speed],
        marks: best
            .iter()
            .map(|record| Mark { x: record.step as f64, label: format!("best {}", record.step) })
            .collect(),
        note: String::new(),
    })
}

fn samples(known: &Known<'_>, progress: &Progress) -> Vec<ff_report::Sample> {
    let when = |step: u64| match step {
        0 => "before training".to_owned(),
        step if step == progress.step => format!("step {step}, the last"),
        step => format!("step {step}"),
    };
    let sample = |sample: &Sample| ff_report::Sample {
        when: when(sample.step),
        prompt: sample.prompt.clone(),
        text: sample.text.clone(),
    };
    known.samples.iter().map(sample).collect()
}

/// Every block's tensors in one line, the rest one by one.
fn layers(known: &Known<'_>) -> Result<Model> {
    let mut builder = Builder::new();
    let _model =
        CausalLm::new(&mut builder, known.config, &ff_nn::models::LanguageOptions::default());
    let params = builder.build(&Device::planning(), DType::F32, 0, false)?;
    let tokens = known.notice.tokens_per_step;
    // What stands before the last part of a name is the layer.
    let mut layers: Vec<Layer> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for info in params.infos().iter().filter(|info| info.spec.segment == Segment::Trainable) {
        let name = info.spec.name.rsplit_once('.').map_or(info.spec.name.as_str(), |(n, _)| n);
        let at = *places.entry(name.to_owned()).or_insert_with(|| {
            layers.push(Layer { name: name.to_owned(), kind: kind(info), ..Layer::default() });
            layers.len() - 1
        });
        let layer = &mut layers[at];
        layer.parameters += info.spec.shape.len() as u64;
        if layer.shape.is_empty() {
            let dims: Vec<String> =
                info.spec.shape.dims().iter().map(ToString::to_string).collect();
            layer.shape = format!("[{}]", dims.join(", "));
        }
        let output = if known.config.tied { "embed_tokens" } else { "lm_head" };
        let is_output =
            layer.name.ends_with(output) || known.config.tied && layer.name.ends_with("wte");
        if info.spec.kind == ff_graph::ParamKind::Weight || is_output {
            layer.flop += 6 * tokens * info.spec.shape.len() as u64;
        }
    }
    Ok(Model { summary: setup::layers(known.config), layers })
}

fn kind(info: &ParamInfo) -> String {
    match info.spec.kind {
        ff_graph::ParamKind::Weight => "feedforward",
        ff_graph::ParamKind::Bias => "bias",
        ff_graph::ParamKind::Gain => "normalisation",
        ff_graph::ParamKind::Embedding => "embedding",
        ff_graph::ParamKind::Statistic => "statistic",
    }
    .into()
}

fn resources(known: &Known<'_>, progress: &Progress, outcome: &Outcome<'_>) -> Vec<Resource> {
    let planned = known.measured;
    let resource = |name: &str, planned: Option<f64>, measured: Option<f64>, unit| Resource {
        name: name.into(),
        planned,
        measured,
        unit,
    };
    let bytes = |name, count: usize| resource(name, Some(count as f64), None, Unit::Bytes);
    let pool = known.job.device.pool().stats().reserved;
    let process = match outcome {
        Outcome::Finished(summary) => summary.peak_bytes,
        _ => crate::memory::process_peak_bytes(),
    };
    let step = (progress.step > 0).then(|| progress.seconds / progress.step as f64);
    let rate = |amount: f64| step.filter(|s| *s > 0.0).map(|seconds| amount / seconds);
    let tokens = known.job.corpus.data.train.tokens();
    let mut all = vec![
        bytes("parameters", planned.parameter_bytes),
        bytes("gradients", planned.gradient_bytes),
        bytes("optimiser state", planned.optimizer_bytes),
        bytes("activations of a step", planned.activation_bytes),
        resource(
            "pool and arena, at most",
            Some(planned.peak_bytes as f64),
            Some(pool as f64),
            Unit::Bytes,
        ),
    ];
    if process > 0 {
        all.push(resource("process, at most", None, Some(process as f64), Unit::Bytes));
    }
    let steps = setup::total_steps(known.job.recipe, tokens) as f64;
    let flops = planned.flops as f64;
    all.extend([
        resource("optimiser steps", Some(steps), Some(progress.step as f64), Unit::Count),
        resource(
            "arithmetic of a token",
            Some(flops / known.notice.tokens_per_step as f64),
            None,
            Unit::Flop,
        ),
        resource("arithmetic of a step", Some(flops), None, Unit::Flop),
        resource("a step, evaluation included", None, step, Unit::Seconds),
        resource("tokens", None, rate(known.notice.tokens_per_step as f64), Unit::PerSecond),
        resource(
            "arithmetic a second, and the processor's peak",
            Some(known.notice.peak_flops),
            rate(flops),
            Unit::Flop,
        ),
    ]);
    all
}

fn commands(known: &Known<'_>, outcome: &Outcome<'_>) -> Vec<Command> {
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let run = ff_settings::shell_word(&known.job.folder.path().display().to_string());
    let recipe = ff_settings::shell_word(&known.job.folder.recipe().display().to_string());
    let mut all = Vec::new();
    if !known.info.command.is_empty() {
        let line: Vec<String> =
            known.info.command.iter().map(|word| ff_settings::shell_word(word)).collect();
        all.push(command("how it was started", line.join(" ")));
    }
    let Outcome::Finished(summary) = outcome else {
        let line = format!("feedforward pretrain --resume {run}");
        all.push(command("go on from where it was saved", line));
        return all;
    };
    let isa = &known.info.isa;
    let prompt = ff_settings::shell_word(summary.prompt.as_deref().unwrap_or("Once upon a time"));
    all.extend([
        command(
            "train it again, to the same bits",
            format!("feedforward pretrain {recipe} --isa {isa}"),
        ),
        command("let it write", format!("feedforward generate {run} --prompt {prompt}")),
        command("judge it on other text", format!("feedforward evaluate {run} --data FILE")),
        command(
            "go on from its weights",
            format!("feedforward pretrain {recipe} --set model.config= --set model.from={run}"),
        ),
    ]);
    all
}

fn environment(known: &Known<'_>) -> Vec<Fact> {
    let here = crate::environment();
    let cpu = known.job.device.cpu();
    let recipe = known.job.recipe;
    let unknown = || "not known".to_owned();
    vec![
        Fact::new("version", format!("{} ({} build)", here.version, here.build)),
        Fact::new("kernels", format!("CPU, {}", cpu.isa())),
        Fact::new("threads", cpu.threads().count().to_string()),
        Fact::new("numbers", words::name(&recipe.model.precision)),
        Fact::new("seed", recipe.train.seed.to_string()),
        Fact::new("hash of the text", &known.job.corpus.data.report.data),
        Fact::new("run", known.job.folder.path().display().to_string()),
        Fact::new("processor", here.processor.unwrap_or_else(unknown)),
        Fact::new("memory", here.memory_bytes.map_or_else(unknown, crate::bytes)),
    ]
}
