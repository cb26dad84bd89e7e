//! The page of a language model's run.

use super::corpus::Corpus;
use super::objective::Windows;
use super::recipe::PretrainRecipe;
use super::samples::Sample;
use super::scores::{STRETCH, Scores};
use crate::error::Result;
use crate::run::snapshot::Snapshot;
use crate::words;
use ff_graph::{ParamInfo, Segment};
use ff_metrics::wilson;
use ff_nn::models::DecoderConfig;
use ff_nn::{Builder, models::CausalLm};
use ff_report::{
    Command, Curves, Fact, Layer, Mark, Model, Panel, ReportData, Score, Series, Status, TextData,
    Token, Verdict,
};
use ff_settings::shell_word;
use ff_tensor::{DType, Device};
use ff_train::{EpochRecord, Progress};
use std::collections::BTreeMap;

/// Tokens of the example.
const EXAMPLE: usize = 200;
/// Bins of the documents' lengths.
const BINS: usize = 24;
/// Documents whose lengths are counted.
const DOCUMENTS: u64 = 20_000;

/// A language model's run at one moment.
pub(super) struct Page<'a> {
    pub(super) run: &'a Snapshot<'a>,
    pub(super) recipe: &'a PretrainRecipe,
    pub(super) corpus: &'a Corpus,
    pub(super) config: &'a DecoderConfig,
    pub(super) windows: Windows,
    pub(super) bytes_per_token: f64,
    pub(super) samples: &'a [Sample],
    /// The loss on the validation windows before training.
    pub(super) before: Option<f64>,
    /// The final scores.
    pub(super) scores: Option<Scores>,
}

/// Gathers all that is known so far.
///
/// # Errors
/// The tokens cannot be read.
pub(super) fn gather(page: &Page<'_>) -> Result<ReportData> {
    let name = page.recipe.name.clone().unwrap_or_else(|| "language model".into());
    let progress = page.run.progress;
    let parameters = words::count(page.run.sizes.parameters);
    Ok(ReportData {
        title: name,
        subtitle: format!("language model · {} · {parameters} parameters", page.run.work.layers),
        status: Some(status(page)),
        verdict: verdict(page, progress),
        text: Some(text(page)?),
        curves: curves(progress, page.before, "nats a token", page.run.work.units_per_step),
        samples: samples(page.samples, progress),
        model: Some(layers(page)?),
        commands: commands(page),
        environment: vec![Fact::new("hash of the text", &page.corpus.data.report.data)],
        ..ReportData::default()
    })
}

fn status(page: &Page<'_>) -> Status {
    let progress = page.run.progress;
    let done = words::plural(progress.step as usize, "step");
    let kept = match progress.best {
        Some(best) if best.epoch != progress.epoch => {
            format!("kept evaluation {} of {}", best.epoch, progress.epoch)
        }
        _ => String::new(),
    };
    page.run.status(&done, &kept)
}

