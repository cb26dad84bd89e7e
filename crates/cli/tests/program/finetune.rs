//! Fine-tuning from conversations and from pairs of answers, killed and resumed.

use std::fmt::Write;
use std::path::Path;

use crate::killed::{kill_when, lines, start};
use crate::language::{RECIPE, corpus};
use crate::{Folder, Ran};

const QUESTIONS: [&str; 6] = ["the cat", "a dog", "the dog", "a bird", "the bird", "a cat"];

fn run(folder: &Folder, line: &str) -> Ran {
    folder.run(&line.split(' ').collect::<Vec<_>>())
}

/// A small base model, conversations and pairs.
pub(crate) fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("corpus.txt", &corpus());
    folder.write("recipe.toml", RECIPE);
    let base = "pretrain recipe.toml --out base --quiet --set sample.prompts=[] \
                --set model.config.max_position_embeddings=64";
    folder.run(&base.split_whitespace().collect::<Vec<_>>()).ok();
    let (mut conversations, mut pairs) = (String::new(), String::new());
    for i in 0..60 {
        let question = QUESTIONS[i * 5 % 6];
        let of = |answers: &[&str]| answers[i * 7 % answers.len()].to_owned();
        let chosen = of(&[" sees a dog.", " sees the cat."]);
        let rejected = of(&[" and and and", " a a a a", " the the"]);
        let line = serde_json::json!({ "prompt": question, "completion": chosen });
        writeln!(conversations, "{line}").unwrap();
        let line =
            serde_json::json!({ "prompt": question, "chosen": chosen, "rejected": rejected });
        writeln!(pairs, "{line}").unwrap();
    }
    folder.write("conversations.jsonl", &conversations);
    folder.write("pairs.jsonl", &pairs);
    folder
}

/// What must be the same in two runs: the adapter, the scores, and the history without its seconds.
fn result(run: &Path) -> (Vec<u8>, String, Vec<serde_json::Value>) {
    let history = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let history = history.lines().map(|line| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record.as_object_mut().unwrap().remove("seconds").is_some());
        record
    });
    let adapter = std::fs::read(run.join("adapter/adapter_model.safetensors")).unwrap();
    let scores = std::fs::read_to_string(run.join("scores.json")).unwrap();
    (adapter, scores, history.collect())
}

/// Kills a run after each of some evaluations, resumes it, and compares it with one left alone.
fn survives(folder: &Folder, options: &str) {
    run(folder, &format!("finetune base {options} --quiet --out whole")).ok();
    let path = folder.path().join("run");
    let first = format!("finetune base {options} --out run");
    let mut child = start(folder, &first.split(' ').collect::<Vec<_>>());
    for evaluations in [1, 2] {
        let killed = kill_when(&mut child, || lines(&path) >= evaluations);
        assert!(killed, "the run was over at evaluation {}", lines(&path));
        child = start(folder, &["finetune", "--resume", "run"]);
    }
    assert!(child.wait().unwrap().success());
    assert!(result(&path) == result(&folder.path().join("whole")), "{options}");
}

