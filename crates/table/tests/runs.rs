//! Tables in a run: folds like the split, an index that is no feature, truth values, and cells that
//! training met nothing like.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect)]

use ff_table::{
    Column, DataConfig, DataError, Encoder, Kind, Level, Prepared, SplitKind, Table, Values,
    forward_folds, prepare,
};
use ff_tensor::ThreadPool;

fn attempt(text: &str, change: impl FnOnce(&mut DataConfig)) -> Result<Prepared, DataError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let mut config =
        DataConfig { path: "t.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    change(&mut config);
    prepare(&config, 0, folder.path(), &ThreadPool::new(2))
}

fn learn(text: &str, change: impl FnOnce(&mut DataConfig)) -> Prepared {
    attempt(text, change).unwrap()
}

fn csv(head: &str, rows: usize, row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..rows).map(|i| row(i) + "\n").collect();
    format!("{head}\n{rows}")
}

fn split_by(kind: SplitKind, column: &str) -> impl FnOnce(&mut DataConfig) {
    let column = column.to_owned();
    move |config| (config.split.kind, config.split.column) = (kind, Some(column))
}

#[test]
fn folds_in_time_never_look_ahead() {
    // Days in no order, four rows each.
    let day = |i: usize| (i * 37 % 100) / 4;
    let text = csv("day,x,y", 100, |i| format!("2024-03-{:02},{i}.5,{i}", day(i) + 1));
    let data = learn(&text, split_by(SplitKind::Time, "day"));
    let folds = data.folds(5, 7).unwrap();
    let days = |rows: &[usize]| rows.iter().map(|&row| day(row)).collect::<Vec<_>>();
    for fold in &folds {
        let (learned, judged) = (days(&fold.train), days(&fold.test));
        assert!(learned.iter().max() < judged.iter().min(), "{learned:?} {judged:?}");
        // The rows to stop by come after those that are learned, too.
        let parts = data.encode_fold(fold, 0.2, 7, &ThreadPool::new(1)).unwrap().parts;
        assert!(!parts.valid.is_empty());
        assert!(days(&parts.train).iter().max() < days(&parts.valid).iter().min());
        assert_eq!(parts.train.len() + parts.valid.len(), fold.train.len());
    }
    assert!(folds.windows(2).all(|pair| pair[0].train.len() < pair[1].train.len()));
    let error = learn(&text, split_by(SplitKind::Time, "day")).folds(25, 0).unwrap_err();
    assert!(error.to_string().contains("24 different times"), "{error}");
}

#[test]
fn folds_are_cut_between_moments() {
    let folds = forward_folds(&[1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0], 2).unwrap();
    let sizes: Vec<_> = folds.iter().map(|fold| (fold.train.len(), fold.test.len())).collect();
    assert_eq!(sizes, [(5, 1), (6, 2)]);
    assert!(forward_folds(&[1.0, 1.0, 2.0], 2).is_err());
}

#[test]
fn given_test_rows_stay_out_of_folds() {
    let part = |i: usize| ["train", "valid", "test"][i % 3];
    let text = csv("part,x,y", 90, |i| format!("{},{i}.5,{}", part(i), i / 2 % 2));
    let data = learn(&text, split_by(SplitKind::Given, "part"));
    let folds = data.folds(4, 0).unwrap();
    let mut held: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
    held.sort_unstable();
    assert_eq!(held, (0..90).filter(|i| i % 3 != 2).collect::<Vec<_>>());
    assert!(folds.iter().all(|fold| fold.train.iter().all(|row| row % 3 != 2)));
    assert!(data.division(4).contains("without the 30 rows"));
}

#[test]
fn the_index_of_a_data_frame_is_no_feature() {
    // Row numbers of a frame that was sorted by class, then shuffled.
    let index = |i: usize| i * 37 % 101;
    let class = |i: usize| usize::from(index(i) > 50);
    let noise = |i: usize| (i * i * 31 % 97) as f64 / 10.0;
    for name in ["", "Unnamed: 0", "__index_level_0__"] {
        let head = format!("{name},x,y");
        let text = csv(&head, 100, |i| format!("{},{},{}", index(i), noise(i), class(i)));
        let data = learn(&text, |_| {});
        let column = &data.schema.columns[0];
        assert_eq!(column.kind, Kind::Identifier, "{name}");
        assert_eq!(data.transforms.numeric_names(), ["x"]);
        let undo = column.undo.clone().unwrap();
        assert!(data.notes.iter().any(|note| note.undo.as_deref() == Some(&undo)), "{undo}");
        // The option that undoes it.
        let undone = learn(&text, |config| {
            config.columns.insert(column.name.clone(), Kind::Number.into());
        });
        assert_eq!(undone.transforms.numeric_names().len(), 2);
    }
    // A measurement without a name, and the first column of a file without a header, are features.
    let text = csv(",x,y", 100, |i| format!("{},{},{}", i % 9, noise(i), class(i)));
    assert_eq!(learn(&text, |_| {}).schema.columns[0].kind, Kind::Number);
    let text = csv("3,0.5,0", 100, |i| format!("{},{},{}", index(i), noise(i), class(i)));
    let data = learn(&text, |config| {
        (config.header, config.target) = (Some(false), Some("column_3".into()));
    });
    assert_eq!(data.schema.columns[0].kind, Kind::Number);
}

