//! How rows are split, and what is trained how.

use super::super::snapshot::Snapshot;
use super::super::split;
use super::{NAMED, decision};
use crate::table::model::ModelFile;
use crate::words::{self, count, list, name, number, plural, set};
use ff_report::{Decision, DecisionKind};
use ff_table::{SplitKind, Target, balanced_class_weights};

/// A class this many times smaller than the largest one makes weights worth a thought.
const UNEVEN: usize = 4;

pub(super) fn division(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let prepared = snapshot.prepared;
    let (kind, other) = match prepared.split {
        SplitKind::Stratified => ("each part has every class in the same share", "random"),
        SplitKind::Auto | SplitKind::Random => ("any row may fall into any part", "time"),
        SplitKind::Grouped | SplitKind::Time | SplitKind::Given => ("as the recipe says", "auto"),
    };
    let rows = [&prepared.train, &prepared.valid, &prepared.test].map(|part| count(part.rows));
    let undo = match other {
        "time" => "data.split={kind=\"time\",column=\"…\"}".to_owned(),
        other => format!("data.split.kind={other}"),
    };
    let method = split::method(snapshot);
    all.push(decision(
        DecisionKind::Chosen,
        format!("rows are split {method}"),
        format!("{} train, {} valid, {} test; {kind}", rows[0], rows[1], rows[2]),
        set(&undo),
    ));
    weights(snapshot, all);
}

fn weights(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let (target, loss) = (&snapshot.prepared.target, &snapshot.recipe.loss);
    let Some(Target::Class(rows)) = &snapshot.prepared.train.target else { return };
    if loss.class_weights.is_some() {
        return;
    }
    let (largest, least) = (target.counts.iter().max(), target.counts.iter().min());
    let (largest, least) = (largest.copied().unwrap_or(0), least.copied().unwrap_or(0));
    if loss.balanced {
        let weights = balanced_class_weights(rows, target.classes.len());
        let told: Vec<String> = target
            .classes
            .iter()
            .zip(weights)
            .map(|(class, weight)| format!("{class} × {}", number(weight)))
            .collect();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        all.push(decision(
            DecisionKind::Chosen,
            "classes are weighed against their frequency",
            list(&told, NAMED),
            set("loss.balanced=false"),
        ));
    } else {
        let why = if least * UNEVEN <= largest {
            format!("the largest has {} rows, the smallest {}", count(largest), count(least))
        } else {
            "the classes are even enough".into()
        };
        all.push(decision(
            DecisionKind::Chosen,
            "every row weighs the same, whatever its class",
            why,
            set("loss.balanced=true"),
        ));
    }
}

