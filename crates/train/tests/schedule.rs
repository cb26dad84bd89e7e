//! Schedules against PyTorch's (`fixtures/optim.py`), limits and messages.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use ff_train::schedule::{
    ConfigError, Cosine, Exponential, FinderConfig, OneCycle, Plateau, Schedule, ScheduleConfig,
    ScheduleKind, Span, Step, find_lr,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: ScheduleConfig,
    lr: f64,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    scores: Vec<f64>,
    rates: Vec<f64>,
}

#[test]
fn every_schedule_agrees_with_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/schedule.json")).unwrap();
    let kinds: Vec<ScheduleKind> = fixture.cases.iter().map(|case| case.config.kind).collect();
    assert!(ScheduleKind::ALL.iter().all(|kind| kinds.contains(kind)));
    for case in fixture.cases {
        let mut schedule = Schedule::new(&case.config, case.lr).unwrap();
        let total = case.rates.len() as u64;
        for (step, &expected) in case.rates.iter().enumerate() {
            let lr = schedule.lr_at(step as u64, total);
            // PyTorch computes each rate from the previous one: rounding errors accumulate over 200
            // steps.
            let tolerance = 1e-13 * case.lr + 1e-12 * expected;
            assert!(
                (lr - expected).abs() <= tolerance,
                "{:?}: {step}: {lr} {expected}",
                case.config
            );
            if let Some(&score) = case.scores.get(step) {
                schedule.observe(score, case.mode == "max");
            }
        }
        assert!(case.scores.is_empty() || case.rates.first() > case.rates.last());
    }
}

#[test]
fn the_schedule_of_nano_gpt() {
    // Its character model: 1e-3 down to 1e-4 over 2000 steps, after 100 of warm-up.
    let config: ScheduleConfig =
        serde_json::from_str(r#"{"kind":"cosine","warmup":100,"min_lr":1e-4}"#).unwrap();
    let schedule = Schedule::new(&config, 1e-3).unwrap();
    for step in 0..=2000u32 {
        let t = f64::from(step);
        let expected = if step < 100 {
            1e-3 * (t + 1.0) / 101.0
        } else {
            let cosine = (std::f64::consts::PI * (t - 100.0) / 1900.0).cos();
            1e-4 + 0.5 * (1.0 + cosine) * (1e-3 - 1e-4)
        };
        let found = schedule.lr_at(u64::from(step), 2000);
        assert!((found - expected).abs() < 1e-17, "{step}: {found} {expected}");
    }
}

fn lr(config: &ScheduleConfig, step: u64, total: u64) -> f64 {
    Schedule::new(config, 0.5).unwrap().lr_at(step, total)
}

#[test]
fn rates_stay_finite_and_positive_for_any_length() {
    for kind in ScheduleKind::ALL {
        let config: ScheduleConfig = match kind {
            ScheduleKind::Exponential => Exponential { gamma: Some(0.9) }.into(),
            ScheduleKind::Step => {
                Step { step_size: Some(Span::Fraction(0.1)), ..Step::default() }.into()
            }
            other => ScheduleConfig::new(other),
        };
        let short_cycle = match kind {
            ScheduleKind::Cosine => {
                Cosine { cycle: Some(Span::Fraction(0.01)), ..Cosine::default() }.into()
            }
            ScheduleKind::OneCycle => OneCycle { pct_start: 1.0, ..OneCycle::default() }.into(),
            _ => config.clone(),
        };
        let short_cycle = ScheduleConfig { warmup: Some(Span::Steps(3)), ..short_cycle };
        for config in [config, short_cycle] {
            for total in [0, 1, 2, 3, 4, 7, 100] {
                for step in [0, 1, 2, 3, 4, 6, 99, 100, 1_000_000] {
                    let lr = lr(&config, step, total);
                    assert!((0.0..=0.5).contains(&lr), "{kind} {step}/{total}: {lr}");
                }
            }
        }
    }
}

#[test]
fn after_the_end_the_last_rate_stays() {
    for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Polynomial] {
        assert!(lr(&ScheduleConfig::new(kind), 10, 10) < 1e-16);
        assert!(lr(&ScheduleConfig::new(kind), 15, 10) < 1e-16);
    }
}

#[test]
fn a_long_restart_does_not_take_long() {
    let config = Cosine { cycle: Some(Span::Steps(1)), ..Cosine::default() }.into();
    assert_eq!(lr(&config, u64::MAX - 1, u64::MAX), 0.5);
}

#[test]
fn plateau_resumes_from_its_saved_state() {
    let config = Plateau { patience: 1, factor: 0.5, cooldown: 1, ..Plateau::default() }.into();
    let scores = [1.0, 0.9, 0.95, f64::NAN, 0.9, 0.9, 0.9, 0.8, 0.85, 0.85, 0.85];
    let mut undisturbed = Schedule::new(&config, 1.0).unwrap();
    let mut stopped = undisturbed.clone();
    let mut reductions = 0;
    for score in scores {
        reductions += usize::from(undisturbed.observe(score, false).is_some());
        stopped.observe(score, false);
        let json = serde_json::to_string(stopped.state()).unwrap();
        stopped = Schedule::new(&config, 1.0).unwrap();
        stopped.restore(serde_json::from_str(&json).unwrap());
        assert_eq!(stopped, undisturbed);
    }
    assert_eq!((reductions, undisturbed.lr_at(0, 0)), (3, 0.125));
}

