//! Probabilities and intervals that keep what they promise.

use std::fmt::Write;

use crate::Folder;

/// Rows whose class follows from x in three of five, of so many classes.
fn noisy(rows: usize, classes: usize) -> String {
    let mut state = 11_u64;
    let mut next = |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut text = String::from("x,z,w,v,answer\n");
    for _ in 0..rows {
        let (x, z, w, v) = (next(1000), next(1000), next(1000), next(1000));
        let class = if next(5) < 2 { next(classes as u64) } else { x * classes as u64 / 1000 };
        writeln!(text, "{x}.5,{z},{w},{v},c{class}").unwrap();
    }
    text
}

/// Rows whose number follows from x, with noise that grows with z.
fn numbers(rows: usize, from: u64) -> String {
    let mut state = from;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let mut text = String::from("x,z,y\n");
    for _ in 0..rows {
        let (x, z) = (next(), next());
        let noise = (0..6).map(|_| next()).sum::<f64>() - 3.0;
        writeln!(text, "{x:.6},{z:.6},{:.6}", 10.0 * x * x + (0.2 + 2.0 * z) * noise).unwrap();
    }
    text
}

/// The values of a column of a CSV.
fn column(text: &str, name: &str) -> Vec<f64> {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|head| *head == name).unwrap();
    lines.map(|cells| cells[at].parse().unwrap()).collect()
}

/// An overfitted network, whose probabilities are too sure.
const SURE: [&str; 10] = [
    "--set",
    "model.hidden=[64,64]",
    "--set",
    "train.epochs=60",
    "--set",
    "train.patience=0",
    "--set",
    "train.restore_best=false",
    "--set",
    "optimizer.lr=0.01",
];

#[test]
fn a_temperature_makes_sure_networks_less_sure_and_changes_no_class() {
    for (classes, members) in [(2, ""), (3, ""), (2, "model.members=3"), (3, "model.members=3")] {
        let folder = Folder::new(&format!("temperature-{classes}{}", members.len()));
        folder.plain("data.csv");
        folder.write("data.csv", &noisy(400, classes));
        let train = |out: &str, more: &[&str]| {
            let base = ["train", "plain.toml", "--target", "answer", "--json"];
            let members: &[&str] = if members.is_empty() { &[] } else { &["--set", members] };
            let rest = ["--out", out, "--threads", "1"];
            folder.run(&[&base[..], &SURE, members, &rest, more].concat()).ok().json()
        };
        let before = train("before", &[]);
        let after = train("after", &["--set", "train.temperature=true"]);
        let score = |json: &serde_json::Value, name: &str| json["metrics"]["test"][name].as_f64();
        assert_eq!(score(&before, "accuracy"), score(&after, "accuracy"));
        let losses = (score(&before, "log_loss").unwrap(), score(&after, "log_loss").unwrap());
        assert!(losses.1 < 0.9 * losses.0, "{losses:?}");
        let file: serde_json::Value =
            serde_json::from_str(&folder.read("after/model/config.json")).unwrap();
        let t = file["temperature"]["value"].as_f64().unwrap();
        assert!(t > 1.2 && file["format"] == 2, "{file}");
        let old = folder.read("before/model/config.json");
        assert!(!old.contains("temperature") && old.contains("\"format\": 1"), "{old}");
        let weights = |run: &str| {
            std::fs::read(folder.path().join(run).join("model/model.safetensors")).unwrap()
        };
        assert_eq!(weights("before"), weights("after"));

        // The same formula on what the run without a temperature predicts: p^(1/T), to a sum of 1.
        let predict = |model: &str| {
            folder.run(&["predict", model, "--data", "data.csv", "--proba"]).ok().stdout
        };
        let (raw, tempered) = (predict("before"), predict("after"));
        let of = |text: &str| -> Vec<Vec<f64>> {
            (0..classes).map(|c| column(text, &format!("probability_c{c}"))).collect()
        };
        let (raw, tempered) = (of(&raw), of(&tempered));
        for row in 0..400 {
            let powers: Vec<f64> = raw.iter().map(|p| p[row].powf(1.0 / t)).collect();
            let sum: f64 = powers.iter().sum();
            for (power, p) in powers.iter().zip(&tempered) {
                assert!(
                    (power / sum - p[row]).abs() < 1e-6,
                    "row {row}: {} {}",
                    power / sum,
                    p[row]
                );
            }
        }
        let evaluated = folder.run(&["evaluate", "after", "--json"]).ok().json();
        assert_eq!(evaluated["log_loss"].as_f64(), score(&after, "log_loss"));
        assert!(folder.read("after/report.html").contains("a temperature of"));

        #[cfg(feature = "onnx")]
        {
            // The export compares its graph with the model itself, and fails where they differ.
            folder.run(&["export", "after", "--to", "onnx"]).ok();
            let onnx = predict("after.onnx");
            for (c, own) in tempered.iter().enumerate() {
                let theirs = column(&onnx, &format!("probability_c{c}"));
                assert!(own.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5));
            }
        }
    }
}