pub(super) fn training(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let recipe = snapshot.recipe;
    all.push(decision(
        DecisionKind::Chosen,
        format!("the network is {}", snapshot.run.work.layers),
        format!("{} parameters", count(snapshot.run.sizes.parameters)),
        set(snapshot.other),
    ));
    if recipe.loss.kind == ff_nn::LossKind::Auto {
        let classes = !snapshot.file.classes.is_empty();
        let (why, other) = if classes {
            ("the target is a class", "focal")
        } else {
            ("the target is a number", "huber")
        };
        all.push(decision(
            DecisionKind::Chosen,
            format!("the loss is {}", snapshot.loss.replace('_', " ")),
            why,
            set(&format!("loss.kind={other}")),
        ));
    }
    let (optimizer, train) = (&recipe.optimizer, &recipe.train);
    let batch = train.batch_size * train.accumulate;
    all.push(decision(
        DecisionKind::Chosen,
        format!(
            "{} at rate {}, {} schedule, batches of {}",
            optimizer.kind,
            words::setting(optimizer.lr()),
            name(&recipe.schedule.kind),
            plural(batch, "row")
        ),
        format!(
            "at most {}",
            match train.steps {
                Some(steps) => plural(steps as usize, "step"),
                None => plural(train.epochs, "epoch"),
            }
        ),
        set(&format!("optimizer.lr={:.0e}", optimizer.lr() / 3.0)),
    ));
    let progress = snapshot.run.progress;
    if let Some(k) = train.bags.filter(|_| !train.refit) {
        all.push(decision(
            DecisionKind::Chosen,
            format!("the predictions of {k} networks are averaged; curves, importance and dependence are the first one's"),
            "each learns all rows outside the test part but one fold, on which it is stopped; what it did not learn, \
             it is judged on",
            set("train.bags="),
        ));
    }
    if train.refit {
        let on = train.bags.is_none() && train.refit_judged_above.is_some();
        all.push(decision(
            DecisionKind::Chosen,
            if on {
                "model/ is judged/ trained on, with all rows, for a quarter of its epochs; the scores here are those of judged/"
            } else {
                "model/ is trained anew on all rows, for as many epochs; the scores here are those of judged/"
            },
            "more rows make a better model, and only rows held out can judge one",
            set("train.refit=false"),
        ));
    }
    if let (Some(best), true) = (progress.best, train.restore_best) {
        let monitored = match train.monitor {
            ff_train::Monitor::Loss => "the lowest validation loss",
            ff_train::Monitor::Score => "the highest validation score",
        };
        let (why, undo) = if train.patience > 0 {
            (
                format!(
                    "; training stops after {} without gain",
                    plural(train.patience_after(best.epoch), "epoch")
                ),
                "train.patience=0",
            )
        } else {
            (String::new(), "train.restore_best=false")
        };
        all.push(decision(
            DecisionKind::Chosen,
            format!("epoch {} of {} is kept", best.epoch, progress.epoch),
            format!("{monitored}{why}"),
            set(undo),
        ));
    } else if progress.best.is_none() && progress.epoch > 0 {
        all.push(decision(
            DecisionKind::Chosen,
            "the last weights are kept",
            "there is no validation part to choose an epoch on",
            set("data.split.valid=0.15"),
        ));
    }
}

pub(super) fn temperature(file: &ModelFile, all: &mut Vec<Decision>) {
    let Some(fitted) = &file.temperature else { return };
    let rows = plural(fitted.rows, "row");
    let (what, why) = if fitted.value == 1.0 {
        (
            "logits stay as they are".to_owned(),
            format!("no temperature fits {rows} of the validation part clearly better"),
        )
    } else {
        let way = if fitted.value > 1.0 { "less" } else { "more" };
        (
            format!(
                "logits are divided by a temperature of {}, which makes probabilities {way} sure",
                number(fitted.value)
            ),
            format!(
                "log loss {} in place of {} on {rows} of the validation part",
                number(fitted.after),
                number(fitted.before)
            ),
        )
    };
    all.push(decision(DecisionKind::Chosen, what, why, set("train.temperature=false")));
}

pub(super) fn threshold(file: &ModelFile, all: &mut Vec<Decision>) {
    let two = file.classes.len() == 2;
    if !two && file.chosen.is_none() {
        return;
    }
    let Some(positive) = file.classes.get(file.positive.unwrap_or(1)) else { return };
    match &file.chosen {
        Some(chosen) => all.push(decision(
            DecisionKind::Chosen,
            format!(
                "{positive} is predicted from a probability of {} on",
                number(chosen.threshold)
            ),
            format!(
                "{} on the validation part: recall {}, false positive rate {}{}",
                super::super::evaluation::aim(chosen.aim),
                chosen.recall.map_or_else(|| "unknown".into(), number),
                number(chosen.false_positive_rate),
                if chosen.met { "" } else { "; no threshold reaches it, this comes nearest" }
            ),
            set("evaluate.threshold=balanced_accuracy"),
        )),
        None => all.push(decision(
            DecisionKind::Chosen,
            "the likelier class is predicted",
            format!("a threshold of 0.5 for {positive}; another one can be chosen for an aim"),
            set("evaluate.threshold=f1"),
        )),
    }
}

pub(super) fn device(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let cpu = snapshot.run.device.cpu();
    let isa = cpu.isa().to_string();
    let other = if isa == "plain" { "avx2" } else { "plain" };
    all.push(decision(
        DecisionKind::Chosen,
        format!(
            "the CPU computes, with {isa} kernels and {}",
            words::plural(cpu.threads().count(), "thread")
        ),
        if cpu.path() == ff_tensor::Isa::detect() {
            "the fastest that this machine has; the number of threads does not change the result"
        } else {
            "as it was asked for; the number of threads does not change the result"
        },
        format!("--isa {other}"),
    ));
}