#[test]
fn a_column_that_counts_rows_of_a_sorted_file_is_warned_of() {
    let warned = |class: &dyn Fn(usize) -> usize, kind: SplitKind| {
        let text =
            csv("stamp,x,y", 200, |i| format!("{},{},{}", 1000 + 3 * i, i * 37 % 101, class(i)));
        let data = learn(&text, |config| {
            config.split.kind = kind;
            config.split.column = (kind == SplitKind::Time).then(|| "stamp".into());
            config.columns.insert("stamp".into(), Kind::Number.into());
        });
        let note = data.notes.into_iter().find(|note| note.message.contains("from row to row"));
        note.map(|note| {
            assert_eq!((note.level, note.column.as_deref()), (Level::Warn, Some("stamp")));
            note.undo.unwrap()
        })
    };
    let sorted = |i: usize| usize::from(i * 37 % 23 + i / 4 > 35);
    assert_eq!(warned(&sorted, SplitKind::Auto).as_deref(), Some("data.columns.stamp=drop"));
    assert_eq!(warned(&|i| i * 7 % 5 % 2, SplitKind::Auto), None, "the target knows no order");
    assert_eq!(warned(&sorted, SplitKind::Time), None, "parts that follow in time show it");
}

#[test]
fn truth_values_are_two_classes() {
    let labels = ["True", "TRUE", "false", "True", "1", "0"];
    let text = csv("x,y", 60, |i| format!("{i}.5,{}", labels[i * 7 % 6]));
    let target = learn(&text, |_| {}).target;
    assert_eq!((target.classes, target.positive), (vec!["false".into(), "True".into()], Some(1)));
    let text = csv("x,y", 60, |i| format!("{i}.5,{}", ["YES", "No", "yes", "no"][i * 7 % 4]));
    let data = learn(&text, |config| config.positive = Some("no".into()));
    assert_eq!(data.target.classes, ["YES", "No"]);
    // Where a third class stands beside them, nothing is a truth value.
    let text = csv("x,y", 60, |i| format!("{i}.5,{}", ["Yes", "yes", "maybe"][i * 7 % 3]));
    assert_eq!(learn(&text, |_| {}).target.classes, ["Yes", "maybe", "yes"]);
}

#[test]
fn features_of_truth_values_mix_words_and_digits() {
    let text = csv("ok,x,y", 60, |i| {
        format!("{},{i}.5,{}", ["True", "0", "FALSE", "1"][i % 4], i * 7 % 5 % 2)
    });
    let data = learn(&text, |_| {});
    assert_eq!(data.schema.column("ok").unwrap().kind, Kind::Boolean);
    let ok: Vec<f32> = data.train.numeric.iter().step_by(2).copied().collect();
    let wanted: Vec<f32> = data.parts.train.iter().map(|i| [1.0, 0.0, 0.0, 1.0][i % 4]).collect();
    assert_eq!(ok, wanted);
}

#[test]
fn cells_unlike_those_of_training_are_counted() {
    let text = csv("c,d,x,y", 60, |i| {
        format!("{},2024-01-{:02},{}.5,{}", ["a", "b", "c"][i % 3], i % 28 + 1, i % 10, i % 2)
    });
    let transforms = learn(&text, |_| {}).transforms;
    let texts = |texts: [Option<&str>; 4]| texts.into_iter().collect::<Values>();
    let table = Table::new(vec![
        Column::new("c", texts([Some("a"), Some("z"), None, Some("z")])),
        Column::new("d", texts([Some("2024-01-05"), Some("2025-01-01"), None, Some("2024-01-06")])),
        Column::new("x", vec![1.5, -7.0, f64::NAN, 1e9].into()),
    ]);
    let encoded = transforms.encode(&table.unwrap(), &ThreadPool::new(2)).unwrap();
    let said: Vec<_> =
        encoded.unfamiliar.iter().map(|c| format!("{}: {}", c.column, c.describe())).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("c: 2 values that training did not meet, such as `z`; 1 value missing")
    );
    assert!(said[1].starts_with("d: 1 value outside the training range"), "{}", said[1]);
    assert!(said[1].contains("such as `2025-01-01`"), "{}", said[1]);
    assert!(said[2].starts_with("x: 2 values outside the training range (0.5 to 9.5)"));
    // An unseen value is the mean of the training rows, as each slot's share is.
    let Encoder::Category(c) = &transforms.columns[0].encoder else { panic!("a category") };
    assert_eq!(encoded.numeric[encoded.n_numeric..][..3], c.shares);
    assert!((c.shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    // A value far away is cut off at a thousand widths, so that no layer overflows.
    assert!(encoded.numeric.iter().all(|x| x.abs() < 1e4), "{:?}", encoded.numeric);
}

#[test]
fn limits_of_floats_stand_for_no_value() {
    let text = csv("x,y", 100, |i| {
        let none = ["-3.4028235e38", "9.96921e36"][i / 10 % 2];
        let x = if i % 10 == 0 { none.into() } else { format!("{}.5", i % 7) };
        format!("{x},{}", i * 7 % 5 % 2)
    });
    let data = learn(&text, |_| {});
    let stats = &data.schema.column("x").unwrap().stats.number;
    assert_eq!(stats.as_ref().map(|s| (s.min, s.max, s.infinite)), Some((0.5, 6.5, 10)));
    assert_eq!(data.transforms.numeric_names(), ["x", "x_missing"]);
    assert!(data.train.numeric.iter().all(|x| x.abs() < 3.0));
}

#[test]
fn what_missing_targets_were_written_as_is_said() {
    let text = csv("x,y", 90, |i| format!("{i}.5,{}", ["None", "a", "b"][i * 7 % 3]));
    let error = attempt(&text, |_| {}).unwrap_err();
    assert!(error.to_string().contains("30 cells read `None`"), "{error}");
    assert!(
        error.hint().contains("data.columns.y.null_values=[") && error.hint().contains("a class")
    );
    let empty = csv("x,y", 90, |i| format!("{i}.5,{}", ["", "a", "b"][i * 7 % 3]));
    let error = attempt(&empty, |_| {}).unwrap_err();
    assert!(!error.hint().contains("a class"), "{}", error.hint());
}
