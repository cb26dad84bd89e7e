//! The page of a run holds what the run found, whatever the data is called.

#![allow(clippy::unwrap_used, clippy::format_push_string)]

use feedforward::{Recipe, TrainOptions, TrainSummary, train};
use std::path::{Path, PathBuf};

/// A folder that is taken away again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ff-report-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn dataset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets").join(name)
}

/// Trains with this recipe, `epochs` at most, and reads the page.
fn page(folder: &Folder, data: &Path, target: &str, sets: &[&str]) -> (String, TrainSummary) {
    let text = format!(
        "name = 't'\n[data]\npath = '{}'\ntarget = '{target}'\n[model]\nhidden = [16]\n\
         [train]\nepochs = 12\nbatch_size = 32\n",
        data.display()
    );
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let recipe = Recipe::parse(&text, "test.toml", &sets).unwrap();
    let options = TrainOptions { out: Some(folder.0.join("run")), ..TrainOptions::default() };
    let summary = train(&recipe, &options, &mut ()).unwrap();
    let page = std::fs::read_to_string(summary.run.join("report.html")).unwrap();
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.ends_with("</html>\n"));
    for reference in ["http://", "https://", "src=\"", "@import", "url("] {
        assert!(!page.contains(reference), "the page refers to something outside: {reference}");
    }
    (page, summary)
}

fn contains(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "the page lacks {text:?}");
    }
}

#[test]
fn several_classes() {
    let folder = Folder::new("iris");
    let (page, summary) = page(&folder, &dataset("iris.csv"), "species", &["optimizer.lr=0.01"]);
    contains(
        &page,
        &[
            "iris.csv · species",
            "id=\"verdict\"",
            "<q>always ",
            "sepal_length_cm",
            "petal_width_cm",
            "species is learned as multiclass",
            "stratified by species, seed 0",
            "id=\"curves\"",
            "id=\"classes\"",
            "id=\"importance\"",
            "id=\"dependence\"",
            "id=\"mistakes\"",
            "layers.0",
            "[16, 4]",
            "id=\"resources\"",
            "id=\"timings\"",
            "feedforward predict",
            "--proba",
            "data hash",
        ],
    );
    // The figure that the page shows is the one that scores.json has.
    let scores = std::fs::read_to_string(summary.run.join("scores.json")).unwrap();
    let scores: serde_json::Value = serde_json::from_str(&scores).unwrap();
    let accuracy = scores["test"]["scores"]["accuracy"].as_f64().unwrap();
    contains(&page, &[&format!("<p class=\"value\">{accuracy:.3}</p>")]);
}