#[test]
fn conversations_are_learned_merged_and_answered() {
    let folder = prepared("finetune");
    let tune = "finetune base --data conversations.jsonl --lora-rank 4 --out tuned --json \
                --set optimizer.lr=0.03 --set train.epochs=20 --set train.packing=false";
    let summary = folder.run(&tune.split_whitespace().collect::<Vec<_>>()).ok().json();
    let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
    assert!(after < 0.75 * before, "{summary}");
    assert!(summary.get("preferred").is_none(), "{summary}");
    assert!(
        folder.read("tuned/preview.txt").contains("« sees"),
        "{}",
        folder.read("tuned/preview.txt")
    );
    assert!(folder.read("tuned/report.html").contains("before training"));

    let ask = "--max-tokens 4 --temperature 0 --json --prompt";
    let answer = |model: &str| -> String {
        let mut line: Vec<&str> = vec!["generate", model];
        line.extend(ask.split(' '));
        line.push("the cat");
        folder.run(&line).ok().json()["generated"][0]["text"].as_str().unwrap().to_owned()
    };
    let tuned = answer("tuned");
    assert!(tuned.starts_with(" sees"), "{tuned}");
    run(&folder, "merge base --adapter tuned --out merged").ok();
    assert_eq!(answer("merged"), tuned);

    // A conversation with the adapter, without it, and with it again.
    folder.write("plain.jinja", "{{ messages[-1].content }}");
    let chat = "chat base --template plain.jinja --max-tokens 4 --temperature 0";
    let base: Vec<&str> = chat.split(' ').collect();
    let chat = [&base[..], &["--adapter", "tuned", "--json"]].concat();
    let typed = "the cat\n/adapter none\n/reset\nthe cat\n/adapter tuned\n/reset\nthe cat\n";
    let said = folder.run_piped(&chat, typed).ok().stdout;
    let said: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let base = folder.run_piped(&base, "the cat\n").ok().stdout;
    assert_eq!([&said[0]["text"], &said[2]["text"]], [&*tuned, &*tuned]);
    assert_eq!(said[1]["text"], base.strip_suffix('\n').unwrap());
    assert!(said[1]["text"] != tuned);
    folder.run_piped(&chat, "/adapter other\n").fails(2, &["there are tuned, none"]);

    // All weights, and some of them.
    for (name, weights) in [("full", "--full"), ("some", "--train layers.*.mlp.*")] {
        let line = format!(
            "finetune base --data conversations.jsonl {weights} --out {name} --json --set train.context=32 --set optimizer.lr=0.005"
        );
        let summary = run(&folder, &line).ok().json();
        let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
        assert!(after < before, "{name}: {summary}");
        assert!(folder.path().join(name).join("model/model.safetensors").exists());
    }

    // Runs of any task beside each other.
    let compared = run(&folder, "compare tuned full base").ok().stdout;
    for part in ["train.weights", "valid loss ↓", "valid bits per byte ↓", " *"] {
        assert!(compared.contains(part), "{part}: {compared}");
    }
}

#[test]
fn every_recent_family_is_trained_tuned_merged_exported_and_answers() {
    let folder = prepared("families");
    folder.write("plain.jinja", "{{ messages[-1].content }}");
    let heads = "--set model.config.head_dim=8";
    let gemma = "--set model.config.head_dim=8 --set model.config.sliding_window=8 \
                 --set model.config.query_pre_attn_scalar=8";
    let experts = "--set model.config.head_dim=8 --set model.config.num_local_experts=4 \
                   --set model.config.num_experts_per_tok=2";
    for (family, sizes) in [
        ("gemma2", gemma),
        ("gemma3_text", gemma),
        ("phi3", ""),
        ("olmo2", ""),
        ("smollm3", ""),
        ("qwen3", heads),
        ("gpt_oss", experts),
    ] {
        let words = |line: &str| -> Ran {
            let line = line.replace("FAMILY", family);
            folder.run(&line.split_whitespace().collect::<Vec<_>>())
        };
        let base = format!(
            "pretrain recipe.toml --out base-FAMILY --quiet --set sample.prompts=[] {sizes} \
             --set model.config.max_position_embeddings=64 --set model.config.model_type=FAMILY"
        );
        words(&base).ok();
        let tune = "finetune base-FAMILY --data conversations.jsonl --lora-rank 4 --json \
                    --out tuned-FAMILY --set optimizer.lr=0.03 --set train.epochs=4";
        let summary = words(tune).ok().json();
        let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
        assert!(after < before - 0.2, "{family}: {summary}");
        words("merge base-FAMILY --adapter tuned-FAMILY --out merged-FAMILY").ok();
        let write = |model: &str| -> String {
            let ask = "--max-tokens 4 --temperature 0 --json --prompt the";
            let said = words(&format!("generate {model}-FAMILY {ask}")).ok().json();
            said["generated"][0]["text"].as_str().unwrap().to_owned()
        };
        let tuned = write("tuned");
        assert_eq!(write("merged"), tuned, "{family}");
        let chat = format!(
            "chat base-{family} --template plain.jinja --max-tokens 4 --temperature 0 \
             --adapter tuned-{family} --json"
        );
        let chat: Vec<&str> = chat.split_whitespace().collect();
        let said = folder.run_piped(&chat, "the\n").ok().json();
        assert_eq!(said["text"], tuned, "{family}");
        let exported = words("export merged-FAMILY --to gguf --out file-FAMILY.gguf").ok();
        let said = exported.stdout + &exported.stderr;
        assert!(said.contains("the logits are the same, bit for bit"), "{family}: {said}");
        #[cfg(feature = "onnx")]
        {
            let exported = words("export tuned-FAMILY --to onnx --out FAMILY.onnx --json").ok();
            let check = &exported.json()["check"];
            assert!(check["difference"].as_f64().unwrap() < 1e-5, "{family}: {check}");
            assert_eq!(check["inputs"][2][0], "position_ids", "{family}");
            let refused = words("export tuned-FAMILY --to onnx --out F.onnx --type f16");
            refused.fails(2, &["--type is for --to huggingface and gguf"]);
        }
        let ask = "generate file-FAMILY.gguf --max-tokens 4 --temperature 0 --json --prompt the";
        assert_eq!(words(ask).ok().json()["generated"][0]["text"], tuned, "{family}");
    }
}

