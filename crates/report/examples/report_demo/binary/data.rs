//! The table, its columns and its split.

use ff_report::{
    Alert, Column, Data, Decision, DecisionKind, Distribution, Level, Split, SplitPart, Tally,
};

use crate::noise::{bell, steps};

pub(super) fn decisions() -> Vec<Decision> {
    use DecisionKind::{Changed, Chosen, Dropped, Inferred};
    [
        (
            Inferred,
            "Task: two classes",
            "survived holds 2 distinct integers, 0 and 1",
            "--task regression",
        ),
        (
            Inferred,
            "pclass is a category",
            "3 distinct integers in 891 rows",
            "--set data.columns.pclass=number",
        ),
        (
            Dropped,
            "Column passenger_id",
            "an identifier: 891 distinct values in 891 rows",
            "--set data.columns.passenger_id=number",
        ),
        (Dropped, "Column name", "text: 891 distinct values", "--set data.columns.name=category"),
        (
            Changed,
            "age: 177 missing values become the median",
            "28.0, fitted on train; a column age_missing tells the model",
            "--set data.impute=mean",
        ),
        (Chosen, "Positive class: 1", "the rarer of the two", "--set data.positive=0"),
        (
            Chosen,
            "Early stopping after 20 epochs without gain",
            "the default for fewer than 10,000 rows",
            "--set train.patience=0",
        ),
        (Chosen, "Threshold 0.46", "best F1 on valid", "--set evaluate.threshold=0.5"),
    ]
    .map(|(kind, what, why, undo)| Decision {
        kind,
        what: what.into(),
        why: why.into(),
        undo: undo.into(),
    })
    .to_vec()
}

pub(super) fn data() -> Data {
    let number = |name: &str, range: &str, unique, missing, low, high, counts| Column {
        name: name.into(),
        kind: "number".into(),
        range: range.into(),
        unique: Some(unique),
        missing,
        role: if missing > 0 { "standardised, median, missing flag" } else { "standardised" }
            .into(),
        distribution: Distribution::Numeric { edges: steps(low, high, 25), counts },
        ..Column::default()
    };
    let category = |name: &str, kind: &str, role: &str, missing, tallies: &[(&str, u64)]| Column {
        name: name.into(),
        kind: kind.into(),
        range: tallies.iter().map(|t| t.0).take(3).collect::<Vec<_>>().join(", "),
        unique: Some(tallies.len() as u64),
        missing,
        role: role.into(),
        distribution: Distribution::Categories(
            tallies.iter().map(|t| Tally::new(t.0, t.1)).collect(),
        ),
        ..Column::default()
    };
    let dropped = |name: &str, kind: &str, unique, why: &str| Column {
        name: name.into(),
        kind: kind.into(),
        unique: Some(unique),
        role: why.into(),
        dropped: true,
        ..Column::default()
    };
    let mut cabin = category(
        "cabin",
        "category",
        "one-hot, rare merged",
        687,
        &[("C", 59), ("B", 47), ("D", 33), ("E", 32), ("A", 15), ("F", 13), ("G", 4)],
    );
    cabin.alerts = vec![Alert::new(Level::Warning, "77 % missing", "687 of 891")];
    let mut fare = number("fare", "0 to 512, median 14.5", 248, 0, 0.0, 512.0, {
        let mut c: Vec<u64> =
            (0..24).map(|i| (520.0 * (-0.8 * f64::from(i)).exp()) as u64).collect();
        c[23] = 3;
        c
    });
    fare.alerts =
        vec![Alert::new(Level::Note, "skewed", "skewness 4.8; quantile scaling was tried")];
    Data {
        source: "titanic.csv · comma, header, UTF-8 · 12 columns".into(),
        rows_read: 893,
        rows_used: 891,
        dropped: vec![Tally::new("target missing", 2)],
        columns: vec![
            dropped("passenger_id", "identifier", 891, "dropped: an identifier"),
            Column {
                target: true,
                ..category("survived", "boolean", "two classes", 0, &[("0", 549), ("1", 342)])
            },
            category("pclass", "category", "one-hot", 0, &[("3", 491), ("1", 216), ("2", 184)]),
            dropped("name", "text", 891, "dropped: text"),
            category("sex", "category", "one-hot", 0, &[("male", 577), ("female", 314)]),
            number(
                "age",
                "0.42 to 80, median 28",
                88,
                177,
                0.42,
                80.0,
                bell(0.36, 0.17, 24, 714.0),
            ),
            number("sibsp", "0 to 8", 7, 0, 0.0, 8.0, vec![608, 209, 28, 16, 18, 5, 0, 7]),
            number("parch", "0 to 6", 7, 0, 0.0, 6.0, vec![678, 118, 80, 5, 4, 5, 1]),
            fare,
            cabin,
            category("embarked", "category", "one-hot", 2, &[("S", 644), ("C", 168), ("Q", 77)]),
        ],
        checks: vec![
            Alert::new(Level::Passed, "No duplicate rows", ""),
            Alert::new(
                Level::Passed,
                "No column leaks the target",
                "best single column: sex, AUC 0.77",
            ),
            Alert::new(Level::Warning, "cabin is mostly missing", "687 of 891 rows (77 %)"),
        ],
    }
}

pub(super) fn split() -> Split {
    let part = |name: &str, zero, one| SplitPart {
        name: name.into(),
        rows: zero + one,
        classes: vec![zero, one],
        ..SplitPart::default()
    };
    Split {
        method: "Stratified by survived, seed 0".into(),
        parts: vec![part("train", 386, 237), part("valid", 83, 51), part("test", 80, 54)],
        classes: vec!["0".into(), "1".into()],
        checks: vec![
            Alert::new(Level::Passed, "No row is in two parts", ""),
            Alert::new(
                Level::Note,
                "18 passengers of test share a ticket with one of train",
                "--set split.group=ticket keeps them together",
            ),
        ],
    }
}
