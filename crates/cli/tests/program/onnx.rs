//! Models of tables as ONNX files: out, in, and against ONNX Runtime where Python has it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::Folder;
use feedforward::interop::onnx::{DType, GraphBuilder, Tensor};

fn rows(n: usize) -> String {
    let mut text = String::from("size,colour,day,member,price\n");
    for i in 0..n {
        let colour = ["red", "green", "blue", ""][i % 7 % 4];
        let size = if i % 11 == 5 { String::new() } else { format!("{}.5", i * 37 % 101) };
        let (day, member) = (1 + i % 28, ["yes", "no"][i % 3 % 2]);
        let price = i * 37 % 101 + if colour == "red" { 40 } else { 3 };
        writeln!(text, "{size},{colour},2024-0{}-{day:02},{member},{price}", 1 + i % 9).unwrap();
    }
    text
}

fn column(folder: &Folder, name: &str, column: &str) -> Vec<f64> {
    let text = folder.read(name);
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|name| *name == column).unwrap();
    lines.map(|cells| cells[at].parse().unwrap()).collect()
}

#[test]
fn an_exported_model_predicts_as_its_run_does() {
    let folder = Folder::new("onnx");
    folder.write("data.csv", &rows(300));
    let train = "train data.csv --target price --out run --quiet --set train.epochs=3 --threads 1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let ran = folder.run(&["export", "run", "--to", "onnx"]).ok();
    assert!(
        ran.stdout.contains("run.onnx") && ran.stdout.contains("made-up rows"),
        "{}",
        ran.stdout
    );
    let again = folder.run(&["export", "run", "--to", "onnx"]);
    assert!(again.code == Some(2) && again.stderr.contains("there already"), "{}", again.stderr);

    folder.write("new.csv", &(rows(40) + "1e9,violet,1999-12-31,YES,0\n"));
    folder.run(&["predict", "run", "--data", "new.csv", "--out", "a.csv"]).ok();
    folder.run(&["predict", "run.onnx", "--data", "new.csv", "--out", "b.csv"]).ok();
    let (a, b) = (column(&folder, "a.csv", "prediction"), column(&folder, "b.csv", "prediction"));
    assert!(
        a.len() == 41 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0))
    );

    let shown = folder.run(&["inspect", "run.onnx"]).ok().stdout;
    assert!(shown.contains("seconds since 1970") && shown.contains("LabelEncoder"), "{shown}");
    let refused = folder.run(&["predict", "run.onnx", "--data", "new.csv", "--proba"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("predicts numbers"));

    // ONNX Runtime itself, on changed rows.
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import onnx, onnxruntime"]).output();
    if has.is_ok_and(|found| found.status.success()) {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/onnx_predictions.py");
        let mut command = Command::new(python);
        command.arg(script).arg(env!("CARGO_BIN_EXE_feedforward")).args(["run", "data.csv"]);
        let ran = command.current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{shown}");
    }
}