#[test]
fn intervals_hold_as_many_numbers_as_asked_for() {
    for members in [None, Some("model.members=4")] {
        let folder = Folder::new(&format!("intervals-{}", members.is_some()));
        folder.plain("data.csv");
        folder.write("data.csv", &numbers(900, 1));
        folder.write("new.csv", &numbers(1500, 2));
        let mut train = vec!["train", "plain.toml", "--target", "y"];
        train.extend(["--out", "run", "--json", "--threads", "1", "--set", "train.epochs=30"]);
        train.extend(["--set", "data.split.valid=0.3", "--set", "train.refit=true"]);
        train.extend(members.iter().flat_map(|set| ["--set", set]));
        let json = folder.run(&train).ok().json();
        let levels: Vec<f64> = json["coverage"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                let within = |end: &str| c["interval"][end].as_f64().unwrap();
                let level = c["level"].as_f64().unwrap();
                assert!(within("low") - 0.05 < level && level < within("high") + 0.05, "{c}");
                c["size"].as_f64().unwrap()
            })
            .collect();
        assert!(levels.len() == 3 && levels.is_sorted(), "{json}");
        let ran = folder.run(&["predict", "run", "--data", "new.csv", "--interval", "0.9"]).ok();
        assert!(ran.stdout.starts_with("x,z,y,prediction,lower,upper\n"), "{}", ran.stdout);
        let of = |name: &str| column(&ran.stdout, name);
        let (y, low, high) = (of("y"), of("lower"), of("upper"));
        let held = (0..y.len()).filter(|&i| (low[i]..=high[i]).contains(&y[i])).count();
        // 1,500 rows have a deviation of .8 %, and 270 scores one of 1.8 %.
        let share = held as f64 / y.len() as f64;
        assert!((share - 0.9).abs() < 0.06, "{share}");
        let widths: Vec<f64> = low.iter().zip(&high).map(|(l, h)| h - l).collect();
        let (least, most) =
            widths.iter().fold((f64::MAX, 0.0_f64), |(l, m), &w| (l.min(w), m.max(w)));
        // Members disagree more about some rows than about others.
        assert_eq!(most > 1.1 * least, members.is_some(), "{least} {most}");
        let page = folder.read("run/report.html");
        assert!(page.contains("id=\"coverage\"") && page.contains("mean width"));
        assert!(folder.read("run/scores.json").contains("\"coverage\""));
    }
}

#[test]
fn sets_hold_the_class_as_often_as_asked_for() {
    let folder = Folder::new("sets");
    folder.plain("data.csv");
    folder.write("data.csv", &noisy(900, 3).replace(",c0\n", ",c|0\n"));
    let mut train = vec!["train", "plain.toml", "--target", "answer"];
    train.extend(["--out", "run", "--json", "--threads", "1", "--set", "train.epochs=20"]);
    train.extend(["--set", "data.split.valid=0.3"]);
    let json = folder.run(&train).ok().json();
    assert_eq!(json["coverage"].as_array().unwrap().len(), 3, "{json}");
    let ran = folder.run(&["predict", "run", "--data", "data.csv", "--interval", "0.8"]).ok();
    let mut lines = ran.stdout.lines();
    assert!(lines.next().unwrap().ends_with(",answer,prediction,set"), "{}", ran.stdout);
    let (mut held, mut sizes) = (0, [0; 4]);
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        // A class has a `|` in its name, so that something else stands between classes.
        let set: Vec<&str> = cells[6].split(';').collect();
        assert_eq!(set[0], cells[5], "the likeliest first");
        held += usize::from(set.contains(&cells[4]));
        sizes[set.len()] += 1;
    }
    assert!((0.75..0.88).contains(&(held as f64 / 900.0)) && sizes[2] > 0, "{held} {sizes:?}");
    for (level, words) in
        [("1.5", "less than 1"), ("0", "greater than 0"), ("0.999", "needs 999 rows")]
    {
        folder
            .run(&["predict", "run", "--data", "data.csv", "--interval", level])
            .fails(2, &[words]);
    }
    std::fs::remove_file(folder.path().join("run/model/calibration.json")).unwrap();
    folder
        .run(&["predict", "run", "--data", "data.csv", "--interval", "0.9"])
        .fails(2, &["no scores of rows that it did not learn"]);
    folder.write("run/model/calibration.json", "{\"scores\":[0.5,0.25]}");
    folder
        .run(&["predict", "run", "--data", "data.csv"])
        .fails(1, &["calibration.json", "ascending"]);
}

