//! What the program inferred, chose, dropped or changed, why, and the option that decides
//! otherwise.

use super::facts::Facts;
use super::split;
use crate::table::model::ModelFile;
use crate::words::{self, count, list, name, number, plural, set};
use ff_report::Decision;
use ff_report::DecisionKind;
use ff_table::{
    ColumnSchema, Encoder, Kind, Missing, Role, Scaling, SplitKind, Target, balanced_class_weights,
};

/// Columns that are named in one line.
const NAMED: usize = 6;

/// A class this many times smaller than the largest one makes weights worth a thought.
const UNEVEN: usize = 4;

/// `trained` is the model once training and evaluation are over.
pub(super) fn gather(facts: &Facts<'_>, trained: Option<&ModelFile>) -> Vec<Decision> {
    let mut all = Vec::new();
    task(facts, &mut all);
    source(facts, &mut all);
    columns(facts, &mut all);
    rows(facts, &mut all);
    gaps(facts, &mut all);
    encoding(facts, &mut all);
    division(facts, &mut all);
    training(facts, &mut all);
    if let Some(file) = trained {
        threshold(file, &mut all);
    }
    device(facts, &mut all);
    all
}

fn decision(
    kind: DecisionKind,
    what: impl Into<String>,
    why: impl Into<String>,
    undo: impl Into<String>,
) -> Decision {
    Decision { kind, what: what.into(), why: why.into(), undo: undo.into() }
}

fn task(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let target = &facts.prepared.target;
    let undo = target.undo.as_deref().map_or_else(String::new, set);
    all.push(decision(
        DecisionKind::Inferred,
        format!("{} is learned as {}", target.column, target.task),
        &target.reason,
        undo,
    ));
    if let (Some(positive), [first, second]) = (target.positive, target.classes.as_slice()) {
        let (this, other) = if positive == 1 { (second, first) } else { (first, second) };
        let why = match &facts.recipe.data.positive {
            Some(_) => "as the recipe says; precision, recall and F1 are this class's",
            None => "the second in order; precision, recall and F1 are this class's",
        };
        let undo = set(&format!("data.positive={}", toml_text(other)));
        all.push(decision(
            DecisionKind::Chosen,
            format!("the positive class is {this}"),
            why,
            undo,
        ));
    }
}

fn source(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let (recipe, source) = (&facts.recipe.data, &facts.prepared.source);
    if recipe.delimiter.is_none() && recipe.header.is_none() && source.header.is_some() {
        let undo = format!("--set data.header={}", source.header != Some(true));
        all.push(decision(
            DecisionKind::Inferred,
            format!("the file is read as CSV: {}", source.describe()),
            "from its first lines",
            undo,
        ));
    }
}

/// Columns with one fate share a line.
fn columns(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let mut groups: Vec<Vec<&ColumnSchema>> = Vec::new();
    let fate = |c: &ColumnSchema| (c.role, c.kind, reason(c).to_owned(), c.usage.clone());
    for column in &facts.prepared.schema.columns {
        if column.role == Role::Target {
            continue;
        }
        match groups.iter_mut().find(|group| fate(group[0]) == fate(column)) {
            Some(group) => group.push(column),
            None => groups.push(vec![column]),
        }
    }
    for group in groups {
        let first = group[0];
        let names: Vec<&str> = group.iter().map(|c| c.name.as_str()).collect();
        let (kind, what) = match (first.role, group.len()) {
            (Role::Dropped, 1) => (DecisionKind::Dropped, format!("{} is left out", names[0])),
            (Role::Dropped, n) => (
                DecisionKind::Dropped,
                format!("{} columns are left out: {}", count(n), list(&names, NAMED)),
            ),
            (_, 1) => (DecisionKind::Inferred, format!("{} is read as {}", names[0], first.kind)),
            (_, n) => (
                DecisionKind::Inferred,
                format!(
                    "{} columns are read as {}: {}",
                    count(n),
                    plural_kind(first.kind),
                    list(&names, NAMED)
                ),
            ),
        };
        let named = match first.kind {
            Kind::Drop => String::new(),
            kind if first.role == Role::Dropped => format!("{kind}: "),
            _ => String::new(),
        };
        let fate = if first.role == Role::Dropped || first.usage.is_empty() {
            String::new()
        } else {
            format!(" → {}", first.usage)
        };
        let plain = || (first.kind == Kind::Number).then(|| kind_of(first, "category"));
        let undo = first.undo.clone().or_else(plain);
        all.push(decision(
            kind,
            what,
            // Many columns of integers differ in how many integers they hold; that is told in the
            // table.
            format!("{named}{}{fate}", if group.len() > 1 { reason(first) } else { &first.reason }),
            undo.as_deref().map_or_else(String::new, set),
        ));
    }
}

