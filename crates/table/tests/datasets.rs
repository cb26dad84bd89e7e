//! The repository's own datasets, from the file to numbers.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use std::path::{Path, PathBuf};

use ff_table::{DataConfig, Kind, Level, Role, SplitKind, Target, Task, prepare};
use ff_tensor::ThreadPool;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn config(name: &str, target: &str) -> DataConfig {
    DataConfig {
        path: format!("datasets/{name}.csv").into(),
        target: Some(target.into()),
        ..DataConfig::default()
    }
}

#[test]
fn digits_are_numbers() {
    let data = prepare(&config("digits", "label"), 0, &root(), &ThreadPool::new(2)).unwrap();
    assert_eq!((data.target.task, data.target.classes.len()), (Task::Multiclass, 10));
    assert_eq!(data.target.classes[9], "9");
    assert!(data.target.ambiguous, "ten integers may be meant as numbers");
    assert_eq!(data.totals.read, 1797);
    assert_eq!((data.totals.train, data.totals.valid, data.totals.test), (1257, 270, 270));
    assert!(data.totals.add_up());
    // Three pixels are never inked; the others are numbers, even those of two or three distinct
    // values.
    let kinds = |kind| data.schema.columns.iter().filter(|c| c.kind == kind).count();
    assert_eq!((kinds(Kind::Constant), kinds(Kind::Number), kinds(Kind::Category)), (3, 61, 1));
    assert_eq!(data.train.n_numeric, 61);
    assert_eq!(data.train.n_categorical, 0);
    assert_eq!(data.train.numeric.len(), 1257 * 61);
    let Some(Target::Class(classes)) = &data.test.target else { panic!("classes") };
    for (class, &all) in (0..).zip(&data.target.counts) {
        let rows = classes.iter().filter(|&&c| c == class).count() as f64;
        assert!((rows - 0.15 * all as f64).abs() < 1.0, "class {class}: {rows} of {all}");
    }
}

#[test]
fn standardised_columns_have_mean_0_and_deviation_1() {
    let data =
        prepare(&config("breast_cancer", "diagnosis"), 3, &root(), &ThreadPool::new(2)).unwrap();
    assert_eq!(data.target.classes, ["benign", "malignant"]);
    assert_eq!((data.target.task, data.target.positive), (Task::Binary, Some(1)));
    for column in 0..data.train.n_numeric {
        let values = || data.train.numeric.iter().skip(column).step_by(30).map(|&x| f64::from(x));
        let n = data.train.rows as f64;
        let mean = values().sum::<f64>() / n;
        let std = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Rounding to f32 moves each of 399 values by at most 2^-24 of its size.
        assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{column}: {mean} {std}");
    }
}

#[test]
fn diabetes_is_a_regression() {
    let data =
        prepare(&config("diabetes", "progression"), 0, &root(), &ThreadPool::new(2)).unwrap();
    assert_eq!((data.target.task, data.split), (Task::Regression, SplitKind::Random));
    let Some(Target::Value(values)) = &data.test.target else { panic!("values") };
    let first = data.parts.test[0];
    let written: f64 =
        data.table.column("progression").unwrap().values.text(first).parse().unwrap();
    assert!((data.transforms.target.inverse(values[0]) - written).abs() < 1e-4);
}

#[test]
fn small_tables_are_read_as_they_are() {
    for (name, target, features, classes) in
        [("iris", "species", 4, 3), ("wine", "cultivar", 13, 3)]
    {
        let data = prepare(&config(name, target), 1, &root(), &ThreadPool::new(2)).unwrap();
        assert_eq!(
            (data.train.n_numeric, data.target.classes.len()),
            (features, classes),
            "{name}"
        );
        assert!(data.schema.features().all(|c| c.kind == Kind::Number && c.role == Role::Feature));
        assert!(data.notes.iter().any(|note| note.level == Level::Pass));
    }
    let iris = prepare(&config("iris", "species"), 1, &root(), &ThreadPool::new(2)).unwrap();
    let repeated = iris.notes.iter().find(|note| note.message.contains("repeat an earlier row"));
    assert!(repeated.is_some(), "iris is known to hold one row twice");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let of =
        |seed| prepare(&config("wine", "cultivar"), seed, &root(), &ThreadPool::new(2)).unwrap();
    let (a, b, c) = (of(5), of(5), of(6));
    assert_eq!((&a.parts, &a.train, &a.transforms), (&b.parts, &b.train, &b.transforms));
    assert_eq!(a.hash, c.hash);
    assert_ne!(a.parts, c.parts);
}

#[test]
fn folds_cover_every_row_once() {
    let data = prepare(&config("wine", "cultivar"), 0, &root(), &ThreadPool::new(2)).unwrap();
    let folds = data.folds(5, 0).unwrap();
    let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
    tested.sort_unstable();
    assert_eq!(tested, (0..178).collect::<Vec<_>>());
    let parts = data.encode_fold(&folds[0], 0.2, 0, &ThreadPool::new(2)).unwrap();
    assert_eq!(parts.train.rows + parts.valid.rows + parts.test.rows, 178);
    assert_eq!(parts.parts.test, folds[0].test);
    assert_ne!(parts.transforms, data.transforms, "fitted on the fold's own training rows");
}