#[cfg(feature = "keras")]
#[test]
fn a_model_for_keras_predicts_as_its_run_does() {
    let folder = Folder::new("keras");
    folder.write("data.csv", &rows(300));
    let train = "train data.csv --target price --out run --quiet --set train.epochs=3 --threads 1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let ran = folder.run(&["export", "run", "--to", "keras"]).ok();
    assert!(ran.stdout.contains("run.keras") && ran.stdout.contains("made-up rows"));

    let shown = folder.run(&["inspect", "run.keras"]).ok().stdout;
    assert!(shown.contains("EinsumDense") && shown.contains("StringLookup"), "{shown}");
    let refused = folder.run(&["predict", "run.keras", "--data", "data.csv", "--spread"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("has the mean of its members only"));

    // Keras itself, on changed rows.
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import keras, tensorflow"]).output();
    if has.is_ok_and(|found| found.status.success()) {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/keras_predictions.py");
        let mut command = Command::new(python);
        command.arg(script).arg(env!("CARGO_BIN_EXE_feedforward")).args(["run", "data.csv"]);
        let ran = command.current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{shown}");
    }
}

/// A table of notes, beside a number or alone.
fn notes(folder: &Folder) {
    let mut text = String::from("note,x,answer\n");
    for i in 0..200 {
        let (word, answer) = [("dreadful", "no"), ("Wonderful", "yes"), ("天气好", "maybe")][i % 3];
        writeln!(text, "It was a {word} day -- number {i} 👍,{},{answer}", i % 13).unwrap();
    }
    folder.write("data.csv", &text);
}

#[test]
fn texts_are_taken_apart_within_the_graph() {
    let folder = Folder::new("onnx-texts");
    notes(&folder);
    folder.write(
        "new.csv",
        "note,x\nWONDERFUL!,3\n,\n\"it  was\ta day; don't, café 天气\",12\nunheard-of,1\n",
    );
    for (run, drop) in [("beside", ""), ("alone", " --set data.columns.x=drop")] {
        let train = format!(
            "train data.csv --target answer --out {run} --quiet --set train.epochs=2{drop}"
        );
        folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
        folder.run(&["export", run, "--to", "onnx", "--out", &format!("{run}.onnx")]).ok();
        let predicted = |model: &str| {
            let out = format!("{model}.csv");
            let predict = ["predict", model, "--data", "new.csv", "--proba", "--out", &out];
            folder.run(&predict).ok();
            folder.read(&out)
        };
        let (expected, found) = (predicted(run), predicted(&format!("{run}.onnx")));
        assert_eq!(expected.lines().next(), found.lines().next());
        for (a, b) in expected.lines().zip(found.lines()).skip(1) {
            // The probabilities are the last three cells.
            let cells = |row: &str| -> Vec<f64> {
                row.rsplit(',').take(3).map(|cell| cell.parse().unwrap()).collect()
            };
            let apart = cells(a).into_iter().zip(cells(b)).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-6, "{run}: {a} and {b}");
        }
    }
}