fn plural_kind(kind: Kind) -> String {
    match kind {
        Kind::Category => "categories".into(),
        Kind::Boolean => "truth values".into(),
        other => format!("{other}s"),
    }
}

/// Why a column was read so, without figures of its own.
fn reason(column: &ColumnSchema) -> &str {
    let integers = column.kind == Kind::Number && column.reason.contains("integers");
    if integers { "integers" } else { &column.reason }
}

fn kind_of(column: &ColumnSchema, kind: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !column.name.is_empty() && column.name.chars().all(bare) {
        format!("data.columns.{}={kind}", column.name)
    } else {
        format!("data.columns.{}={kind}", toml_text(&column.name))
    }
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn rows(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    for dropped in &facts.prepared.totals.dropped {
        let undo = match dropped.reason.as_str() {
            "target missing" => "data.missing_target=error",
            "the only row of its class" => "data.rare_classes=error",
            "repeats an earlier row" => "data.drop_duplicates=false",
            _ => "",
        };
        all.push(decision(
            DecisionKind::Dropped,
            plural(dropped.rows, "row"),
            &dropped.reason,
            if undo.is_empty() { String::new() } else { set(undo) },
        ));
    }
}

fn gaps(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let prepared = facts.prepared;
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
        let options = facts.recipe.data.columns.get(&column.name);
        let missing = options.and_then(|o| o.missing).unwrap_or(facts.recipe.data.missing);
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

fn encoding(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let data = &facts.recipe.data;
    let transforms = &facts.prepared.transforms;
    let numbers =
        transforms.columns.iter().filter(|c| matches!(c.encoder, Encoder::Number(_))).count();
    if numbers > 0 {
        let (what, other) = match data.scaling {
            Scaling::Standard => ("standardised (mean 0, deviation 1)", "robust"),
            Scaling::Minmax => ("scaled to 0 to 1", "standard"),
            Scaling::Robust => ("scaled by median and quartiles", "standard"),
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

fn division(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let prepared = facts.prepared;
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
    let method = split::method(facts);
    all.push(decision(
        DecisionKind::Chosen,
        format!("rows are split {method}"),
        format!("{} train, {} valid, {} test; {kind}", rows[0], rows[1], rows[2]),
        set(&undo),
    ));
    weights(facts, all);
}

fn weights(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let (target, loss) = (&facts.prepared.target, &facts.recipe.loss);
    let Some(Target::Class(rows)) = &facts.prepared.train.target else { return };
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

fn training(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let recipe = facts.recipe;
    all.push(decision(
        DecisionKind::Chosen,
        format!("the network is {}", facts.run.work.layers),
        format!("{} parameters", count(facts.run.sizes.parameters)),
        set("model.hidden=[128,64]"),
    ));
    if recipe.loss.kind == ff_nn::LossKind::Auto {
        let classes = !facts.file.classes.is_empty();
        let (why, other) = if classes {
            ("the target is a class", "focal")
        } else {
            ("the target is a number", "huber")
        };
        all.push(decision(
            DecisionKind::Chosen,
            format!("the loss is {}", facts.loss.replace('_', " ")),
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
            optimizer.lr(),
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
    let progress = facts.run.progress;
    if let (Some(best), true) = (progress.best, train.restore_best) {
        let monitored = match train.monitor {
            ff_train::Monitor::Loss => "the lowest validation loss",
            ff_train::Monitor::Score => "the highest validation score",
        };
        let (why, undo) = if train.patience > 0 {
            (
                format!("; training stops after {} without gain", plural(train.patience, "epoch")),
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

fn threshold(file: &ModelFile, all: &mut Vec<Decision>) {
    let [_, _] = file.classes.as_slice() else { return };
    let positive = &file.classes[file.positive.unwrap_or(1)];
    match &file.chosen {
        Some(chosen) => all.push(decision(
            DecisionKind::Chosen,
            format!(
                "{positive} is predicted from a probability of {} on",
                number(chosen.threshold)
            ),
            format!(
                "{} on the validation part{}",
                super::evaluation::aim(chosen.aim),
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

fn device(facts: &Facts<'_>, all: &mut Vec<Decision>) {
    let cpu = facts.run.device.cpu();
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
