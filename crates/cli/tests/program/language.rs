//! A language model from text to what it writes, killed and resumed, judged, and gone on from.

use std::fmt::Write;
use std::path::Path;

use crate::bad_input::{disks_can_be_mounted, on_a_disk};
use crate::killed::{kill_when, lines, start};
use crate::{Folder, Ran};

/// Lines of a small language whose next word can be told from the one before.
pub(crate) fn corpus() -> String {
    let mut text = String::new();
    let words = ["the", "cat", "sees", "a", "dog", "and", "the", "dog", "sees", "a", "bird"];
    for i in 0..600 {
        writeln!(text, "{} {} {}.", words[i * 7 % 11], words[(i * 7 + 1) % 11], words[i * 5 % 11])
            .unwrap();
    }
    text
}

/// A recipe of a model so small that it trains in a second.
pub(crate) const RECIPE: &str = r#"
[data]
paths = ["corpus.txt"]
[tokenizer]
kind = "bpe"
vocab_size = 280
[model.config]
model_type = "llama"
hidden_size = 24
intermediate_size = 40
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
[optimizer]
lr = 3e-3
clip_norm = 1.0
[train]
steps = 60
context = 16
batch_size = 4
accumulate = 2
eval_every = 10
checkpoint_seconds = 0
[sample]
prompts = ["the cat"]
max_tokens = 8
"#;

fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("corpus.txt", &corpus());
    folder.write("recipe.toml", RECIPE);
    folder
}

fn run(folder: &Folder, line: &str) -> Ran {
    folder.run(&line.split(' ').collect::<Vec<_>>())
}

/// The bits that must be the same, and the history without its seconds.
fn result(run: &Path) -> (Vec<u8>, String, String, Vec<serde_json::Value>) {
    let history = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let history = history.lines().map(|line| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record.as_object_mut().unwrap().remove("seconds").is_some());
        record
    });
    let text = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
    let model = std::fs::read(run.join("model/model.safetensors")).unwrap();
    (model, text("scores.json"), text("samples.jsonl"), history.collect())
}

