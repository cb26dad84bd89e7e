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
        folder.write("data.csv", &noisy(400, classes));
        let train = |out: &str, more: &[&str]| {
            let base = ["train", "data.csv", "--target", "answer", "--quality", "fast", "--json"];
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