/// The settings of a run of three networks.
fn bagged<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut train = vec!["train", "plain.toml", "--out", out, "--threads", "1"];
    train.extend(["--set", "train.bags=3", "--set", "train.epochs=12", "--target"]);
    train.extend(more);
    train
}

#[test]
fn bags_average_networks_that_each_leave_a_fold_out() {
    let folder = Folder::new("bags");
    folder.plain("data.csv");
    folder.write("data.csv", &noisy(300, 3));
    let sets = ["answer", "--json", "--set", "train.temperature=true"];
    let ran = folder.run(&bagged("run", &sets)).ok();
    let json = ran.json();
    assert_eq!((json["networks"].as_u64(), json["refit_rows"].as_u64()), (Some(3), None));
    for i in 1..=3 {
        assert!(ran.stderr.contains(&format!("training network {i} of 3")), "{}", ran.stderr);
    }
    // The out-of-fold part has every row outside the test part.
    let scores: serde_json::Value = serde_json::from_str(&folder.read("run/scores.json")).unwrap();
    assert_eq!(
        (scores["valid"]["rows"].as_u64(), scores["test"]["rows"].as_u64()),
        (Some(255), Some(45))
    );
    let kept: serde_json::Value =
        serde_json::from_str(&folder.read("run/model/calibration.json")).unwrap();
    assert_eq!(kept["scores"].as_array().unwrap().len(), 255);
    let evaluated = folder.run(&["evaluate", "run", "--json"]).ok().json();
    assert_eq!(evaluated["log_loss"], json["metrics"]["test"]["log_loss"]);

    // A prediction is the mean of those of the three folders, each a model of its own.
    let predict =
        |model: &str| folder.run(&["predict", model, "--data", "data.csv", "--proba"]).ok().stdout;
    let all = column(&predict("run"), "probability_c1");
    std::fs::create_dir(folder.path().join("one")).unwrap();
    for file in ["config.json", "model.safetensors", "transforms.json"] {
        let text = std::fs::read(folder.path().join("run/model").join(file)).unwrap();
        std::fs::write(folder.path().join("one").join(file), text).unwrap();
    }
    let first = folder.read("one/config.json");
    assert!(first.contains("\"networks\": 3") && first.contains("\"format\": 2"), "{first}");
    folder.write("one/config.json", &first.replace("\"networks\": 3,", ""));
    let each = ["one", "run/model/network-2", "run/model/network-3"]
        .map(|model| column(&predict(model), "probability_c1"));
    assert_ne!(each[0], each[1]);
    for (row, p) in all.iter().enumerate() {
        let mean = each.iter().map(|p| p[row]).sum::<f64>() / 3.0;
        assert!((mean - p).abs() < 1e-12, "row {row}: {mean} {p}");
    }
    let inspected = folder.run(&["inspect", "run"]).ok().stdout;
    assert!(inspected.contains("the first of 3 networks"), "{inspected}");
    let spread = folder.run(&["predict", "run", "--data", "data.csv", "--spread"]).ok().stdout;
    assert!(column(&spread, "spread").iter().any(|&s| s > 1e-4));

    let plan = |sets: &[&str]| {
        let base = ["plan", "plain.toml", "--target", "answer", "--json"];
        folder.run(&[&base[..], sets].concat()).ok().json()
    };
    let (one, three) = (plan(&[]), plan(&["--set", "train.bags=3"]));
    assert_eq!(three["steps_after"].as_u64(), three["total_steps"].as_u64().map(|steps| 2 * steps));
    assert_eq!(one["steps_after"], 0);
    assert!(three["process_bytes"].as_u64() > one["process_bytes"].as_u64());
    std::fs::remove_dir_all(folder.path().join("run/model/network-3")).unwrap();
    folder.run(&["predict", "run", "--data", "data.csv"]).fails(1, &["network-3"]);
    #[cfg(feature = "onnx")]
    {
        folder.run(&bagged("again", &["answer"])).ok();
        // The export compares its graph with the model itself, and fails where they differ.
        folder.run(&["export", "again", "--to", "onnx"]).ok();
        let (own, onnx) = (predict("again"), predict("again.onnx"));
        let of = |text: &str| column(text, "probability_c1");
        assert!(of(&own).iter().zip(of(&onnx)).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn bags_of_numbers_keep_groups_whole_and_give_intervals() {
    let folder = Folder::new("bags-numbers");
    folder.plain("data.csv");
    let text = numbers(400, 5);
    let mut rows = text.lines();
    let mut grouped = rows.next().unwrap().to_owned() + ",shop\n";
    for (i, row) in rows.enumerate() {
        writeln!(grouped, "{row},s{}", i % 37).unwrap();
    }
    folder.write("data.csv", &grouped);
    let grouped = ["--set", "data.split.kind=grouped", "--set", "data.split.column=shop"];
    let members = ["y", "--json", "--set", "model.members=3"];
    let json = folder.run(&bagged("run", &[&members[..], &grouped].concat())).ok().json();
    assert_eq!(json["coverage"].as_array().unwrap().len(), 3, "{json}");
    let ran = folder
        .run(&["predict", "run", "--data", "data.csv", "--interval", "0.8", "--spread"])
        .ok()
        .stdout;
    assert!(ran.starts_with("x,z,y,shop,prediction,spread,lower,upper\n"), "{ran}");
    let of = |name: &str| column(&ran, name);
    let (p, low, high) = (of("prediction"), of("lower"), of("upper"));
    assert!((0..400).all(|i| low[i] < p[i] && p[i] < high[i]));
    // Every second network takes its numbers another way, if it is asked to.
    let kinds = ["model.numeric=piecewise", "model.numeric_bags=periodic", "model.members="];
    let kinds = kinds.map(|set| ["--set", set]).concat();
    folder.run(&bagged("kinds", &[&["y"], &kinds[..]].concat())).ok();
    let kind = |network: &str| {
        let file = folder.path().join("kinds/model").join(network).join("config.json");
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        config["network"]["network"]["numeric"].as_str().unwrap().to_owned()
    };
    assert_eq!(["", "network-2", "network-3"].map(kind), ["piecewise", "periodic", "piecewise"]);
    folder.run(&["predict", "kinds", "--data", "data.csv"]).ok();
    folder.run(&["export", "kinds", "--to", "onnx", "--out", "kinds.onnx"]).ok();
}

#[test]
fn a_bagged_run_that_is_killed_ends_with_the_same_bits() {
    let folder = Folder::new("bags-killed");
    folder.plain("data.csv");
    folder.write("data.csv", &noisy(600, 2));
    let sets = ["answer", "--set", "train.patience=0", "--set", "train.epochs=60"];
    folder.run(&bagged("whole", &sets)).ok();
    let bits = |run: &str| {
        let model = folder.path().join(run).join("model");
        ["", "network-2", "network-3"].map(|network| {
            let folder = model.join(network);
            ["model.safetensors", "transforms.json", "config.json"]
                .map(|file| std::fs::read(folder.join(file)).unwrap())
        })
    };
    let whole = bits("whole");
    let mut killed = 0;
    for network in [2, 3] {
        let out = format!("killed-{network}");
        let mut arguments = bagged(&out, &sets);
        arguments.extend(["--set", "train.checkpoint_seconds=0"]);
        let mut child = crate::killed::start(&folder, &arguments);
        let run = folder.path().join(&out);
        let state = run.join(format!("checkpoints/network-{network}/last.safetensors"));
        killed += i32::from(crate::killed::kill_when(&mut child, || state.exists()));
        folder.run(&["train", "--resume", &out, "--threads", "2"]).ok();
        assert!(bits(&out) == whole, "killed while network {network} was trained");
    }
    assert!(killed > 0, "the runs ended before they could be killed");
}

#[test]
fn bags_that_cannot_be_are_refused() {
    let folder = Folder::new("bags-refused");
    folder.plain("data.csv");
    folder.write("data.csv", &noisy(60, 2));
    let train = |sets: &[&str]| {
        let mut all = vec!["train", "data.csv", "--target", "answer", "--out", "run"];
        all.extend(sets.iter().flat_map(|set| ["--set", set]));
        folder.run(&all)
    };
    train(&["train.bags=1"]).fails(2, &["train.bags", "at least 2"]);
    train(&["train.bags=100"]).fails(1, &["train.bags = 100", "to learn from"]);
    train(&["train.bags=3", "data.split.kind=time", "data.split.column=x"])
        .fails(1, &["train.bags divides rows into folds"]);
    folder.plain("data.csv");
    let folds =
        ["train", "plain.toml", "--target", "answer", "--folds", "3", "--set", "train.bags=3"];
    folder.run(&folds).fails(2, &["one network a fold", "train.bags"]);
    assert!(!folder.path().join("run").exists());
    let rare = noisy(60, 2) + "5.5,5,5,5,rare\n6.5,6,5,5,rare\n7.5,7,5,5,rare\n";
    folder.write("data.csv", &rare);
    let ran = train(&["train.bags=4", "train.epochs=2"]).ok();
    assert!(ran.stdout.contains("class `rare` has"), "{}", ran.stdout);
}

#[test]
fn one_of_several_classes_has_a_threshold() {
    let folder = Folder::new("one-threshold");
    folder.plain("data.csv");
    folder.write("data.csv", &noisy(900, 4));
    let train = |out: &str, more: &[&str]| {
        let base = ["train", "plain.toml", "--target", "answer", "--json", "--threads", "1"];
        let sets = ["--set", "train.epochs=6", "--out", out];
        folder.run(&[&base[..], &sets, more].concat())
    };
    let aim = "evaluate.threshold={ recall_at_false_positive_rate = 0.05 }";
    let refused = train("none", &["--set", aim]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("data.positive"), "{}", refused.stderr);

    train("run", &["--set", aim, "--set", "data.positive=c2"]).ok();
    let scores: serde_json::Value = serde_json::from_str(&folder.read("run/scores.json")).unwrap();
    let chosen = &scores["threshold"];
    assert!(chosen["false_positive_rate"].as_f64().unwrap() <= 0.05, "{chosen}");
    // The reports judge what is decided with it.
    assert_eq!(scores["valid"]["per_class"][2]["recall"], chosen["recall"]);
    let report = folder.read("run/report.html");
    assert!(report.contains("best recall at a false positive rate ≤ 0.05"), "no decision in it");

    // Predictions follow it, here and as an ONNX graph.
    let threshold = chosen["threshold"].as_f64().unwrap();
    folder.run(&["predict", "run", "--data", "data.csv", "--proba", "--out", "a.csv"]).ok();
    folder.run(&["export", "run", "--to", "onnx"]).ok();
    folder.run(&["predict", "run.onnx", "--data", "data.csv", "--out", "b.csv"]).ok();
    let words = |name: &str| -> Vec<String> {
        let text = folder.read(name);
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let at = lines.next().unwrap().iter().position(|head| *head == "prediction").unwrap();
        lines.map(|cells| cells[at].to_owned()).collect()
    };
    let (predicted, text) = (words("a.csv"), folder.read("a.csv"));
    assert_eq!(predicted, words("b.csv"));
    let p: Vec<Vec<f64>> =
        (0..4).map(|class| column(&text, &format!("probability_c{class}"))).collect();
    let mut apart = 0;
    for (row, class) in predicted.iter().enumerate() {
        assert_eq!(class == "c2", p[2][row] >= threshold, "row {row}");
        let others = [0, 1, 3].map(|class| p[class][row]);
        let best = others.iter().fold(0.0, |a: f64, &b| a.max(b));
        if class == "c2" {
            apart += usize::from(p[2][row] < best);
        } else {
            assert_eq!(p[class[1..].parse::<usize>().unwrap()][row], best, "row {row}");
            apart += usize::from(p[2][row] > best);
        }
    }
    assert!(apart > 0, "the likeliest class would have given the same");
}
