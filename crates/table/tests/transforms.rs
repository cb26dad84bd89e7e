//! What becomes of columns: kinds, gaps, categories, dates, weights; and that only training rows
//! decide it.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use ff_table::{
    Coding, Column, DataConfig, Encoder, Integers, Kind, Level, Missing, Parts, Prepared, Role,
    Scaling, SplitKind, Table, Target, Task, Transforms, Values, balanced_class_weights, prepare,
};
use ff_tensor::ThreadPool;

fn learn(text: &str, change: impl FnOnce(&mut DataConfig)) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let mut config =
        DataConfig { path: "t.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    change(&mut config);
    prepare(&config, 0, folder.path(), &ThreadPool::new(2)).unwrap()
}

/// A table of `n` rows; each column from the row's index, the target a class of two.
fn csv(n: usize, columns: &[(&str, &dyn Fn(usize) -> String)]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let mut text = format!("{},y\n", names.join(","));
    for i in 0..n {
        let cells: Vec<String> = columns.iter().map(|column| (column.1)(i)).collect();
        text += &format!("{},{}\n", cells.join(","), ["a", "b"][i * 7 % 5 % 2]);
    }
    text
}

/// All rows are training rows.
fn everything(config: &mut DataConfig) {
    (config.split.valid, config.split.test) = (0.0, 0.0);
}

fn column(data: &Prepared, feature: &str) -> Vec<f32> {
    let at = data.transforms.numeric_names().iter().position(|name| name == feature).unwrap();
    data.train.numeric.iter().skip(at).step_by(data.train.n_numeric).copied().collect()
}

#[test]
fn kinds_are_inferred_with_their_reasons() {
    let text = csv(
        100,
        &[
            ("PassengerId", &|i| (i * 37 % 1000).to_string()),
            ("pclass", &|i| (1 + i % 3).to_string()),
            ("children", &|i| (i % 4).to_string()),
            ("fare", &|i| format!("{}.25", i * 13 % 90)),
            ("member", &|i| ["No", "YES"][i % 2].into()),
            ("born", &|i| format!("19{:02}-03-{:02}", i % 90 + 10, i % 28 + 1)),
            ("port", &|i| ["Q", "S", "C"][i % 3].into()),
            ("ticket", &|i| format!("T{}", i * i)),
            ("zip", &|i| format!("0{}", 1000 + i % 9)),
            ("note", &|i| format!("this is the note of row {i}")),
            ("same", &|_| "x".into()),
            ("bit", &|i| (i % 2).to_string()),
            ("price", &|i| if i == 7 { "unknown".into() } else { format!("{i}.5") }),
            ("row", &|i| (i + 1).to_string()),
        ],
    );
    let data = learn(&text, |_| {});
    let kinds: Vec<(&str, Kind)> =
        data.schema.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
    let expected = [
        ("PassengerId", Kind::Identifier),
        ("pclass", Kind::Category),
        ("children", Kind::Number),
        ("fare", Kind::Number),
        ("member", Kind::Boolean),
        ("born", Kind::Date),
        ("port", Kind::Category),
        ("ticket", Kind::Identifier),
        ("zip", Kind::Category),
        ("note", Kind::Text),
        ("same", Kind::Constant),
        ("bit", Kind::Boolean),
        ("price", Kind::Number),
        ("row", Kind::Identifier),
        ("y", Kind::Category),
    ];
    assert_eq!(kinds, expected);
    let pclass = data.schema.column("pclass").unwrap();
    assert_eq!(pclass.undo.as_deref(), Some("data.columns.pclass=number"));
    assert!(pclass.reason.contains("3 distinct integers"));
    assert_eq!(data.schema.column("note").unwrap().role, Role::Feature);
    let odd = data.notes.iter().find(|n| n.column.as_deref() == Some("price")).unwrap();
    assert_eq!(odd.level, Level::Warn);
    assert!(odd.message.contains("`unknown`") && odd.message.contains("line 9"), "{odd}");
    let undone = learn(&text, |config| {
        config.columns.insert("pclass".into(), Kind::Number.into());
        config.columns.insert("note".into(), Kind::Drop.into());
        config.drop.push("fare".into());
    });
    assert_eq!(undone.schema.column("pclass").unwrap().kind, Kind::Number);
    assert!(!undone.transforms.numeric_names().contains(&"fare".to_owned()));
}