/// Loss, perplexity and bits per byte against the start.
fn verdict(page: &Page<'_>, progress: &Progress) -> Option<Verdict> {
    let per_byte = 1.0 / std::f64::consts::LN_2 / page.bytes_per_token;
    let (loss, tokens, bits, interval) =
        if let Some(Scores { valid: Some(valid), .. }) = page.scores {
            (valid.loss, valid.tokens, valid.bits_per_byte, valid.interval)
        } else {
            let loss = progress.history.iter().rev().find_map(|record| record.valid_loss)?;
            (loss, page.corpus.data.report.valid.tokens, loss * per_byte, None)
        };
    // All three are functions of the loss, and so are the ends of their intervals.
    let score =
        |name: &str, value: f64, of_loss: &dyn Fn(f64) -> f64, before: &dyn Fn(f64) -> f64| {
            let score = Score::new(name, value, false);
            let score = match page.before {
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
        page.before
            .map_or(String::new(), |loss| format!(", {:.3} before training", loss * per_byte))
    );
    if let Some(Scores { exact: Some(exact), .. }) = page.scores {
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
    let chosen = page.recipe.train.restore_best && progress.history.len() > 1;
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

fn text(page: &Page<'_>) -> Result<TextData> {
    let corpus = page.corpus;
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
        Fact::new("tokens held out", words::count(report.valid.tokens as usize)),
        Fact::new("bytes a token", format!("{:.3}", corpus.bytes_per_token())),
        Fact::new("tokenizer", corpus.tokenizer_line()),
        Fact::new(
            "documents in a window",
            match page.recipe.data.documents {
                ff_text::DocumentBorders::Packed => "attention crosses from one to the next",
                ff_text::DocumentBorders::Separate => {
                    "attention stays inside of each, positions start anew"
                }
            },
        ),
        Fact::new("hash of the tokens", corpus.data.train.hash()),
    ]);
    let (length_edges, length_counts) = lengths(corpus);
    Ok(TextData {
        facts,
        length_edges,
        length_counts,
        example: example(page)?,
        ..TextData::default()
    })
}

/// How long documents are, in bins of equal ratios.
fn lengths(corpus: &Corpus) -> (Vec<f64>, Vec<u64>) {
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
fn example(page: &Page<'_>) -> Result<Vec<Token>> {
    let corpus = page.corpus;
    let train = &corpus.data.train;
    let count = EXAMPLE.min(train.tokens() as usize).min(page.recipe.train.context + 1);
    let mut ids = vec![0; count];
    let mut documents = vec![0; count];
    train.read(0, &mut ids)?;
    train.segments(0, &mut documents)?;
    let windows = page.windows;
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

/// Curves over the steps of a language model's training.
pub(crate) fn curves(
    progress: &Progress,
    loss_before: Option<f64>,
    loss_unit: &str,
    tokens_per_step: f64,
) -> Option<Curves> {
    let history = &progress.history;
    if history.is_empty() {
        return None;
    }
    let steps: Vec<f64> = history.iter().map(|record| record.step as f64).collect();
    let series = |name: &str, value: &dyn Fn(&EpochRecord) -> f64| {
        Series::new(name, steps.clone(), history.iter().map(value).collect())
    };
    let mut loss = Panel::new("Loss", "step", loss_unit).with(series("train", &|r| r.train_loss));
    if history.iter().any(|record| record.valid_loss.is_some()) {
        let mut valid = series("valid", &|r| r.valid_loss.unwrap_or(f64::NAN));
        if let Some(before) = loss_before {
            valid.x.insert(0, 0.0);
            valid.y.insert(0, before);
        }
        loss = loss.with(valid);
        loss.note =
            "Train: the mean since the evaluation before; valid: the same held-out texts each time."
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
            *speed = (record.step - step) as f64 * tokens_per_step / spent;
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

/// What a model wrote, with when.
pub(crate) fn samples(samples: &[Sample], progress: &Progress) -> Vec<ff_report::Sample> {
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
    samples.iter().map(sample).collect()
}

/// Every block's tensors in one line, the rest one by one.
fn layers(page: &Page<'_>) -> Result<Model> {
    let mut builder = Builder::new();
    let _model =
        CausalLm::new(&mut builder, page.config, &ff_nn::models::LanguageOptions::default());
    let params = builder.build(&Device::planning(), DType::F32, 0, false)?;
    let tokens = page.run.work.units_per_step as u64;
    // A name without its last part is the layer.
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
        let output = if page.config.tied { "embed_tokens" } else { "lm_head" };
        let is_output =
            layer.name.ends_with(output) || page.config.tied && layer.name.ends_with("wte");
        if info.spec.kind == ff_graph::ParamKind::Weight || is_output {
            layer.flop += 6 * tokens * info.spec.shape.len() as u64;
        }
    }
    Ok(Model { summary: page.run.work.layers.clone(), layers })
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

fn commands(page: &Page<'_>) -> Vec<Command> {
    if !page.run.is_finished() {
        return Vec::new();
    }
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let (run, recipe) = (page.run.shown_run(), page.run.shown_recipe());
    let prompt = page.recipe.sample.prompts.first();
    let prompt = shell_word(prompt.map_or("Once upon a time", String::as_str));
    vec![
        command("let it write", format!("feedforward generate {run} --prompt {prompt}")),
        command("evaluate it on other text", format!("feedforward evaluate {run} --data FILE")),
        command(
            "continue from its weights",
            format!("feedforward pretrain {recipe} --set model.config= --set model.from={run}"),
        ),
    ]
}