#[test]
fn what_does_not_fit_is_named() {
    for (json, expected) in [
        (
            r#"{"kind":"constant","gamma":0.1}"#,
            "gamma: does not apply to constant, only to step, exponential",
        ),
        (r#"{"kind":"exponential"}"#, "gamma: is required for exponential"),
        (r#"{"kind":"exponential","gamma":-1}"#, "gamma: must be greater than 0, found -1"),
        (r#"{"kind":"step"}"#, "step_size: or `milestones` is required for step"),
        (r#"{"kind":"step","step_size":0}"#, "step_size: must be at least one step, found 0"),
        (r#"{"kind":"cosine","cycle_multiplier":2}"#, "cycle_multiplier: needs `cycle`"),
        (r#"{"kind":"cosine","min_lr":-0.5}"#, "min_lr: must be at least 0, found -0.5"),
        (
            r#"{"kind":"plateau","factor":1.0}"#,
            "factor: must be at least 0 and less than 1, found 1",
        ),
        (
            r#"{"kind":"one_cycle","pct_start":1.5}"#,
            "pct_start: must be between 0 and 1, found 1.5",
        ),
    ] {
        let config: ScheduleConfig = serde_json::from_str(json).unwrap();
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    for (json, expected) in [
        (r#"{"kind":"cosin"}"#, "unknown variant `cosin`, expected one of"),
        (r#"{"warmup":-3}"#, "invalid value: integer `-3`, expected a number of steps"),
        (r#"{"warmup":1.5}"#, "invalid value: floating point `1.5`, expected a number of steps"),
        (r#"{"warmup":"ten"}"#, "invalid type: string \"ten\", expected a number of steps"),
        (r#"{"warm_up":3}"#, "unknown field `warm_up`"),
    ] {
        let message = serde_json::from_str::<ScheduleConfig>(json).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let high = Cosine { min_lr: 1.0, ..Cosine::default() }.into();
    let error = Schedule::new(&high, 0.1).unwrap_err();
    assert_eq!(error.to_string(), "min_lr: must be at most the learning rate 0.1, found 1");
}

#[test]
fn the_finder_suggests_where_the_loss_falls_most_steeply() {
    // In u = log₁₀ lr, a logistic fall around 1e-3 and a wall from 1 on.
    let loss = |lr: f64| 1.0 + 1.0 / (1.0 + (lr / 1e-3).powi(2)) + lr.powi(3);
    let config = FinderConfig { smoothing: 0.0, ..FinderConfig::default() };
    let report = find_lr(&config, |lr| Ok::<_, ConfigError>(loss(lr))).unwrap();
    let steepest = report.steepest.unwrap();
    assert!((steepest.log10() + 3.0).abs() < 0.1, "{steepest}"); // within one step of the sweep
    assert!(report.diverged && report.rates.len() < 100);
    let least = report.tenth_of_minimum.unwrap() * 10.0;
    assert!(report.losses.iter().all(|&other| other >= loss(least)));

    // Smoothing does not shift it: forward and backward, the lags cancel.
    let config = FinderConfig::default();
    let report = find_lr(&config, |lr| Ok::<_, ConfigError>(loss(lr))).unwrap();
    let lag = report.steepest.unwrap().log10() + 3.0;
    assert!(lag.abs() < 0.3, "{lag}");

    // Nor do random differences between batches, whatever the first ones.
    for seed in 0..50 {
        let mut rng = ff_tensor::Rng::new(ff_tensor::Key::new(seed));
        let noisy = |lr| Ok::<_, ConfigError>(loss(lr) + 0.15 * rng.normal());
        let found = find_lr(&config, noisy).unwrap().steepest.unwrap().log10() + 3.0;
        assert!(found.abs() < 1.2, "seed {seed}: 10^{found} too high");
    }
}

#[test]
fn the_finder_stops_at_nan_and_suggests_nothing_without_a_fall() {
    let mut calls = 0;
    let report = find_lr(&FinderConfig::default(), |_| {
        calls += 1;
        Ok::<_, ConfigError>(if calls == 5 { f64::NAN } else { 1.0 + f64::from(calls) })
    });
    let report = report.unwrap();
    assert_eq!((calls, report.rates.len(), report.diverged), (5, 4, true));
    assert_eq!(report.steepest, None);

    let flat = find_lr(&FinderConfig::default(), |_| Ok::<_, ConfigError>(2.0)).unwrap();
    assert!(!flat.diverged && flat.rates.len() == 100);
    assert_eq!((flat.rates[0], flat.rates[99]), (1e-7, 10.0));

    let first = find_lr(&FinderConfig::default(), |_| Ok::<_, ConfigError>(f64::INFINITY)).unwrap();
    assert!(first.diverged && first.steepest.is_none() && first.tenth_of_minimum.is_none());

    let failed = find_lr(&FinderConfig::default(), |_| Err(ConfigError::new("x", "fails")));
    assert_eq!(failed.unwrap_err().key, "x");
    let backward = FinderConfig { end: 1e-9, ..FinderConfig::default() };
    assert_eq!(find_lr(&backward, |_| Ok::<_, ConfigError>(1.0)).unwrap_err().key, "end");
}