#[test]
fn gaps_are_filled_and_flagged() {
    let cell = |i: usize| if i.is_multiple_of(5) { "NA".into() } else { format!("{}.5", i % 5) };
    let text = csv(50, &[("x", &cell)]);
    let data = learn(&text, |c| {
        everything(c);
        c.scaling = Scaling::None;
    });
    assert_eq!(data.transforms.numeric_names(), ["x", "x_missing"]);
    // Present: 1.5, 2.5, 3.5, 4.5, ten times each; their median is 3.
    assert_eq!(column(&data, "x")[..5], [3.0, 1.5, 2.5, 3.5, 4.5]);
    assert_eq!(column(&data, "x_missing")[..5], [1.0, 0.0, 0.0, 0.0, 0.0]);
    let data = learn(&text, |c| {
        everything(c);
        c.scaling = Scaling::None;
        c.missing_flag = false;
        c.missing = Missing::Constant;
    });
    assert_eq!((data.train.n_numeric, column(&data, "x")[0]), (1, 0.0));
}

#[test]
fn infinite_values_count_as_missing() {
    let cell = |i: usize| if i == 3 { "inf".into() } else { format!("{i}.5") };
    let data = learn(&csv(50, &[("x", &cell)]), everything);
    assert!(data.train.numeric.iter().all(|x| x.is_finite()));
    assert_eq!(column(&data, "x_missing").iter().sum::<f32>(), 1.0);
    assert!(data.notes.iter().any(|note| note.message.contains("1 infinite")));
}

#[test]
fn huge_values_stay_finite() {
    let mut transforms = learn(&csv(50, &[("x", &|i| format!("{i}.5"))]), everything).transforms;
    let table = Table::new(vec![Column::new("x", vec![1e308, -1e308, f64::NAN].into())]).unwrap();
    let encoded = transforms.encode(&table, &ThreadPool::new(2)).unwrap();
    assert!(encoded.numeric.iter().all(|x| x.is_finite()));
    if let Encoder::Number(encoder) = &mut transforms.columns[0].encoder {
        encoder.clip = Some(10.0);
    }
    assert_eq!(transforms.encode(&table, &ThreadPool::new(2)).unwrap().numeric[..2], [10.0, -10.0]);
}

#[test]
fn categories_have_slots_for_rare_unseen_and_missing() {
    let cell = |i: usize| match i {
        0 => "once".into(),
        i if i % 10 == 1 => String::new(),
        i => ["red", "green"][i % 2].into(),
    };
    let text = csv(60, &[("c", &cell)]);
    let data = learn(&text, everything);
    let names = ["c=green", "c=red", "c=(other)", "c=(missing)"];
    assert_eq!(data.transforms.numeric_names(), names);
    let new = Table::new(vec![Column::new(
        "c",
        Values::from_iter([Some(" green "), Some("red"), Some("blue"), Some("once"), None]),
    )])
    .unwrap();
    let rows: Vec<Vec<f32>> = data
        .transforms
        .encode(&new, &ThreadPool::new(2))
        .unwrap()
        .numeric
        .chunks(4)
        .map(<[f32]>::to_vec)
        .collect();
    let slots: Vec<usize> =
        rows.iter().map(|row| row.iter().position(|&x| x == 1.0).unwrap()).collect();
    assert_eq!(slots, [0, 1, 2, 2, 3]);
    assert!(rows.iter().all(|row| row.iter().sum::<f32>() == 1.0));

    let embedded = learn(&text, |c| {
        everything(c);
        c.categories.one_hot_max = 1;
    });
    assert_eq!(embedded.transforms.cardinalities(), [4]);
    assert_eq!(embedded.transforms.categorical_names(), ["c"]);
    let ids = embedded.transforms.encode(&new, &ThreadPool::new(2)).unwrap().categorical;
    assert_eq!(ids, [1, 2, 0, 0, 3]);
    assert_eq!(embedded.transforms.feature_ranges()[0].categorical, 0..1);

    let sure = learn(&csv(60, &[("c", &|i| ["u", "v", "w"][i % 3].into())]), everything);
    let encoded = sure.transforms.encode(&new, &ThreadPool::new(2)).unwrap();
    let unseen = &encoded.numeric[3..6];
    assert!(unseen.iter().all(|&x| x == 1.0 / 3.0), "the mean of the training rows: {unseen:?}");
    // Models of before knew no shares and took zeros.
    let mut before = sure.transforms.clone();
    if let Encoder::Category(encoder) = &mut before.columns[0].encoder {
        encoder.shares.clear();
    }
    let encoded = before.encode(&new, &ThreadPool::new(2)).unwrap();
    assert!(encoded.numeric.iter().all(|&x| x == 0.0));
}