#[test]
fn two_classes_with_a_threshold() {
    let folder = Folder::new("cancer");
    let sets = ["optimizer.lr=0.01", "data.positive=malignant", "evaluate.threshold=f1"];
    let (page, summary) = page(&folder, &dataset("breast_cancer.csv"), "diagnosis", &sets);
    contains(
        &page,
        &[
            "always benign",
            "the positive class is malignant",
            "id=\"threshold\"",
            "best F1",
            "id=\"threshold-data\"",
            "Calibration",
            "probability of malignant",
            "worst_radius",
        ],
    );
    let config = std::fs::read_to_string(summary.run.join("model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let threshold = config["threshold"].as_f64().unwrap();
    let marked = format!("\"chosen\":{threshold}");
    contains(&page, &[&marked]);
}

#[test]
fn a_regression() {
    let folder = Folder::new("diabetes");
    let sets = ["optimizer.lr=0.01", "evaluate.importance=2"];
    let (page, _) = page(&folder, &dataset("diabetes.csv"), "progression", &sets);
    contains(
        &page,
        &[
            "the mean",
            "R²",
            "id=\"regression\"",
            "Predicted against true",
            "over 2 shuffles",
            "absolute error",
            "Target in train",
            "the target is standardised",
        ],
    );
    assert!(!page.contains("id=\"classes\""));
}

#[test]
fn names_from_hostile_files_stay_text() {
    let folder = Folder::new("hostile");
    let mut text =
        String::from("\"<script>alert(1)</script>\",\"a\"\"b' onload=x\",gap,id,\"</svg>kind\"\n");
    for i in 0..90u32 {
        let x = f64::from(i * 37 % 90) / 7.0;
        let gap = if i % 4 == 0 { String::new() } else { format!("{}.5", i % 13) };
        let kind = if x > 6.0 { "<img src=x>" } else { "$(rm)&amp;" };
        text += &format!("{x},{},{gap},u{i:04},\"{kind}\"\n", ["p<b>", "q", "r"][i as usize % 3]);
    }
    let data = folder.0.join("<data>&.csv");
    std::fs::write(&data, text).unwrap();
    let (page, _) = page(&folder, &data, "</svg>kind", &[]);
    for raw in ["<script>alert", "<img", "</svg>kind", "p<b>", "a\"b'"] {
        assert!(!page.contains(raw), "{raw:?} stands in the page unescaped");
    }
    contains(
        &page,
        &[
            "&lt;script&gt;alert(1)",
            "&lt;img src=x&gt;",
            "gaps of gap become the median",
            "id is left out",
            "&lt;data&gt;&amp;.csv",
        ],
    );
}

#[test]
fn a_part_that_is_not_there_leaves_no_trace() {
    let folder = Folder::new("no-test");
    let sets = ["data.split.test=0", "evaluate.importance=0"];
    let (page, summary) = page(&folder, &dataset("iris.csv"), "species", &sets);
    assert!(summary.metrics.test.is_none());
    contains(&page, &["the scores flatter", "id=\"mistakes\""]);
    assert!(!page.contains("id=\"importance\"") && !page.contains("id=\"dependence\""));

    let folder = Folder::new("train-only");
    let sets = ["data.split.test=0", "data.split.valid=0"];
    let (page, _) = self::page(&folder, &dataset("iris.csv"), "species", &sets);
    contains(&page, &["id=\"curves\"", "the last weights are kept"]);
    assert!(!page.contains("id=\"verdict\"") && !page.contains("id=\"classes\""));
}

#[test]
fn a_run_that_diverges_leaves_its_page() {
    let folder = Folder::new("diverged");
    let text = format!(
        "[data]\npath = '{}'\ntarget = 'progression'\n[optimizer]\nkind = 'sgd'\nlr = 1e9\n[train]\nepochs = 9\n",
        dataset("diabetes.csv").display()
    );
    let recipe = Recipe::parse(&text, "test.toml", &[]).unwrap();
    let run = folder.0.join("run");
    let options = TrainOptions { out: Some(run.clone()), ..TrainOptions::default() };
    let error = train(&recipe, &options, &mut ()).unwrap_err().to_string();
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    contains(&page, &["failed", "optimizer.lr", "id=\"data\"", "--resume"]);
    assert!(error.contains("optimizer.lr"), "{error}");
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    struct Stop(u32);
    impl feedforward::trainer::Observer for Stop {
        fn event(&mut self, event: feedforward::trainer::Event<'_>) {
            if let feedforward::trainer::Event::Step { .. } = event {
                self.0 += 1;
            }
        }
        fn interrupted(&mut self) -> bool {
            self.0 >= 7
        }
    }
    impl feedforward::Watcher for Stop {}

    let folder = Folder::new("interrupted");
    let text = format!("[data]\npath = '{}'\ntarget = 'species'\n", dataset("iris.csv").display());
    let recipe = Recipe::parse(&text, "test.toml", &["train.epochs=8".into()]).unwrap();
    let run = folder.0.join("run");
    let options = TrainOptions { out: Some(run.clone()), ..TrainOptions::default() };
    train(&recipe, &options, &mut Stop(0)).unwrap();
    let read = || std::fs::read_to_string(run.join("report.html")).unwrap();
    contains(&read(), &["interrupted after", "it can be resumed", "feedforward train --resume"]);
    feedforward::resume(&run, &TrainOptions::default(), &mut ()).unwrap();
    let page = read();
    contains(&page, &["id=\"verdict\"", "finished"]);
    assert!(!page.contains("it can be resumed"));
}

#[test]
fn a_watched_run_has_a_page_from_the_start() {
    struct Look(PathBuf, Option<String>);
    impl feedforward::trainer::Observer for Look {
        fn event(&mut self, event: feedforward::trainer::Event<'_>) {
            if let feedforward::trainer::Event::Epoch { record, .. } = event
                && record.epoch == 2
            {
                self.1 = std::fs::read_to_string(&self.0).ok();
            }
        }
    }
    impl feedforward::Watcher for Look {}

    let folder = Folder::new("watched");
    let text = format!("[data]\npath = '{}'\ntarget = 'species'\n", dataset("iris.csv").display());
    let recipe = Recipe::parse(&text, "test.toml", &["train.epochs=3".into()]).unwrap();
    let run = folder.0.join("run");
    let mut look = Look(run.join("report.html"), None);
    let options = TrainOptions { out: Some(run), watch: true, ..TrainOptions::default() };
    train(&recipe, &options, &mut look).unwrap();
    contains(&look.1.unwrap(), &["data-reload=", "running", "id=\"data\"", "petal_width_cm"]);
    let page = std::fs::read_to_string(&look.0).unwrap();
    assert!(!page.contains("data-reload=") && page.contains("id=\"verdict\""));
}
