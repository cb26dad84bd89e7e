//! What happened over the epochs.

use super::snapshot::Snapshot;
use crate::run::snapshot::State;
use crate::words;
use ff_report::Curves;
use ff_report::Mark;
use ff_report::Panel;
use ff_report::Series;
use ff_train::EpochRecord;

/// Losses that differ by more than this factor are drawn on a logarithmic axis.
const WIDE: f64 = 100.0;

pub(super) fn gather(snapshot: &Snapshot<'_>) -> Option<Curves> {
    let history = &snapshot.run.progress.history;
    if history.is_empty() && !matches!(snapshot.run.state, State::Running { .. }) {
        return None;
    }
    let epochs: Vec<f64> = history.iter().map(|r| r.epoch as f64).collect();
    let series = |name: &str, value: &dyn Fn(&EpochRecord) -> f64| {
        Series::new(name, epochs.clone(), history.iter().map(value).collect())
    };
    let optional = |name: &str, value: &dyn Fn(&EpochRecord) -> Option<f64>| {
        let any = history.iter().any(|r| value(r).is_some());
        any.then(|| series(name, &|r| value(r).unwrap_or(f64::NAN)))
    };

    let mut loss = Panel::new("Loss", "epoch", snapshot.loss.replace('_', " "));
    loss = loss.with(series("train", &|r| r.train_loss));
    if let Some(valid) = optional("valid", &|r| r.valid_loss) {
        loss = loss.with(valid);
        loss.note = "Train: the mean over an epoch while its weights change, with whatever noise training has; \
                     valid: after the epoch."
            .into();
    }
    let mut panels = vec![if is_wide(&loss) { loss.log() } else { loss }];
    if let Some(valid) = optional("valid", &|r| r.valid_score) {
        let (title, label) = if snapshot.file.classes.is_empty() {
            ("R²", "R² ↑")
        } else {
            ("Accuracy", "accuracy ↑")
        };
        panels.push(Panel::new(title, "epoch", label).with(valid));
    }
    let rate = Panel::new("Learning rate", "epoch", "").with(series("", &|r| r.lr));
    panels.push(if is_wide(&rate) { rate.log() } else { rate });
    let norm = Panel::new("Gradient norm", "epoch", "before clipping");
    let norm = norm.with(series("", &|r| r.grad_norm));
    panels.push(if is_wide(&norm) { norm.log() } else { norm });

    let best = snapshot.run.progress.best;
    Some(Curves {
        panels,
        marks: best
            .iter()
            .map(|best| Mark { x: best.epoch as f64, label: format!("best {}", best.epoch) })
            .collect(),
        note: note(snapshot),
    })
}

fn is_wide(panel: &Panel) -> bool {
    let values = || panel.series.iter().flat_map(|s| &s.y).copied().filter(|y| y.is_finite());
    let least = values().fold(f64::INFINITY, f64::min);
    least > 0.0 && values().fold(0.0, f64::max) / least > WIDE
}

fn note(snapshot: &Snapshot<'_>) -> String {
    let (progress, train) = (snapshot.run.progress, &snapshot.recipe.train);
    let Some(best) = progress.best else { return String::new() };
    let monitored = match train.monitor {
        ff_train::Monitor::Loss => "the lowest validation loss",
        ff_train::Monitor::Score => "the highest validation score",
    };
    let kept = if train.restore_best {
        "its weights are the model's"
    } else {
        "the last weights are kept all the same"
    };
    let epochs = words::plural(progress.epoch, "epoch");
    format!("Epoch {} of {epochs} has {monitored}; {kept}.", best.epoch)
}
