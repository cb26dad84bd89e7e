//! What becomes of gaps, numbers and categories.

use super::super::snapshot::Snapshot;
use super::{NAMED, decision, kind_of};
use crate::words::{count, list, number, plural, set};
use ff_report::{Decision, DecisionKind};
use ff_table::{Coding, Encoder, Missing, Scaling};

pub(super) fn gaps(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let prepared = snapshot.prepared;
    let mut told = 0;
    for column in &prepared.transforms.columns {
        let Some(schema) = prepared.schema.column(&column.name) else { continue };
        if schema.stats.missing == 0 {
            continue;
        }
        told += 1;
        if told > 2 * NAMED {
            continue;
        }
        let options = snapshot.recipe.data.columns.get(&column.name);
        let missing = options.and_then(|o| o.missing).unwrap_or(snapshot.recipe.data.missing);
        let (what, flag, undo) = match &column.encoder {
            Encoder::Number(e) => {
                let (how, other) = match missing {
                    Missing::Median => ("the median", "mean"),
                    Missing::Mean => ("the mean", "median"),
                    Missing::Constant => ("a constant", "median"),
                };
                (format!("{how}, {}", number(e.fill)), e.flag, format!("data.missing={other}"))
            }
            Encoder::Boolean(e) => (
                format!("the share of {}, {}", e.yes, number(e.fill)),
                e.flag,
                "data.missing_flag=false".into(),
            ),
            Encoder::Date(e) => ("the mean".into(), e.flag, "data.missing_flag=false".into()),
            Encoder::Text(_) => ("a text without words".into(), false, kind_of(schema, "drop")),
            Encoder::Category(_) => {
                ("a category of its own".into(), false, kind_of(schema, "drop"))
            }
        };
        let flag = if flag { "; a flag says where" } else { "" };
        all.push(decision(
            DecisionKind::Changed,
            format!("gaps of {} become {what}", column.name),
            format!(
                "{} of {} values are missing; fitted on the training rows{flag}",
                count(schema.stats.missing),
                count(schema.stats.rows)
            ),
            set(&undo),
        ));
    }
    if told > 2 * NAMED {
        let more = plural(told - 2 * NAMED, "more column");
        let why = "they have gaps too, which are filled the same way";
        all.push(decision(DecisionKind::Changed, more, why, ""));
    }
}

pub(super) fn encoding(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let data = &snapshot.recipe.data;
    let transforms = &snapshot.prepared.transforms;
    let numbers =
        transforms.columns.iter().filter(|c| matches!(c.encoder, Encoder::Number(_))).count();
    if numbers > 0 {
        let (what, other) = match data.scaling {
            Scaling::Standard => ("standardised (mean 0, deviation 1)", "robust"),
            Scaling::Minmax => ("scaled to 0 to 1", "standard"),
            Scaling::Robust => ("scaled by median and quartiles", "standard"),
            Scaling::RobustSmooth => {
                ("scaled by median and quartiles, and kept smoothly within ±3", "standard")
            }
            Scaling::QuantileNormal => ("turned into normal quantiles", "standard"),
            Scaling::QuantileUniform => ("turned into ranks", "standard"),
            Scaling::None => ("left as they are", "standard"),
        };
        all.push(decision(
            DecisionKind::Changed,
            format!("numbers are {what}"),
            format!("{}; fitted on the training rows", plural(numbers, "column")),
            set(&format!("data.scaling={other}")),
        ));
    }
    let rare: Vec<&str> = transforms
        .columns
        .iter()
        .filter(|c| matches!(&c.encoder, Encoder::Category(e) if e.rare))
        .map(|c| c.name.as_str())
        .collect();
    if !rare.is_empty() {
        all.push(decision(
            DecisionKind::Changed,
            format!("rare values are merged: {}", list(&rare, NAMED)),
            format!("fewer than {} training rows", data.categories.min_frequency),
            set("data.categories.min_frequency=1"),
        ));
    }
    unseen(snapshot, all);
    let target = &transforms.target;
    if target.classes.is_empty() {
        let log = if target.log { "log(1 + y) of the target" } else { "the target" };
        all.push(decision(
            DecisionKind::Changed,
            format!("{log} is standardised for training"),
            format!(
                "mean {}, deviation {}; predictions and scores are in its own unit",
                number(target.mean),
                number(target.std)
            ),
            set(&format!("data.target_log={}", !target.log)),
        ));
    }
}

/// What a category that training never meets is to the model.
fn unseen(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let coded = |wanted: Coding| {
        let columns = snapshot.prepared.transforms.columns.iter();
        let is = |e: &Encoder| matches!(e, Encoder::Category(e) if e.coding == wanted);
        columns.filter(|c| is(&c.encoder)).map(|c| c.name.as_str()).collect::<Vec<_>>()
    };
    let (embedded, one_hot) = (coded(Coding::Embedding), coded(Coding::OneHot));
    let share = snapshot.recipe.data.categories.unseen;
    if !embedded.is_empty() && share > 0.0 {
        all.push(decision(
            DecisionKind::Chosen,
            format!("an unseen category has a slot of its own: {}", list(&embedded, NAMED)),
            format!(
                "{} % of the training values are shown as unseen, other ones at each step, so that \
                 the slot stands for any of them",
                number(100.0 * share)
            ),
            set("data.categories.unseen=0"),
        ));
    }
    if !one_hot.is_empty() {
        all.push(decision(
            DecisionKind::Chosen,
            format!(
                "an unseen category is the mean of the training rows: {}",
                list(&one_hot, NAMED)
            ),
            "or a rare one, where rare ones are merged",
            set("data.categories.one_hot_max=0"),
        ));
    }
}
