//! Encoders with decoders, and the pairs that they learn from.

use super::Case;
use super::cases::case;
use crate::Folder;
use std::path::Path;

pub(super) fn pairs(folder: &Folder) -> Vec<Case> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language");
    let copied = |model: &str, to: &str, files: &[&str]| {
        std::fs::create_dir_all(folder.path().join(to)).unwrap();
        for file in files {
            std::fs::copy(from.join(model).join(file), folder.path().join(to).join(file)).unwrap();
        }
    };
    let model = ["config.json", "model.safetensors"];
    copied("t5_text", "t5", &[&model[..], &["tokenizer.json"]].concat());
    copied("t5_text", "t5-mute", &model);
    copied("marian_text", "marian", &[&model[..], &["source.spm", "vocab.json"]].concat());
    folder.write("swapped.csv", "en,de\nthe cat sees it,a dog sees it\na bird,a house\n");
    folder.write("three.csv", "a,b,c\nthe cat sees it,a dog sees it,it sees a dog\n");
    folder.write("one.csv", "text\nthe cat sees it\n");
    folder.write("empty.csv", "en,de\nthe cat,\n,a dog\n");
    folder.write("pairs.toml", "base.model = 't5'\ndata.path = 'swapped.csv'\n");
    let tune = |rest: &str| format!("finetune {rest} --out new");
    vec![
        case(
            "Pairs without such a column",
            tune("t5 --data swapped.csv --source en --target fr"),
            2,
            &["has no column `fr`", "`en`, `de`"],
        ),
        case(
            "Pairs in one column",
            tune("t5 --data one.csv"),
            2,
            &["which columns of `one.csv` hold the pairs?", "data.source="],
        ),
        case(
            "Pairs in one of three columns",
            tune("t5 --data three.csv"),
            2,
            &["which columns of three.csv hold the pairs?", "data.source=a"],
        ),
        case(
            "Pairs of which one side is empty",
            tune("t5 --data empty.csv"),
            2,
            &["empty.csv has no rows to learn from", "an empty text"],
        ),
        case(
            "A source without a target",
            "finetune t5 --data swapped.csv --set data.source=en --out new",
            2,
            &["data.source", "data.target go together"],
        ),
        case(
            "A recipe of pairs without their columns",
            tune("pairs.toml"),
            1,
            &["t5: is an encoder with a decoder", "data.source and data.target"],
        ),
        case(
            "More tokens than positions",
            tune("marian --data swapped.csv --set data.max_source=64"),
            2,
            &["data.max_source", "the model's 30 positions"],
        ),
        case(
            "A translator without the tokenizer of its targets",
            tune("marian --data swapped.csv"),
            1,
            &["target.spm", "is missing"],
        ),
        case(
            "A T5 without a tokenizer",
            tune("t5-mute --data swapped.csv"),
            2,
            &["no tokenizer", "spiece.model"],
        ),
        case(
            "A preference of pairs of texts",
            tune("t5 --data swapped.csv --preference dpo"),
            2,
            &["--preference is for language models of one stack"],
        ),
        case(
            "A prefix for a language model",
            tune("lm --data talks.jsonl --prefix a"),
            2,
            &["--prefix is for encoders with decoders"],
        ),
        case(
            "A translator that is evaluated on nothing",
            "evaluate t5",
            2,
            &["nothing to evaluate it on", "--data"],
        ),
    ]
}