/// An adapter with magnitudes, and one with parts of the model for itself, end in the same answers
/// merged.
#[test]
fn every_kind_of_adapter_is_learned_and_merged() {
    let folder = prepared("finetune-kinds");
    let answer = |model: &str| -> String {
        let line = format!("generate {model} --max-tokens 4 --temperature 0 --json --prompt cat");
        run(&folder, &line).ok().json()["generated"][0]["text"].as_str().unwrap().to_owned()
    };
    for (i, options) in [
        "adapter.dora=true",
        "adapter.modules_to_save=['norm','lm_head'] --set adapter.keep_tied=false",
        "adapter.bias=\"all\" --set adapter.exclude=['mlp']",
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!(
            "finetune base --data conversations.jsonl --out {i} --json --set optimizer.lr=0.03 --set train.epochs=8 \
             --set train.packing=false --set {options}"
        );
        let summary = run(&folder, &line).ok().json();
        let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
        assert!(after < 0.8 * before, "{options}: {summary}");
        run(&folder, &format!("merge base --adapter {i} --out merged-{i}")).ok();
        assert_eq!(answer(&format!("merged-{i}")), answer(&i.to_string()), "{options}");
    }
}

/// What comes before an invocation is not learned, and an adapter that acts behind one has no
/// merged form; where it is not in a prompt, answers are those of the base.
#[test]
fn adapters_behind_an_invocation_are_learned() {
    let folder = prepared("finetune-invocation");
    let line = "finetune base --data conversations.jsonl --out tuned --json --set optimizer.lr=0.03 \
                --set train.epochs=20 --set train.packing=false --set";
    let line: Vec<&str> = line.split_whitespace().chain(["adapter.invocation=' cat'"]).collect();
    let ran = folder.run(&line).ok();
    assert!(
        ran.stderr.contains("nothing to learn behind adapter.invocation: 20 dropped"),
        "{ran:?}"
    );
    let summary = ran.json();
    let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
    assert!(after < 0.9 * before, "{summary}");
    assert!(folder.read("tuned/adapter/adapter_config.json").contains("alora_invocation_tokens"));
    run(&folder, "merge base --adapter tuned --out merged").fails(2, &["alora_invocation_tokens"]);
    let answer = |model: &str, prompt: &str| -> String {
        let line = ["generate", model, "--max-tokens", "4", "--temperature", "0", "--json"];
        let line = [&line[..], &["--prompt", prompt]].concat();
        folder.run(&line).ok().json()["generated"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(answer("tuned", "a dog"), answer("base", "a dog"));
    assert!(answer("tuned", "the cat") != answer("base", "the cat"));
}

/// The steps of a run that fits into less memory have the same rows.
#[test]
fn a_memory_chooses_micro_batches() {
    let folder = prepared("finetune-memory");
    let line = "finetune base --full --data conversations.jsonl --set train.epochs=1 --set train.packing=false \
                --set train.batch_size=6 --set train.context=64";
    let tune = |more: &str| {
        let line = format!("{line} {more}");
        folder.run(&line.split_whitespace().collect::<Vec<_>>())
    };
    let plan = tune("--dry-run --json").ok().json();
    let ways = plan["other_ways"].as_array().unwrap();
    assert_eq!(ways.len(), 3, "{plan}");
    assert!(ways.iter().all(|way| way["bytes"].as_u64() > Some(100_000_000)), "{plan}");
    // A little less than the plan of six rows.
    let most = plan["process_bytes"].as_u64().unwrap() / 1000 - 1;
    let fitted = tune(&format!("--memory {most}kB --out small")).ok();
    assert!(fitted.stdout.contains("train.batch_size=3 train.accumulate=2"), "{fitted:?}");
    assert!(folder.read("small/recipe.toml").contains("batch_size = 3"));
    tune("--out large").ok();
    let losses = |run: &str| -> Vec<f64> {
        let lines = folder.read(&format!("{run}/metrics.jsonl"));
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        lines.lines().filter_map(|line| loss(line)["train_loss"].as_f64()).collect()
    };
    let (small, large) = (losses("small"), losses("large"));
    assert!(!small.is_empty() && small.len() == large.len());
    assert!(small.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-5), "{small:?} {large:?}");
    tune("--memory 100MB --out none").fails(2, &["are too little", "an adapter"]);
    tune("--memory much --out none").fails(2, &["is no size", "4GiB"]);
    assert!(!folder.path().join("none").exists());
}

#[test]
fn chosen_answers_are_preferred_by_every_loss() {
    let folder = prepared("preference");
    run(&folder, "finetune base --data pairs.jsonl --out none").fails(1, &["--preference dpo"]);
    run(&folder, "finetune base --data conversations.jsonl --preference dpo --out none")
        .fails(1, &["needs chosen and rejected answers"]);
    for loss in ["dpo", "ipo", "orpo", "simpo"] {
        let line = format!(
            "finetune base --data pairs.jsonl --preference {loss} --out {loss} --json --set optimizer.lr=0.02 --set train.epochs=8"
        );
        let summary = run(&folder, &line).ok().json();
        let [before, after] = ["before", "after"].map(|key| summary[key].as_f64().unwrap());
        assert!(after < before, "{loss}: {summary}");
        assert!(summary["preferred"].as_f64().unwrap() > 0.8, "{loss}: {summary}");
        assert!(summary["margin"].as_f64().unwrap() > 0.0, "{loss}: {summary}");
        if loss == "dpo" {
            // A model that is its own reference prefers neither.
            assert!((before - 2f64.ln()).abs() < 1e-6, "{summary}");
        }
        assert!(
            folder
                .read(&format!("{loss}/report.html"))
                .contains("The chosen answer is preferred in")
        );
    }
    let planned = run(&folder, "finetune base --data pairs.jsonl --preference dpo --dry-run").ok();
    assert!(planned.stdout.contains("54 pairs to learn from, 6 held out"), "{planned:?}");
}

#[test]
fn killed_and_resumed_fine_tuning_ends_with_the_same_bits() {
    let settings = "--set train.epochs=40 --set train.context=32 --set train.checkpoint_seconds=0 \
                    --set optimizer.lr=0.01";
    let settings = settings.split_whitespace().collect::<Vec<_>>().join(" ");
    let folder = prepared("finetune-killed");
    survives(&folder, &format!("--data conversations.jsonl {settings}"));
    for name in ["run", "whole"] {
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
    let whole = "--set adapter.dora=true --set adapter.modules_to_save=['norm']";
    survives(&folder, &format!("--data conversations.jsonl {settings} {whole}"));
    for name in ["run", "whole"] {
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
    // The reference is that of the first step, whatever was learned since.
    survives(&folder, &format!("--data pairs.jsonl --preference dpo {settings}"));
}