#[test]
fn categories_of_numbers_are_the_same_however_written() {
    let text = csv(60, &[("kind", &|i| (1 + i % 3).to_string())]);
    let data = learn(&text, everything);
    let encode = |values: Values| {
        let table = Table::new(vec![Column::new("kind", values)]).unwrap();
        data.transforms.encode(&table, &ThreadPool::new(2)).unwrap().numeric
    };
    let texts = encode(Values::from_iter([Some("1"), Some("2.0"), Some(" 3 ")]));
    assert_eq!(texts, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(encode(vec![1.0, 2.0, 3.0].into()), texts);
    assert_eq!(encode(Values::Integer(Integers::from_iter([Some(1), Some(2), Some(3)]))), texts);
}

#[test]
fn truth_values_are_the_same_however_written() {
    let data = learn(&csv(60, &[("m", &|i| ["no", "yes"][i % 2].into())]), everything);
    let encode = |values: Values| {
        data.transforms
            .encode(&Table::new(vec![Column::new("m", values)]).unwrap(), &ThreadPool::new(2))
            .unwrap()
            .numeric
    };
    assert_eq!(encode(Values::from_iter([Some("YES"), Some("no"), None])), [1.0, 0.0, 0.5]);
    assert_eq!(encode(Values::Bool(vec![Some(true), Some(false)])), [1.0, 0.0]);
    assert_eq!(encode(vec![1.0, 0.0].into()), [1.0, 0.0]);
}

#[test]
fn dates_become_parts_that_differ() {
    let data = learn(&csv(60, &[("d", &|i| format!("2024-01-{:02}", i % 28 + 1))]), everything);
    let names = ["d.day", "d.weekday", "d.days_since_epoch"];
    assert_eq!(data.transforms.numeric_names(), names);
    let table =
        Table::new(vec![Column::new("d", Values::Date(vec![1_704_067_200.0, f64::NAN]))]).unwrap();
    let encoded = data.transforms.encode(&table, &ThreadPool::new(2)).unwrap().numeric;
    assert_eq!(encoded[..3], data.train.numeric[..3], "2024-01-01 as a date and as a text");
    assert_eq!(encoded[3..], [0.0; 3]);
}

#[test]
fn only_training_rows_decide() {
    let outlier = |i: usize| if i == 30 { "1000000".into() } else { format!("{}.5", i % 9) };
    let data = learn(&csv(60, &[("x", &outlier)]), |_| {});
    let train: Vec<usize> = (0..60).filter(|&row| row != 30).collect();
    let parts = Parts { train, valid: Vec::new(), test: vec![30] };
    let encoded = data.encode_parts(parts, &ThreadPool::new(2)).unwrap();
    assert!(encoded.train.numeric.iter().all(|x| x.abs() < 3.0));
    // Far outside the training range: cut off at a thousand times its width.
    assert!((3e3..4e3).contains(&encoded.test.numeric[0]), "{:?}", encoded.test.numeric);
    assert_eq!(encoded.test.unfamiliar[0].outside, 1);
}

#[test]
fn transforms_survive_json() {
    let text = csv(
        80,
        &[
            ("x", &|i| if i.is_multiple_of(9) { String::new() } else { format!("0.{}", i * i) }),
            ("c", &|i| format!("k{}", i % 30)),
            ("d", &|i| format!("{}/3/20{:02}", i % 28 + 1, i % 30)),
            ("m", &|i| ["f", "t"][i % 2].into()),
        ],
    );
    for scaling in [Scaling::Standard, Scaling::QuantileNormal, Scaling::Robust, Scaling::None] {
        let data = learn(&text, |c| c.scaling = scaling);
        let back = Transforms::from_json(&data.transforms.to_json()).unwrap();
        assert_eq!(back, data.transforms);
        assert_eq!(
            back.encode_rows(&data.table, &data.parts.test, true, &ThreadPool::new(2)).unwrap(),
            data.test
        );
    }
    let data = learn(&text, |_| {});
    let Encoder::Category(c) = &data.transforms.columns[1].encoder else { panic!("a category") };
    assert_eq!((c.coding, data.train.n_categorical), (Coding::Embedding, 1));
    assert!(data.train.categorical.iter().all(|&id| (id as usize) < c.cardinality()));
}

#[test]
fn targets_are_inferred_and_overridden() {
    let target = |values: &dyn Fn(usize) -> String, change: fn(&mut DataConfig)| {
        let rows: String = (0..100).map(|i| format!("{}.5,{}\n", i * 7 % 31, values(i))).collect();
        learn(&format!("x,y\n{rows}"), change)
    };
    let few = |i: usize| (i % 5 + 10).to_string();
    let data = target(&few, |_| {});
    assert_eq!((data.target.task, data.target.ambiguous), (Task::Multiclass, true));
    assert_eq!(data.target.undo.as_deref(), Some("data.task=regression"));
    assert_eq!(data.target.classes, ["10", "11", "12", "13", "14"], "in the order of numbers");
    assert_eq!(target(&few, |c| c.task = Some(Task::Regression)).target.task, Task::Regression);
    assert_eq!(target(&|i| i.to_string(), |_| {}).target.task, Task::Regression);
    assert_eq!(target(&|i| format!("{}.5", i % 4), |_| {}).target.task, Task::Regression);
    let order = target(&|i| [2, 10][i % 2].to_string(), |_| {});
    assert_eq!((order.target.task, order.target.classes.join(" ")), (Task::Binary, "2 10".into()));
    let swapped = target(&|i| ["no", "yes"][i % 2].into(), |c| c.positive = Some("no".into()));
    assert_eq!(
        (swapped.target.classes.join(" "), swapped.target.positive),
        ("yes no".into(), Some(1))
    );
    let log = target(&|i| ((i * i) as f64 + 0.5).to_string(), |c| c.target_log = true);
    let Some(Target::Value(values)) = &log.train.target else { panic!("values") };
    let row = log.parts.train[0];
    let y = (row * row) as f64 + 0.5;
    assert!((log.transforms.target.inverse(values[0]) / y - 1.0).abs() < 1e-5);
}

#[test]
fn weights_and_uneven_classes() {
    let rows: String = (0..100)
        .map(|i| format!("{}.5,{}.5,{}\n", i * 7 % 31, i % 3, u8::from(i % 10 == 0)))
        .collect();
    let data = learn(&format!("x,w,y\n{rows}"), |c| c.weight = Some("w".into()));
    assert_eq!(data.schema.column("w").unwrap().role, Role::Weight);
    assert_eq!(data.transforms.numeric_names(), ["x"]);
    let weights = data.test.weights.as_ref().unwrap();
    assert_eq!(weights[0], (data.parts.test[0] % 3) as f32 + 0.5);
    assert!(data.notes.iter().any(|n| n.level == Level::Warn && n.message.contains("uneven")));
    let balanced = balanced_class_weights(&[0, 0, 0, 1, 1, 1, 1, 1, 1, 2], 4);
    assert_eq!(balanced, [10.0 / 9.0, 10.0 / 18.0, 10.0 / 3.0, 0.0]);
}

#[test]
fn leaks_and_repeats_are_pointed_at() {
    let text = csv(
        200,
        &[
            ("x", &|i| format!("{}.5", i * 31 % 97)),
            ("leak", &|i| format!("{}.{}", i * 7 % 5 % 2 * 10, i % 10)),
            ("tell", &|i| ["left", "right"][i * 7 % 5 % 2].into()),
        ],
    );
    let data = learn(&text, |_| {});
    let leaks: Vec<&str> = data
        .notes
        .iter()
        .filter(|note| note.message.contains("gives the target away"))
        .filter_map(|note| note.column.as_deref())
        .collect();
    assert_eq!(leaks, ["leak", "tell"]);
    let repeated = csv(100, &[("x", &|i| format!("{}.5", i % 40))]);
    let data = learn(&repeated, |_| {});
    assert!(
        data.notes
            .iter()
            .any(|n| n.level == Level::Warn && n.message.contains("test part have the same"))
    );
    let unique = learn(&repeated, |c| c.drop_duplicates = true);
    assert_eq!((unique.totals.read, unique.totals.used), (100, 40));
    assert!(unique.totals.add_up());
    let regression = (0..100).map(|i| format!("{}.5,{}.25\n", i * 3, i * 6)).collect::<String>();
    let data = learn(&format!("x,y\n{regression}"), |_| {});
    assert!(data.notes.iter().any(|n| n.message.contains("correlation")));
}

#[test]
fn splits_keep_groups_times_and_given_parts() {
    let text = csv(
        200,
        &[
            ("x", &|i| format!("{}.5", i * 31 % 97)),
            ("who", &|i| format!("p{}", i * 13 % 40)),
            ("when", &|i| format!("2024-{:02}-{:02}", i * 7 % 12 + 1, i % 28 + 1)),
            ("part", &|i| ["train", "train", "dev", "test"][i % 4].into()),
        ],
    );
    let split = |kind, column: &str| {
        let data = learn(&text, |c| {
            c.split.kind = kind;
            c.split.column = Some(column.into());
        });
        assert!(data.totals.add_up());
        assert_eq!(data.schema.column(column).unwrap().role, Role::Split);
        data
    };
    let label = |data: &Prepared, column: &str, rows: &[usize]| -> Vec<String> {
        let values = &data.table.column(column).unwrap().values;
        rows.iter().map(|&row| values.text(row).into_owned()).collect()
    };
    let data = split(SplitKind::Grouped, "who");
    let learned = label(&data, "who", &data.parts.train);
    for part in [&data.parts.valid, &data.parts.test] {
        assert_eq!(part.len(), 30, "40 groups of 5 rows");
        assert!(label(&data, "who", part).iter().all(|who| !learned.contains(who)));
    }
    let folds = data.folds(4, 1).unwrap();
    for fold in &folds {
        let learned = label(&data, "who", &fold.train);
        assert!(label(&data, "who", &fold.test).iter().all(|who| !learned.contains(who)));
    }
    let data = split(SplitKind::Time, "when");
    let last = label(&data, "when", &data.parts.train).into_iter().max().unwrap();
    assert!(label(&data, "when", &data.parts.test).iter().all(|when| *when > last));
    let data = split(SplitKind::Given, "part");
    assert_eq!((data.totals.train, data.totals.valid, data.totals.test), (100, 50, 50));
    assert!(label(&data, "part", &data.parts.test).iter().all(|part| part == "test"));
}

#[test]
fn parts_can_be_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("train.csv", csv(80, &[("x", &|i| format!("{i}.5")), ("z", &|i| (i % 7).to_string())]));
    // In the test file `z` holds a text, so it is one everywhere.
    write("test.csv", csv(20, &[("z", &|_| "none of them".into()), ("x", &|i| format!("{i}.5"))]));
    let mut config =
        DataConfig { path: "train.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    config.split.test_path = Some("test.csv".into());
    let data = prepare(&config, 0, folder.path(), &ThreadPool::new(2)).unwrap();
    assert_eq!(data.split, SplitKind::Given);
    assert_eq!(
        (data.totals.read, data.totals.train, data.totals.valid, data.totals.test),
        (100, 68, 12, 20)
    );
    assert_eq!(data.schema.column("z").unwrap().kind, Kind::Category);
    assert!(data.table.place(data.parts.test[0]).contains("test.csv`, line 2"));
}
