//! A language model in training.

use ff_report::{
    Curves, Fact, Live, Panel, ReportData, Sample, Score, Series, Status, StatusKind, TextData,
    Token, Verdict,
};

use crate::noise::{Noise, steps};

pub(crate) fn report() -> ReportData {
    let mut noise = Noise(5);
    let x = steps(1.0, 6200.0, 6200);
    let mut along = |f: &dyn Fn(f64) -> f64, sigma: f64| -> Vec<f64> {
        x.iter().map(|e| f(*e) + sigma * noise.normal()).collect()
    };
    let mut train = along(&|e| 3.1 + 4.6 * (-e / 500.0).exp() + 1.2 * (-e / 2500.0).exp(), 0.06);
    train[3100..3140].fill(f64::NAN);
    let norm = along(&|e| 0.6 + 2.5 * (-e / 400.0).exp(), 0.05);
    let speed = along(&|_| 18_400.0, 180.0);
    let rate: Vec<f64> = x
        .iter()
        .map(|e| {
            if *e < 500.0 {
                6e-4 * e / 500.0
            } else {
                6e-4 * (0.55 + 0.45 * (e / 10_000.0 * std::f64::consts::PI).cos())
            }
        })
        .collect();
    let every = steps(250.0, 6000.0, 24);
    let valid =
        every.iter().map(|e| 3.22 + 4.4 * (-e / 500.0).exp() + 1.2 * (-e / 2500.0).exp()).collect();
    let token = |text: &str, trained| Token { text: text.into(), trained };
    let prompt = "The old lighthouse";
    let sample = |when: &str, text: &str| Sample {
        when: when.into(),
        prompt: prompt.into(),
        text: text.into(),
    };
    ReportData {
        title: "tiny stories · language model".into(),
        subtitle: "Transformer, 6 blocks of 384 · 10.7 M parameters".into(),
        created: "2026-03-02 15:30".into(),
        status: Some(Status { kind: StatusKind::Running, message: String::new() }),
        live: Some(Live {
            reload_seconds: 5,
            phase: "training".into(),
            done: 6200,
            total: 10_000,
            unit: "steps".into(),
            seconds_left: Some(1330.0),
        }),
        verdict: Some(Verdict {
            split: "valid".into(),
            rows: 262_144,
            unit: "tokens".into(),
            baseline: "bigram counts".into(),
            scores: vec![
                Score::new("loss", 3.322, false).interval(3.301, 3.344).baseline(4.871),
                Score::new("perplexity", 27.7, false).interval(27.1, 28.3).baseline(130.5),
                Score::new("bits a byte", 1.134, false).baseline(1.663),
            ],
            ..Verdict::default()
        }),
        text: Some(TextData {
            facts: [
                ("Documents", "48,210"),
                ("Tokens", "11.9 M"),
                ("Duplicates dropped", "312"),
                ("Tokenizer", "byte-pair, 8,192"),
            ]
            .map(|(a, b)| Fact::new(a, b))
            .to_vec(),
            length_edges: steps(0.0, 800.0, 33),
            length_counts: (0..32)
                .map(|i| (5200.0 * (-((f64::from(i) - 8.0) / 6.0).powi(2)).exp()) as u64)
                .collect(),
            example: vec![
                token("<|user|>", false),
                token(" Tell", false),
                token(" me", false),
                token(" a", false),
                token(" story.\n", false),
                token("<|assistant|>", false),
                token(" Once", true),
                token(" there", true),
                token(" was", true),
                token(" a", true),
                token(" lighthouse.", true),
                token("<|end|>", true),
            ],
            ..TextData::default()
        }),
        curves: Some(Curves {
            panels: vec![
                Panel::new("Loss", "step", "cross-entropy, nats per token ↓")
                    .with(Series::new("train", x.clone(), train))
                    .with(Series::new("valid", every, valid)),
                Panel::new("Learning rate", "step", "").with(Series::new("", x.clone(), rate)),
                Panel::new("Gradient norm", "step", "before clipping").with(Series::new(
                    "",
                    x.clone(),
                    norm,
                )),
                Panel::new("Speed", "step", "tokens a second").with(Series::new("", x, speed)),
            ],
            ..Curves::default()
        }),
        samples: vec![
            sample("before", " qui the ag le tur the the"),
            sample("step 1,000", " was a big and the was a small."),
            sample(
                "step 6,000",
                " stood at the end of the beach, and every night it shone over the sea.",
            ),
        ],
        ..ReportData::default()
    }
}