#[test]
fn from_text_to_what_it_writes() {
    let folder = prepared("language");
    let trained = run(&folder, "pretrain recipe.toml --out first --json").ok();
    let summary = trained.json();
    let loss = summary["valid"]["loss"].as_f64().unwrap();
    assert!(loss < 0.7 * summary["before"].as_f64().unwrap(), "{summary}");
    let files = folder.listing();
    for file in [
        "first/report.html",
        "first/samples.jsonl",
        "first/model/config.json",
        "first/model/tokenizer.json",
        "first/model/generation_config.json",
    ] {
        assert!(files.iter().any(|f| f == file), "{file}: {files:?}");
    }
    assert!(folder.read("first/report.html").contains("bits per byte"));

    let judged = run(&folder, "evaluate first --json").ok().json();
    assert!((judged["text"]["loss"].as_f64().unwrap() - loss).abs() < 1e-9, "{judged}");
    let on_file = run(&folder, "evaluate first --data corpus.txt --json").ok().json();
    assert!(on_file["text"]["bits_per_byte"].as_f64().unwrap() > 0.0);

    folder.write(
        "questions.jsonl",
        "{\"prompt\": \"the cat sees a\", \"choices\": [\" qqqqqq\", \" dog\"], \"answer\": 1}\n",
    );
    let chosen = run(&folder, "evaluate first --data questions.jsonl --json").ok().json();
    assert_eq!(chosen["choices"]["by_likelihood"]["right"], 1, "{chosen}");

    let greedy = [
        "generate",
        "first",
        "--prompt",
        "the cat",
        "--max-tokens",
        "4",
        "--temperature",
        "0",
        "--json",
    ];
    let written = folder.run(&greedy).ok().json();
    let text = written["generated"][0]["text"].as_str().unwrap();
    // Several prompts are written together, each as it is alone; it is said why each ended.
    let mut several = greedy.to_vec();
    several.extend(["--prompt", "a dog and the dog sees"]);
    let both = folder.run(&several).ok().json();
    assert_eq!(both["generated"][0]["text"], text);
    several.retain(|word| *word != "--json");
    several[5] = "90";
    let shown = folder.run(&several).ok();
    assert_eq!(
        shown.stderr.matches("stopped by the model's last position, of which it has 16").count(),
        2
    );

    // A conversation by a template that adds nothing; the second one after a reset.
    folder.write("plain.jinja", "{{ messages[-1].content }}");
    let chat = "chat first --template plain.jinja --temperature 0 --max-tokens 4";
    let chat: Vec<&str> = chat.split(' ').collect();
    let typed = "the cat\n/save saved.jsonl\n/reset\nthe \\\ncat\n";
    let said = folder.run_piped(&chat, typed).ok();
    assert!(said.stdout.starts_with(text), "{said:?}");
    let saved: serde_json::Value = serde_json::from_str(&folder.read("saved.jsonl")).unwrap();
    assert_eq!(saved["messages"][0]["content"], "the cat");
    assert_eq!(saved["messages"][1]["content"], text);
    folder.run_piped(&chat, "/sav\n").fails(2, &["/sav is no command"]);
    // The second turn goes on from the cache of the first, and says what it would without.
    folder.write("all.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    let chat = "chat first --template all.jinja --temperature 0 --max-tokens 2 --json";
    let chat: Vec<&str> = chat.split(' ').collect();
    let answers = |typed: &str| -> Vec<serde_json::Value> {
        let said = folder.run_piped(&chat, typed).ok().stdout;
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let turns = answers("the cat\nsees\n");
    let first = turns[0]["text"].as_str().unwrap();
    let alone = &answers(&format!("\"\"\"\nthe cat{first}sees\n\"\"\"\n"))[0];
    assert_eq!(turns[1]["text"], alone["text"]);
    assert_eq!(turns[1]["prompt_tokens"], alone["prompt_tokens"]);
    let cached = |answer: &serde_json::Value| answer["cached_tokens"].as_u64().unwrap();
    assert!(cached(&turns[0]) == 0 && cached(&turns[1]) > 1 && cached(alone) == 0, "{turns:?}");

    // The model as a GGUF file writes the same; once more over an existing file is refused.
    let export = "export first --to gguf --out first.gguf";
    let exported = run(&folder, export).ok();
    assert!(exported.stdout.contains("the same, bit for bit"), "{exported:?}");
    run(&folder, export).fails(2, &["first.gguf exists"]);
    // Of a model that a disk has no space for, nothing stays.
    if disks_can_be_mounted() {
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let export = ["export", "first", "--to", "huggingface", "--out", "disk/out"];
        on_a_disk(&folder, "size=8k", &export).fails(1, &["No space left on device"]);
        assert_eq!(folder.read("left"), "");
    }
    let mut from_gguf = greedy.to_vec();
    from_gguf[1] = "first.gguf";
    assert_eq!(folder.run(&from_gguf).ok().json()["generated"][0]["text"], text);
    let inspected = run(&folder, "inspect first.gguf --json").ok().json();
    assert_eq!(inspected["config"]["tokenizer.ggml.pre"], "gpt-2");

    // What greedy generation writes is what exact match asks for.
    let question = serde_json::json!({ "prompt": "the cat", "answer": text });
    folder.write("exact.jsonl", &format!("{question}\n"));
    let exact = run(&folder, "evaluate first --data exact.jsonl --json").ok().json();
    assert_eq!(exact["exact"]["right"], 1, "{exact}");

    // Standard input is read as a file is, more than once where need be.
    let from_file = run(&folder, "evaluate first --data corpus.txt --json").ok().json();
    let piped = ["evaluate", "first", "--data", "-", "--json"];
    let from_pipe = folder.run_piped(&piped, &corpus()).ok().json();
    assert_eq!(from_pipe["text"], from_file["text"]);
    let exact = folder.run_piped(&piped, &format!("{question}\n")).ok().json();
    assert_eq!(exact["exact"]["right"], 1, "{exact}");
    let again = "pretrain recipe.toml --out piped --json --set data.paths=['-']";
    let again: Vec<&str> = again.split(' ').collect();
    let summary = folder.run_piped(&again, &corpus()).ok().json();
    assert_eq!(summary["valid"]["loss"].as_f64(), Some(loss));

    // Samples take a little more, for their keys and values; all else is planned.
    let silent =
        "pretrain recipe.toml --out silent --json --set sample.prompts=[] --set train.steps=20";
    let summary = run(&folder, silent).ok().json();
    let plan = run(&folder, "plan recipe.toml --json").ok().json();
    assert_eq!(plan["pool_bytes"], summary["pool_bytes"], "what is planned is what is taken");
    assert_eq!(plan["parameters"], summary["parameters"]);

    // Going on from its weights starts where it ended.
    let on = "pretrain recipe.toml --out second --json --set model.config= --set model.from=first --set train.steps=10";
    let on = run(&folder, on).ok().json();
    assert!(on["before"].as_f64().unwrap() < 1.05 * loss, "{on}");
}

#[test]
fn killed_and_resumed_pretraining_ends_with_the_same_bits() {
    let folder = prepared("language-killed");
    run(&folder, "pretrain recipe.toml --out whole --quiet").ok();
    let whole = result(&folder.path().join("whole"));
    assert_eq!(whole.3.len(), 6);

    let path = folder.path().join("run");
    let mut child = start(&folder, &["pretrain", "recipe.toml", "--out", "run"]);
    for evaluations in [1, 3, 5] {
        let killed = kill_when(&mut child, || lines(&path) >= evaluations);
        assert!(killed, "the run was over at evaluation {}", lines(&path));
        assert!(!path.join("model").exists(), "no model before training is over");
        child = start(&folder, &["pretrain", "--resume", "run"]);
    }
    let killed = kill_when(&mut child, || path.join("model").exists());
    if killed {
        run(&folder, "pretrain --resume run").ok();
    }
    assert!(result(&path) == whole, "the same model, scores, samples and history");
    run(&folder, "pretrain --resume run").fails(1, &["is finished"]);
}

#[test]
fn killed_while_the_text_is_read_or_with_tokens_lost_a_run_goes_on() {
    let folder = prepared("language-tokens");
    run(&folder, "pretrain recipe.toml --out whole --quiet").ok();
    let mut child = start(&folder, &["pretrain", "recipe.toml", "--out", "run"]);
    let path = folder.path().join("run");
    assert!(kill_when(&mut child, || lines(&path) >= 2));
    let shard = std::fs::read_dir(path.join("tokens")).unwrap().flatten();
    let shard = shard.map(|file| file.path()).find(|p| p.extension().is_none_or(|e| e != "json"));
    std::fs::remove_file(shard.unwrap()).unwrap();
    run(&folder, "pretrain --resume run --quiet").ok();
    assert!(result(&path) == result(&folder.path().join("whole")));

    // Other text is refused: the bits would be those of no run.
    let mut child = start(&folder, &["pretrain", "recipe.toml", "--out", "other"]);
    let path = folder.path().join("other");
    assert!(kill_when(&mut child, || lines(&path) >= 1));
    std::fs::remove_dir_all(path.join("tokens")).unwrap();
    folder.write("corpus.txt", &corpus().replace("cat", "cow"));
    run(&folder, "pretrain --resume other").fails(1, &["was started on other text"]);
}

#[test]
fn threads_and_recomputation_do_not_show_in_the_model() {
    let folder = prepared("language-threads");
    let of = |out: &str, more: &str| {
        let line = format!("pretrain recipe.toml --out {out} --quiet --set train.steps=12 {more}");
        run(&folder, line.trim_end()).ok();
        std::fs::read(folder.path().join(out).join("model/model.safetensors")).unwrap()
    };
    let one = of("one", "--threads 1");
    assert!(of("three", "--threads 3") == one, "3 threads");
    assert!(of("again", "--set model.recompute=true") == one, "recomputed");
}

#[test]
fn a_run_that_does_not_fit_is_refused_with_what_would() {
    let folder = prepared("language-memory");
    let large = "pretrain recipe.toml --out run --set model.config.hidden_size=131072 \
                 --set model.config.intermediate_size=131072";
    let large: Vec<&str> = large.split_whitespace().collect();
    folder.run(&large).fails(2, &["this run needs", "of memory and", "are free; "]);
    // Windows by the million do not fit, fewer do.
    let wide = ["pretrain", "recipe.toml", "--out", "run", "--set", "train.batch_size=8000000"];
    folder.run(&wide).fails(
        2,
        &[
            "train.batch_size=",
            "train.accumulate=",
            "fits and trains on the same windows in each step",
        ],
    );
    assert!(!folder.path().join("run").exists());
}

/// A model's folder as it is stored for tests.
fn stored(name: &str) -> String {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language").join(name);
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_t5_writes_what_transformers_writes() {
    let folder = Folder::new("language-t5");
    writes_targets(&folder, "t5_text");
    // One beam, unless it is asked for more.
    let model = stored("t5_text");
    let short = ["generate", &model, "--prompt", "the cat", "--max-tokens", "14", "--json"];
    let usual = folder.run(&short).ok().json();
    let greedy = folder.run(&[&short[..], &["--beams", "1"]].concat()).ok().json();
    assert_eq!(usual["generated"][0]["tokens"], greedy["generated"][0]["tokens"]);
    folder
        .run(&["generate", &stored("t5"), "--prompt", "the cat"])
        .fails(2, &["has no tokenizer", "spiece.model"]);
    folder
        .run(&["chat", &model])
        .fails(1, &["an encoder with a decoder (t5)", "feedforward generate"]);
    folder.write("text.csv", "text\nthe cat\n");
    folder.run(&["evaluate", &model, "--data", "text.csv"]).fails(2, &["hold the pairs?"]);
}

/// What a folder's model writes for the texts of its fixture, and why each text stops.
fn writes_targets(folder: &Folder, name: &str) -> Vec<String> {
    let model = stored(name);
    let expected = std::fs::read_to_string(Path::new(&model).join("expected.json")).unwrap();
    let expected: Vec<serde_json::Value> = serde_json::from_str(&expected).unwrap();
    let mut ended = Vec::new();
    for beams in ["1", "3"] {
        let mut line = vec!["generate", &model, "--max-tokens", "14", "--beams", beams, "--json"];
        for text in &expected {
            line.extend(["--prompt", text["text"].as_str().unwrap()]);
        }
        let found = folder.run(&line).ok().json();
        for (found, expected) in found["generated"].as_array().unwrap().iter().zip(&expected) {
            assert_eq!(found["text"], expected[format!("beams.{beams}")], "{beams}: {found}");
            let ids = expected["ids"].as_array().unwrap();
            assert_eq!(found["prompt_tokens"], ids.len(), "{found}");
            ended.push(found["reason"].as_str().unwrap().to_owned());
        }
    }
    ended
}

#[test]
fn a_translation_model_writes_what_transformers_writes() {
    let folder = Folder::new("language-marian");
    let ended = writes_targets(&folder, "marian_text");
    let model = stored("marian_text");
    assert!(ended.iter().any(|r| r == "end") && ended.iter().any(|r| r == "max_tokens"));

    // For people: the translation alone on standard output, and why it ended beside it.
    let shown = folder.run(&["generate", &model, "--prompt", "the cat"]).ok();
    assert_eq!(shown.stdout.lines().count(), 1, "{shown:?}");
    assert!(shown.stderr.contains("stopped by "), "{shown:?}");
    folder
        .run(&["generate", &model, "--prompt", "the cat", "--temperature", "0.5", "--stop", "a"])
        .fails(2, &["--temperature, --stop chooses among tokens", "--beams and --max-tokens"]);
    folder
        .run(&["generate", &stored("gpt2"), "--prompt", "a", "--beams", "2"])
        .fails(2, &["--beams"]);
    folder
        .run(&["generate", &stored("marian"), "--prompt", "the cat"])
        .fails(2, &["has no tokenizer", "source.spm"]);
    folder.write("text.csv", "text\nthe cat\n");
    folder
        .run(&["evaluate", &model, "--data", "text.csv"])
        .fails(2, &["which columns of `text.csv` hold the pairs?"]);
}

#[test]
fn a_run_goes_on_from_another_folder() {
    let folder = Folder::new("language-elsewhere");
    let path = |name: &str| folder.path().join(name);
    for name in ["project/sub/base", "elsewhere"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    folder.write("project/sub/corpus.txt", &corpus());
    // The model's weights, config and tokenizer come from a run beside the recipe.
    folder.write("project/sub/recipe.toml", RECIPE);
    let project = path("project");
    let run_in = |place: &Path, line: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_feedforward"));
        Ran::new(&command.args(line.split(' ')).current_dir(place).output().unwrap())
    };
    run_in(&project, "pretrain sub/recipe.toml --out sub/first --quiet --set train.steps=10").ok();
    let on = RECIPE.replace("[model.config]", "[model]\nfrom = \"first\"\n[elided]");
    let on = on.split_once("[elided]").unwrap();
    let on = format!("{}[optimizer]{}", on.0, on.1.split_once("[optimizer]").unwrap().1);
    folder.write("project/sub/on.toml", &on);
    run_in(&project, "pretrain sub/on.toml --out whole --quiet").ok();
    let whole = result(&path("project/whole"));

    let started = |out: &str| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_feedforward"))
            .args(["pretrain", "sub/on.toml", "--out", out])
            .current_dir(&project)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        assert!(kill_when(&mut child, || lines(&project.join(out)) >= 2), "it was over too soon");
    };
    let elsewhere = path("elsewhere");
    started("run");
    run_in(&elsewhere, "pretrain --resume ../project/run --quiet").ok();
    assert!(result(&path("project/run")) == whole, "the same bits");

    // Text and model are needed no more once there are tokens and a checkpoint.
    started("alone");
    std::fs::rename(path("project/sub"), path("project/moved")).unwrap();
    run_in(&elsewhere, "pretrain --resume ../project/alone --quiet").ok();
    assert!(result(&path("project/alone")) == whole, "the same bits without the files");
    std::fs::rename(path("project/moved"), path("project/sub")).unwrap();

    // Before the first checkpoint the weights are needed, without tokens the text is: it is said
    // where they were looked for.
    started("early");
    std::fs::remove_file(path("project/early/checkpoints/last.safetensors")).unwrap();
    std::fs::rename(path("project/sub/first"), path("project/sub/away")).unwrap();
    let wanted = project.join("sub/first").display().to_string();
    run_in(&elsewhere, "pretrain --resume ../project/early")
        .fails(1, &["has no checkpoint yet", &wanted, "put it back", "--set model.from="]);
    std::fs::rename(path("project/sub/away"), path("project/sub/first")).unwrap();
    std::fs::remove_dir_all(path("project/early/tokens")).unwrap();
    std::fs::rename(path("project/sub/corpus.txt"), path("project/sub/away.txt")).unwrap();
    let wanted = project.join("sub/corpus.txt").display().to_string();
    run_in(&elsewhere, "pretrain --resume ../project/early")
        .fails(1, &["its tokens are not whole", &wanted, "put it back"]);
    std::fs::rename(path("project/sub/away.txt"), path("project/sub/corpus.txt")).unwrap();
    run_in(&elsewhere, "pretrain --resume ../project/early --quiet").ok();
    assert!(result(&path("project/early")) == whole, "the same bits, once the files are back");
}

#[test]
fn a_run_that_is_watched_writes_its_page_while_it_goes_on() {
    let folder = prepared("language-watched");
    let long =
        ["pretrain", "recipe.toml", "--out", "run", "--watch", "--set", "train.steps=100000"];
    let mut child = start(&folder, &long);
    let page = folder.path().join("run/report.html");
    let killed = kill_when(&mut child, || {
        std::fs::read_to_string(&page).is_ok_and(|page| page.contains("before training"))
    });
    assert!(killed, "there was no page");
    let page = folder.read("run/report.html");
    assert!(
        page.contains("data-reload=") && page.contains("the cat"),
        "it reloads and shows samples"
    );
}

#[test]
fn the_validation_loss_has_an_interval() {
    let folder = prepared("language-interval");
    // A stretch is about 1024 tokens: ten of them are needed.
    folder.write("corpus.txt", &corpus().repeat(4));
    let more = "pretrain recipe.toml --out run --json --set train.steps=5 --set data.valid=0.6 \
                --set tokenizer.kind=bytes";
    let summary = folder.run(&more.split_whitespace().collect::<Vec<_>>()).ok().json();
    let valid = &summary["valid"];
    let of = |key: &str| valid["interval"][key].as_f64().unwrap();
    let loss = valid["loss"].as_f64().unwrap();
    assert!(of("low") < loss && loss < of("high") && of("high") - of("low") < 0.5, "{valid}");
    assert!(folder.read("run/report.html").contains("bootstrap over stretches"));
    assert!(run(&folder, "evaluate run").ok().stdout.contains("95 %"));
}