#[test]
fn what_a_format_cannot_say_is_refused() {
    let folder = Folder::new("onnx-refused");
    notes(&folder);
    let train = "train data.csv --target answer --out run --quiet --set train.epochs=1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    for to in ["keras", "tflite"] {
        let refused = folder.run(&["export", "run", "--to", to, "--out", "m"]);
        let told =
            refused.stderr.contains("`note` is a text") && refused.stderr.contains("--to onnx");
        assert!(refused.code == Some(2) && told, "{}", refused.stderr);
        assert!(!folder.path().join("m").exists());
    }
    let refused = folder.run(&["export", "run", "--to", "onnx", "--type", "f16"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--type"), "{}", refused.stderr);
}

/// A model of another program: one input of numbers, logits and their classes.
#[test]
fn foreign_models_take_the_columns_in_their_order() {
    let folder = Folder::new("onnx-foreign");
    let mut graph = GraphBuilder::new("foreign");
    let x = graph.input("X", DType::F32, &[None, Some(2)], "");
    let w = graph.constant("w", &Tensor::new(&[2, 2], vec![1.0f32, 0.0, 0.0, 2.0]).unwrap());
    let y = graph.node("MatMul", "scores", &[&x, &w]);
    graph.output(&y, DType::F32, &[None, Some(2)]);
    let model = graph.build();
    std::fs::write(folder.path().join("m.onnx"), model.to_bytes()).unwrap();
    folder.write("new.csv", "a,b\n1,2\n3,\n");
    let ran = folder.run(&["predict", "m.onnx", "--data", "new.csv"]).ok();
    assert_eq!(ran.stdout, "a,b,scores_0,scores_1\n1,2,1,4\n3,,,\n");
    folder.write("wide.csv", "a,b,c\n1,2,3\n");
    let wide = folder.run(&["predict", "m.onnx", "--data", "wide.csv"]);
    assert!(
        wide.code == Some(2) && wide.stderr.contains("takes 2 numbers a row"),
        "{}",
        wide.stderr
    );
    folder.write("text.csv", "a,b\n1,x\n");
    let text = folder.run(&["predict", "m.onnx", "--data", "text.csv"]);
    assert!(text.code == Some(2) && text.stderr.contains("holds `x`"), "{}", text.stderr);
    folder.write("bad.onnx", "no model");
    for command in [&["inspect", "bad.onnx"][..], &["predict", "bad.onnx", "--data", "new.csv"]] {
        let bad = folder.run(command);
        assert!(bad.code == Some(1) && bad.stderr.contains("no ONNX model"), "{}", bad.stderr);
    }
}

/// A network of two columns, in a file.
fn small_network(folder: &Folder, name: &str) {
    let mut graph = GraphBuilder::new("small");
    let constant = |g: &mut GraphBuilder, name: &str, dims: &[usize], values: Vec<f32>| {
        g.constant(name, &Tensor::new(dims, values).unwrap())
    };
    let x = graph.input("x", DType::F32, &[None, Some(2)], "a row");
    let w = constant(&mut graph, "w", &[2, 3], vec![0.5, -0.25, 0.125, 0.75, 0.5, -0.5]);
    let b = constant(&mut graph, "b", &[3], vec![0.1, -0.2, 0.3]);
    let v = constant(&mut graph, "v", &[3, 1], vec![2.0, -3.0, 1.5]);
    let y = graph.node("Gemm", "hidden", &[&x, &w, &b]);
    let y = graph.node("Tanh", "tanh", &[&y]);
    let y = graph.node("MatMul", "y", &[&y, &v]);
    graph.output(&y, DType::F32, &[None, Some(1)]);
    std::fs::write(folder.path().join(name), graph.build().to_bytes()).unwrap();
}

#[test]
fn an_imported_network_is_trained_on() {
    let folder = Folder::new("import");
    small_network(&folder, "small.onnx");
    let shown = folder.run(&["import", "small.onnx"]).ok().stdout;
    assert!(shown.contains("2 → 3 tanh → 1") && shown.contains("small/recipe.toml"), "{shown}");
    let again = folder.run(&["import", "small.onnx"]);
    assert!(again.code == Some(2) && again.stderr.contains("there already"), "{}", again.stderr);

    let mut text = String::from("a,b,y\n");
    for i in 0..120 {
        let (a, b) = ((i * 37 % 101) as f64 / 10.0, (i * 53 % 97) as f64 / 10.0);
        writeln!(text, "{a},{b},{}", 3.0 * a - b + 40.0).unwrap();
    }
    folder.write("data.csv", &text);
    folder.write("new.csv", "a,b\n1.5,2.25\n7,0.5\n3.25,9\n");
    let train = "train small/recipe.toml --set data.path=data.csv --target y --quiet --threads 1";
    let train: Vec<&str> = train.split(' ').collect();
    // Steps that move nothing: the network of scaled columns is that of the graph.
    let still = ["--out", "still", "--set", "optimizer.lr=1e-30", "--set", "train.epochs=1"];
    folder.run(&[&train[..], &still].concat()).ok();
    folder.run(&["predict", "still", "--data", "new.csv", "--out", "a.csv"]).ok();
    folder.run(&["predict", "small/model.onnx", "--data", "new.csv", "--out", "b.csv"]).ok();
    let (a, b) = (column(&folder, "a.csv", "prediction"), column(&folder, "b.csv", "y"));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5) && a.len() == 3, "{a:?} {b:?}");
    folder.run(&[&train[..], &["--out", "run", "--set", "train.epochs=5"]].concat()).ok();

    for (set, code, message) in [
        ("model.hidden=[4]", 1, "needs [4, 2]"),
        ("model.hidden=[3,3]", 1, "it has no `layers.1.weight`"),
        ("data.scaling=quantile_normal", 2, "a data.scaling of standard"),
        ("data.target_log=true", 2, "data.target_log learns another number"),
    ] {
        let found = folder.run(&[&train[..], &["--out", "no", "--set", set]].concat());
        found.fails(code, &[message]);
    }
    folder.write("words.tflite", "words");
    folder.run(&["import", "words.tflite"]).fails(1, &["words.tflite", "no TensorFlow Lite model"]);
    folder.write("words.onnx", "words");
    folder.run(&["import", "words.onnx"]).fails(1, &["no ONNX model"]);
    folder.run(&["import", "data.csv"]).fails(1, &["files that end in .onnx"]);
}

#[test]
fn an_exported_model_of_tensorflow_lite_is_checked() {
    let folder = Folder::new("tflite-out");
    folder.write("data.csv", &rows(300));
    let train = "train data.csv --target price --out run --quiet --set train.epochs=3 --threads 1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let refused = folder.run(&["export", "run", "--to", "tflite"]);
    refused.fails(2, &["column `day` is a date", "--set data.columns.day=drop", "--to onnx"]);
    let again = ["--set", "data.columns.day=drop", "--out", "plain"];
    let train = train.replace("--out run", "");
    folder.run(&[&train.split_whitespace().collect::<Vec<_>>()[..], &again].concat()).ok();
    let ran = folder.run(&["export", "plain", "--to", "tflite"]).ok().stdout;
    assert!(ran.contains("plain.tflite") && ran.contains("colour: int32"), "{ran}");
    // Positions of categories, and truth values as numbers.
    folder.write("new.csv", "size,colour,member\n3.5,0,1\n9.5,-1,0\n,99,\n");
    folder.run(&["predict", "plain.tflite", "--data", "new.csv", "--out", "a.csv"]).ok();
    assert_eq!(column(&folder, "a.csv", "prediction").len(), 3);
}

#[test]
fn models_of_tensorflow_lite_are_taken() {
    let folder = Folder::new("tflite");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/tflite");
    let model = fixtures.join("dense.tflite");
    let model = model.to_str().unwrap();
    folder.write("new.csv", "a,b,c,d,e,f\n1,2,3,4,5,6\n0,0.5,0,1,0,-1\n");
    folder.run(&["predict", model, "--data", "new.csv", "--out", "a.csv"]).ok();
    let shown = folder.run(&["inspect", model]).ok().stdout;
    assert!(shown.contains("Softmax"), "{shown}");
    folder.run(&["import", model]).ok();
    folder.run(&["predict", "dense/model.onnx", "--data", "new.csv", "--out", "b.csv"]).ok();
    assert_eq!(folder.read("a.csv"), folder.read("b.csv"));
}

#[cfg(feature = "keras")]
#[test]
fn models_and_weights_of_keras_are_imported() {
    let folder = Folder::new("import-keras");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/keras");
    let model = fixtures.join("dense.keras");
    let found = folder.run(&["import", model.to_str().unwrap(), "--json"]).ok().json();
    // Its layers have two activations.
    assert!(found["refused"].as_str().unwrap().contains("different activations"), "{found}");
    assert_eq!(found["model"], "dense/model.onnx");
    folder.run(&["inspect", "dense/model.onnx"]).ok();

    let [layers, weights] = ["shards.json", "shards.weights.json"]
        .map(|name| fixtures.join(name).display().to_string());
    let found = folder.run(&["import", &weights, "--out", "w", "--json"]).ok().json();
    assert_eq!(found["weights"], "w/weights.safetensors");
    folder.run(&["inspect", "w/weights.safetensors"]).ok();
    let found = folder.run(&["import", &layers, "--weights", &weights, "--json"]).ok().json();
    assert_eq!(found["layers"], "6 → 8 relu → 5 relu → 3");
    let recipe = folder.read("shards/recipe.toml");
    assert!(recipe.contains("hidden = [8, 5]") && recipe.contains("multiclass"), "{recipe}");
    let found =
        folder.run(&["import", "w/weights.safetensors", "--weights", &weights, "--out", "x"]);
    found.fails(1, &["belong to models of Keras"]);
}

/// The losses of Keras' next steps over all rows, and those of ours from the imported state:
/// `scripts/keras_training.py`.
#[cfg(feature = "keras")]
#[test]
fn training_of_keras_goes_on_with_its_optimiser() {
    let folder = Folder::new("keras-training");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/keras_training");
    let file = |name: &str| fixtures.join(name).display().to_string();
    let losses = std::fs::read_to_string(file("losses.json")).unwrap();
    let losses: serde_json::Value = serde_json::from_str(&losses).unwrap();
    let mut worst = 0.0f64;
    for (name, losses) in losses.as_object().unwrap() {
        let model = file(&format!("{name}.keras"));
        let found = folder.run(&["import", &model, "--json"]).ok().json();
        let optimizer = found["optimizer"].as_str().unwrap();
        assert!(optimizer.contains("its state after 7 steps"), "{found}");
        assert_eq!(found["left"], serde_json::json!([]), "{name}");
        let classes = ["adam_amsgrad", "nesterov"].contains(&name.as_str());
        let data = if classes { "classes.csv" } else { "data.csv" };
        let expected: Vec<f64> = serde_json::from_value(losses.clone()).unwrap();
        let command = format!(
            "train {name}/recipe.toml --target y --quiet --threads 1 --out run-{name} --set data.split.valid=0 \
             --set data.split.test=0 --set train.batch_size=60 --set train.epochs={} --set data.path",
            expected.len()
        );
        let mut words: Vec<&str> = command.split_whitespace().collect();
        let path = format!("data.path={}", file(data));
        *words.last_mut().unwrap() = &path;
        folder.run(&words).ok();
        let history = folder.read(&format!("run-{name}/metrics.jsonl"));
        let epochs = history.lines().map(|line| serde_json::from_str(line).unwrap());
        let found: Vec<f64> =
            epochs.map(|e: serde_json::Value| e["train_loss"].as_f64().unwrap()).collect();
        assert_eq!(found.len(), expected.len(), "{history}");
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            worst = worst.max((a - b).abs());
            assert!((a - b).abs() < 1e-5, "{name}, step {i}: {a}, Keras {b}");
        }
    }
    println!("largest difference of a loss: {worst:.1e}");
    // What has no counterpart is named.
    for (name, why) in [
        ("lion", "Lion is not taken over"),
        ("clipnorm", "Adam's `clipnorm` has no counterpart"),
        ("schedule", "SGD's `learning_rate` has no counterpart: it is a schedule"),
        ("frozen", "(Dense) is not trained there"),
    ] {
        let shown = folder.run(&["import", &file(&format!("{name}.keras"))]).ok().stdout;
        assert!(shown.contains("not taken over: ") && shown.contains(why), "{shown}");
        let recipe = folder.read(&format!("{name}/recipe.toml"));
        assert!(!recipe.contains("start_optimizer"), "{recipe}");
    }
    // Neither scaled columns nor other optimisers go with the state.
    let train =
        format!("train adam/recipe.toml --target y --quiet --set data.path={}", file("data.csv"));
    for (set, message) in [
        ("data.scaling=standard", "set data.scaling = \"none\""),
        ("data.target_scaling=true", "set data.target_scaling = false"),
        ("optimizer={kind='sgd'}", "was saved by adam"),
    ] {
        let words = train.split(' ').chain(["--out", "no", "--set", set]);
        let ran = folder.run(&words.collect::<Vec<_>>());
        assert!(ran.code != Some(0) && ran.stderr.contains(message), "{}", ran.stderr);
    }
}

#[test]
fn a_stack_of_pytorchs_layers_predicts() {
    let folder = Folder::new("torch");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/torch");
    let cases = std::fs::read_to_string(fixtures.join("cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
    let rows =
        |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(cases[0][key].clone()).unwrap() };
    let mut data = String::from("a,b,c,d\n");
    for row in rows("input") {
        let cells: Vec<String> = row.iter().map(f64::to_string).collect();
        writeln!(data, "{}", cells.join(",")).unwrap();
    }
    folder.write("data.csv", &data);
    std::fs::copy(fixtures.join("norms.pt"), folder.path().join("norms.pt")).unwrap();
    folder.run(&["predict", "norms.pt", "--data", "data.csv", "--out", "y.csv"]).ok();
    for k in 0..3 {
        let found = column(&folder, "y.csv", &format!("output_{k}"));
        let expected: Vec<f64> = rows("output").iter().map(|row| row[k]).collect();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }
    let shown = folder.run(&["inspect", "norms.pt"]).ok().stdout;
    assert!(shown.contains("a module of PyTorch: BatchNorm1d, Linear"), "{shown}");
}
