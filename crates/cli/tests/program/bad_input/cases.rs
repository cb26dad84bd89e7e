//! Bad input, section by section, with the files it takes.

use std::path::Path;

use super::Case;
use super::tensors::{self, Edit};
use crate::{Folder, two_classes};

pub(super) fn files(folder: &Folder) -> Vec<Case> {
    let data = two_classes(60);
    folder.write("data.csv", &data);
    folder.write("empty.csv", "");
    folder.write("header.csv", "x,y,answer\n");
    folder.write("wide.csv", &data.replacen('\n', "\n1,2,yes,4\n", 1));
    folder.write("one-class.csv", &data.replace("yes", "no"));
    folder.write("lonely.csv", &format!("{data}5,5,maybe\n"));
    let disorders = lines(60, |i| format!("{i},{}", ["None", "Apnea", "Insomnia"][i % 3]));
    folder.write("none.csv", &format!("age,disorder\n{disorders}"));
    folder.write("numbers.csv", &lines(60, |i| format!("{i},{},{}", i * 7 % 13, i % 2)));
    let prices = lines(60, |i| format!("{i},{}", i * 7 % 13));
    folder.write("nan.csv", &format!("x,price\n{prices}60,NaN\n"));
    folder.write("text.csv", &format!("x,price\n{prices}60,dear\n"));
    let names = lines(600, |i| format!("name{i}q,{},{}", i % 7, i % 2));
    folder.write("names.csv", &format!("name,x,answer\n{names}"));
    folder.write("blank.csv", &format!("text,answer\n{}", lines(60, |i| format!(",{}", i % 2))));
    let parquet =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../table/tests/fixtures/types.parquet");
    let parquet = std::fs::read(parquet).unwrap();
    std::fs::write(folder.path().join("cut.parquet"), &parquet[..parquet.len() / 2]).unwrap();
    let train = |rest: &str| format!("train {rest}");
    vec![
        case(
            "A missing file",
            train("dta.csv --target answer"),
            2,
            &["there is no file `dta.csv`; did you mean `data.csv`"],
        ),
        case(
            "A search over an empty range",
            "tune data.csv --target answer --vary optimizer.lr=0.1..0.01",
            2,
            &["cannot vary `optimizer.lr=0.1..0.01`: the range from 0.1 to 0.01 is empty"],
        ),
        case(
            "A search over a single value",
            "tune data.csv --target answer --vary model.hidden=[[64]]",
            2,
            &["fewer than two values to choose from"],
        ),
        case(
            "A search over an unknown setting",
            "tune data.csv --target answer --vary optimizer.rl=0.01..0.1",
            2,
            &["optimizer", "lr"],
        ),
        case(
            "A search over what trials are judged by",
            "tune data.csv --target answer --vary data.split.valid=0.1..0.3",
            2,
            &["cannot vary `data.split.valid`"],
        ),
        case(
            "A search without rows to compare trials on",
            "tune data.csv --target answer --set data.split.valid=0",
            2,
            &["compares its trials on the validation part", "data.split.valid"],
        ),
        case("A missing column", train("data.csv --target anwser"), 2, &["did you mean `answer`?"]),
        case("An empty file", train("empty.csv --target answer"), 1, &["`empty.csv` is empty"]),
        case("A header only", train("header.csv --target answer"), 1, &["only a header"]),
        case(
            "A row with too many fields",
            train("wide.csv --target answer"),
            1,
            &["line 2: 4 fields where the header has 3"],
        ),
        case(
            "A target with one class",
            train("one-class.csv --target answer"),
            1,
            &["target `answer`"],
        ),
        case(
            "A class with one row",
            train("lonely.csv --target answer"),
            1,
            &["target `answer`", "`maybe`"],
        ),
        case(
            "Texts without a word in common",
            train(
                "names.csv --target answer --set data.columns.name=text --set data.text.characters=0",
            ),
            2,
            &["`name` has no word or sequence of characters that 2 of its 420 training rows share"],
        ),
        case(
            "Texts that are all empty",
            train("blank.csv --target answer"),
            2,
            &["no column is left to learn from", "`text` (no value at all)"],
        ),
        case(
            "n-grams of no length",
            train("names.csv --target answer --set data.text.words=0 --set data.text.characters=1"),
            2,
            &["data.text.words", "leaves no n-grams"],
        ),
        case(
            "A class that stands for a missing value",
            train("none.csv --target disorder"),
            1,
            &["20 cells read `None`", "If `None` is a class, keep it"],
        ),
        case(
            "A header that is taken for data",
            train("numbers.csv --target 2"),
            2,
            &["no column `2`", "data.header=true"],
        ),
        case(
            "NaN in a numeric target",
            train("nan.csv --target price --task regression"),
            1,
            &["target `price`", "line 62"],
        ),
        case(
            "Text in a numeric target",
            train("text.csv --target price --task regression"),
            1,
            &["target `price`", "dear"],
        ),
        case(
            "A column with too many categories",
            train(
                "names.csv --target answer --set data.columns.name=category --set \
                 data.categories.max=100",
            ),
            1,
            &["column `name` has more than 100 distinct categories"],
        ),
        case(
            "A truncated Parquet file",
            train("cut.parquet --target answer"),
            1,
            &["`cut.parquet`", "help: "],
        ),
        case(
            "Nothing on standard input",
            train("- --target answer"),
            1,
            &["the stream `-` is empty"],
        ),
    ]
}

pub(super) fn recipes(folder: &Folder) -> Vec<Case> {
    let recipe = |name: &str, text: &str| {
        folder.write(name, &format!("data = {{ path = 'data.csv', target = 'answer' }}\n{text}\n"));
    };
    recipe("activation.toml", "[model]\nactivation = 'rleu'");
    recipe("rate.toml", "[optimizer]\nlr = -0.1");
    recipe("hidden.toml", "[model]\nhidden = 0");
    recipe("units.toml", "[model]\nhidden = [64, 0]");
    recipe("dropout.toml", "[model]\ndropout = 1.5");
    recipe("realmlp.toml", "[model]\nkind = 'realmlp'\nmembers = 8");
    recipe("waves.toml", "[model]\nnumeric = 'periodic'\nnumeric_dim = 1");
    recipe("sigma.toml", "[model]\nnumeric = 'piecewise'\nnumeric_sigma = 0.1");
    recipe("shares.toml", "[model]\nactivation = 'prelu'\nparametric_activation = true");
    recipe("ntk.toml", "[optimizer]\nkind = 'sgd'\nntk = true");
    recipe("key.toml", "[train]\nepohcs = 5");
    vec![
        case(
            "More bags than rows",
            "train data.csv --target answer --set train.bags=100",
            1,
            &["train.bags = 100: 100 folds of 60 rows to learn from"],
        ),
        case(
            "Bags of rows split by time",
            "train data.csv --target answer --set train.bags=3 --set data.split={kind=\"time\",column=\"x\"}",
            1,
            &["train.bags divides rows into folds"],
        ),
        case(
            "An unknown activation",
            "train activation.toml",
            2,
            &["activation.toml:3:14", "did you mean `relu`?"],
        ),
        case("A negative rate", "train rate.toml", 2, &["rate.toml:3:6", "at least 0"]),
        case(
            "hidden = 0",
            "train hidden.toml",
            2,
            &["hidden.toml:3:10", "a list of whole numbers"],
        ),
        case("A layer without units", "train units.toml", 2, &["units.toml:3:", "has 0 units"]),
        case("A dropout of 1.5", "train dropout.toml", 2, &["dropout.toml:3:11", "1.5"]),
        case(
            "RealMLP as an ensemble",
            "train realmlp.toml",
            2,
            &["realmlp.toml:4:", "one network"],
        ),
        case(
            "Periodic vectors of one value",
            "train waves.toml",
            2,
            &["waves.toml:4:", "must be at least 2"],
        ),
        case(
            "Frequencies of piecewise vectors",
            "train sigma.toml",
            2,
            &["sigma.toml:4:", "goes with numeric = \"periodic\" only"],
        ),
        case("Two learned slopes", "train shares.toml", 2, &["shares.toml:4:", "prelu"]),
        case("NTK of another optimiser", "train ntk.toml", 2, &["ntk.toml:4:", "not with sgd"]),
        case("An unknown key", "train key.toml", 2, &["key.toml:3:1", "did you mean `epochs`?"]),
    ]
}

/// Copies of a good model, each with one thing wrong.
pub(super) fn models(folder: &Folder) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut model = |title, name: &str, file: &str, bytes: Vec<u8>, says| {
        folder.copy("run/model", name);
        std::fs::write(folder.path().join(name).join(file), bytes).unwrap();
        let command = format!("predict {name} --data data.csv --out predicted.csv");
        cases.push(case(title, command, 1, says));
    };
    let good = folder.path().join("run/model");
    let read = |file: &str| std::fs::read(good.join(file)).unwrap();
    let weights = read("model.safetensors");
    let edited = |edit| tensors::edit(&weights, "output.weight", edit);
    let (file, says) = ("model.safetensors", &["tensor `output.weight`: is missing"]);
    model("A model with a tensor missing", "lacks", file, edited(Edit::Remove), says);
    let says = &["tensor `output.weight`: expected shape [2, 4], found [4, 2]"];
    model("A tensor of another shape", "shape", file, edited(Edit::Shape(vec![4, 2])), says);
    let says = &["tensor `output.weight`: expected type F32, found F64"];
    model("A tensor of 64-bit floats", "f64", file, edited(Edit::Retype("F64", 8)), says);
    let says = &["tensor `output.weight`: expected type F32, found F16"];
    model("A tensor of 16-bit floats", "f16", file, edited(Edit::Retype("F16", 2)), says);
    let says = &["tensor `output.weight.copy` belongs to no layer"];
    model("A tensor too many", "extra", file, edited(Edit::Copy), says);
    let mut huge = weights.clone();
    huge[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
    let says = &["the header claims 9223372036854775808 bytes"];
    model("A header that claims 2⁶³ bytes", "huge", file, huge, says);
    let says = &["short/model.safetensors: ", "help: it is damaged, truncated"];
    model("Tensors cut short", "short", file, weights[..weights.len() - 10].to_vec(), says);

    for (file, words) in [
        (
            "config.json",
            [
                "A truncated config.json",
                "A config.json of a newer format",
                "config-cut",
                "config-newer",
            ],
        ),
        (
            "transforms.json",
            [
                "A truncated transforms.json",
                "A transforms.json of a newer format",
                "transforms-cut",
                "transforms-newer",
            ],
        ),
    ] {
        let text = String::from_utf8(read(file)).unwrap();
        let [cut, newer, cut_name, newer_name] = words;
        let half = text.as_bytes()[..text.len() / 2].to_vec();
        model(cut, cut_name, file, half, &["EOF while parsing", "again from its source"]);
        let text = text.replacen("\"format\": 1", "\"format\": 9", 1);
        let says = &["format 9, this version reads 1", "use the version that wrote it"];
        model(newer, newer_name, file, text.into_bytes(), says);
    }
    let mut gone = |title, name: &str, file: &str, says| {
        folder.copy("run/model", name);
        std::fs::remove_file(folder.path().join(name).join(file)).unwrap();
        cases.push(case(title, format!("predict {name} --data data.csv"), 1, says));
    };
    gone(
        "A model without its tensors",
        "no-tensors",
        "model.safetensors",
        &["no-tensors/model.safetensors: reading", "the folder is incomplete"],
    );
    gone(
        "A model without its transforms",
        "no-transforms",
        "transforms.json",
        &["no-transforms/transforms.json: reading", "the folder is incomplete"],
    );
    folder.copy("run", "no-config");
    std::fs::remove_file(folder.path().join("no-config/model/config.json")).unwrap();
    let says = &["its model has no config.json", "train anew"];
    cases.push(case("A finished run without config.json", "evaluate no-config", 1, says));
    cases
}

pub(super) fn predictions(folder: &Folder) -> Vec<Case> {
    folder.write("lacks.csv", "x,colour\n1,2\n3,4\n");
    folder.write("unjudged.csv", "x,y\n1,2\n3,4\n");
    folder.write("renamed.csv", "x,Y\n1,2\n3,4\n");
    folder.write("kind.csv", "x,y\n1,2\n3,high\n");
    folder.write("class.csv", "x,y,answer\n1,2,yes\n3,4,perhaps\n");
    folder.write("taken.csv", "x,y,prediction\n1,2,3\n");
    folder.copy("run/model", "no-scores");
    std::fs::remove_file(folder.path().join("no-scores/calibration.json")).unwrap();
    let predict = |data: &str| format!("predict run --data {data} --out predicted.csv");
    vec![
        case(
            "Sets of a model without conformal scores",
            "predict no-scores --data data.csv --interval 0.9",
            2,
            &["no scores of rows that it did not learn", "data.split.valid"],
        ),
        case(
            "Sets of a level outside (0, 1)",
            "predict run --data data.csv --interval 90",
            2,
            &["90 must be greater than 0 and less than 1, such as 0.9"],
        ),
        case(
            "Sets of a level that takes more rows",
            "predict run --data data.csv --interval 0.99",
            2,
            &["needs 99 rows", "data.split.valid"],
        ),
        case(
            "Predicting with a missing column",
            predict("lacks.csv"),
            1,
            &["column `y` (number) is missing"],
        ),
        case(
            "Predicting with a renamed column",
            predict("renamed.csv"),
            1,
            &["(did you mean `Y`?)"],
        ),
        case(
            "Predicting with a column of another kind",
            predict("kind.csv"),
            1,
            &["column `y` should hold numbers, but line 3 holds `high`"],
        ),
        case(
            "Predicting rows that already have the predicted column",
            predict("taken.csv"),
            2,
            &["a column `prediction` already"],
        ),
        case(
            "Evaluating without the target",
            "evaluate run --data unjudged.csv",
            2,
            &["no column `answer` (the target)"],
        ),
        case(
            "Evaluating on an unknown class",
            "evaluate run --data class.csv",
            1,
            &["class `perhaps` was not learned"],
        ),
        case(
            "Predicting into a missing folder",
            "predict run --data data.csv --out none/predicted.csv",
            1,
            &["cannot write `none/predicted.csv`", "The folder is not there"],
        ),
        case(
            "Predicting into the file of the rows",
            "predict run --data data.csv --out data.csv",
            2,
            &["data.csv holds the rows to predict", "--force"],
        ),
        case(
            "A setting that does not concern reading",
            "predict run --data data.csv --set data.scaling=none",
            2,
            &["`data.scaling`", "data.header"],
        ),
        case(
            "Predicting into an unsupported format",
            "predict run --data data.csv --out predicted.xlsx",
            1,
            &["Use .csv, .tsv, .parquet or .jsonl."],
        ),
    ]
}

pub(super) fn disks(folder: &Folder) -> Vec<Case> {
    std::fs::create_dir(folder.path().join("disk")).unwrap();
    folder.write("long.csv", &two_classes(5000));
    let on = |disk, case| Case { disk: Some(disk), ..case };
    let predict = |name: &str| format!("predict run --data long.csv --out disk/{name} --proba");
    let full = &["cannot write `disk/", "The disk is full", "Nothing was left"];
    folder.write("long.toml", "data.path = 'long.csv'\n");
    let train = "train long.toml --target answer --out disk/run --quiet";
    vec![
        on("size=16k", case("A full disk under predict: CSV", predict("p.csv"), 1, full)),
        on("size=16k", case("A full disk under predict: JSONL", predict("p.jsonl"), 1, full)),
        on("size=16k", case("A full disk under predict: Parquet", predict("p.parquet"), 1, full)),
        Case {
            leaves: &[
                "disk/run/checkpoints/last.safetensors",
                "disk/run/checkpoints/lock",
                "disk/run/metrics.jsonl",
                "disk/run/recipe.toml",
                "disk/run/run.json",
            ],
            ..on(
                "size=64k",
                case(
                    "A full disk during train",
                    format!("{train} --set train.checkpoint_seconds=0"),
                    1,
                    &[
                        "disk/run/checkpoints/last.safetensors: writing: No space left",
                        "resume with feedforward train --resume disk/run",
                    ],
                ),
            )
        },
        on(
            "size=4k",
            case("A full disk before training", train, 1, &["disk/run", "No space left"]),
        ),
        on(
            "ro",
            case(
                "A read-only folder during predict",
                predict("p.csv"),
                1,
                &["cannot write `disk/p.csv`", "choose another folder"],
            ),
        ),
        on(
            "ro",
            case(
                "A read-only folder during train",
                train,
                1,
                &["disk: writing: Read-only", "with --out"],
            ),
        ),
    ]
}

pub(super) fn runs(folder: &Folder) -> Vec<Case> {
    folder.copy("run", "edited");
    folder.edit("edited/run.json", "\"finished\": true", "\"finished\": false");
    folder.edit("edited/recipe.toml", "\nepochs = 2 ", "\nepochs = 5 ");
    vec![
        case(
            "Resuming with another recipe",
            "train --resume edited",
            1,
            &["was edited since the run was started (train.epochs: 2 → 5)"],
        ),
        case("A resume of a finished run", "train --resume run", 1, &["is finished"]),
        case(
            "Resuming a folder that is not a run",
            "train --resume lacks",
            1,
            &["is not the folder of a run"],
        ),
        case("A run that is not there", "evaluate rnu", 2, &["did you mean run?"]),
        case(
            "Training into a folder that is not empty",
            "train data.csv --target answer --out run",
            1,
            &["nothing is ever overwritten"],
        ),
        case(
            "Training into a file",
            "train data.csv --target answer --out data.csv",
            1,
            &["data.csv: is a file"],
        ),
    ]
}

pub(super) fn case(
    title: &'static str,
    command: impl Into<String>,
    code: i32,
    says: &'static [&'static str],
) -> Case {
    Case { title, command: command.into(), code, says, disk: None, leaves: &[] }
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).flat_map(|i| [line(i), "\n".into()]).collect()
}

pub(super) fn texts(folder: &Folder) -> Vec<Case> {
    folder.write("small.txt", "to be or not to be\n");
    folder.write("nothing.txt", "");
    folder.write("broken.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\n");
    folder.write("keys.jsonl", "{\"body\": \"one\"}\n");
    folder.write("cut.json", "{\"version\": \"1.0\", \"model\": {\"type\": \"BPE\"");
    std::fs::write(folder.path().join("latin.txt"), b"na\xefve\n").unwrap();
    let train = "tokenizer train small.txt --kind characters --out letters";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let tokenizer = |rest: &str| format!("tokenizer {rest}");
    vec![
        case(
            "A missing text",
            tokenizer("train smal.txt --out bpe"),
            2,
            &["there is no file `smal.txt`; did you mean `small.txt`"],
        ),
        case(
            "An empty text",
            tokenizer("train nothing.txt --out letters2 --kind characters"),
            1,
            &["there are no characters"],
        ),
        case(
            "A text that is not UTF-8",
            tokenizer("train latin.txt --out letters2"),
            1,
            &["`latin.txt`, line 1: byte 0xef at offset 2 is not UTF-8", "--utf8"],
        ),
        case(
            "A line of invalid JSON",
            tokenizer("train broken.jsonl --out letters2"),
            1,
            &["`broken.jsonl`, line 2: no JSON object"],
        ),
        case(
            "A missing key",
            tokenizer("train keys.jsonl --out letters2"),
            1,
            &["line 1: there is no key `text`", "body"],
        ),
        case(
            "A vocabulary smaller than the bytes",
            tokenizer("train small.txt --out letters2 --vocab-size 100"),
            2,
            &["100 tokens are too few: at least 256"],
        ),
        case(
            "A folder with a tokenizer",
            tokenizer("train small.txt --out letters"),
            2,
            &["tokenizer.json is there already"],
        ),
        case(
            "A folder without a tokenizer",
            tokenizer("inspect ."),
            1,
            &["there is no tokenizer in this folder"],
        ),
        case("A truncated tokenizer", tokenizer("encode cut.json small.txt"), 1, &["no tokenizer"]),
        case(
            "A character without a token",
            tokenizer("encode letters data.csv"),
            1,
            &["`data.csv`, line 1: no token for `x`"],
        ),
        case(
            "An id without a token",
            tokenizer("decode letters wide.csv"),
            1,
            &["`wide.csv`, line 1: `x` is not an id"],
        ),
    ]
}

pub(super) fn fine_tuning(folder: &Folder) -> Vec<Case> {
    let good = r#"{"prompt": "the cat", "completion": " sees"}"#;
    let after_good = |bad: &str| format!("{good}\n{bad}\n");
    folder.write("talks.jsonl", &after_good(good));
    folder.write("broken.jsonl", &after_good("{\"prompt\": "));
    folder.write("silent.jsonl", &after_good(r#"{"prompt": "the cat", "completion": ""}"#));
    folder.write("mixed.jsonl", &after_good(r#"{"instruction": "a", "output": "b"}"#));
    folder.write(
        "role.jsonl",
        r#"{"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
    );
    folder.write("same.jsonl", r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#);
    folder.write("pairs.jsonl", r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#);
    let long = "the cat sees a dog ".repeat(40);
    folder.write("long.jsonl", &format!(r#"{{"prompt": "{long}", "completion": "b"}}"#));
    let tune = |rest: &str| format!("finetune lm --out new {rest}");
    vec![
        case("Fine-tuning without data", "finetune lm --out new", 2, &["data.path", "is missing"]),
        case(
            "A base model that is not there",
            "finetune nowhere --data talks.jsonl --out new",
            2,
            &["nowhere: is not there"],
        ),
        case(
            "Conversations of broken JSON",
            tune("--data broken.jsonl"),
            1,
            &["broken.jsonl: line 2, column 11: this is not JSON"],
        ),
        case(
            "A conversation without an answer",
            tune("--data silent.jsonl"),
            1,
            &["silent.jsonl: line 2: has no answer"],
        ),
        case(
            "Conversations of two shapes",
            tune("--data mixed.jsonl"),
            1,
            &["mixed.jsonl: line 2: is Alpaca"],
        ),
        case(
            "An unknown role",
            tune("--data role.jsonl"),
            1,
            &["role.jsonl: line 1: message 1 has the role \"robot\""],
        ),
        case(
            "Conversations longer than the context",
            tune("--data long.jsonl --set data.valid=0"),
            1,
            &["holds no token that would be learned", "train.context"],
        ),
        case(
            "A layer that the model has not",
            tune("--data talks.jsonl --set adapter.targets=[\"query\"]"),
            2,
            &["adapter.targets", "\"query\" names no part", "q_proj"],
        ),
        case(
            "A part to train whole that the model has not",
            tune("--data talks.jsonl --set adapter.modules_to_save=[\"head\"]"),
            2,
            &["adapter.modules_to_save", "\"head\" names no part", "lm_head"],
        ),
        case(
            "Dropout with magnitudes",
            tune("--data talks.jsonl --set adapter.dora=true --set adapter.dropout=0.1"),
            2,
            &["adapter.dropout", "not supported beside it"],
        ),
        case(
            "An invocation with magnitudes",
            tune("--data talks.jsonl --set adapter.dora=true --set adapter.invocation='a'"),
            2,
            &["adapter.dora", "not supported beside adapter.invocation"],
        ),
        case(
            "An invocation that no conversation has",
            tune("--data talks.jsonl --set data.valid=0 --set adapter.invocation='zebra'"),
            1,
            &["lack adapter.invocation"],
        ),
        case(
            "A memory too little for any micro-batch",
            tune("--data talks.jsonl --set data.valid=0 --memory 1MB"),
            2,
            &["1.0 MB are too little for this run", "train.context"],
        ),
        case(
            "A memory without a unit",
            tune("--data talks.jsonl --memory 4"),
            2,
            &["`4` is no size; write 4GiB or 800MB"],
        ),
        case(
            "A pair of equal answers",
            tune("--data same.jsonl --preference dpo"),
            1,
            &["same.jsonl: line 1: the chosen and the rejected answer are the same"],
        ),
        case(
            "Pairs of answers without their loss",
            tune("--data pairs.jsonl"),
            1,
            &["pairs.jsonl: holds pairs of answers", "--preference dpo"],
        ),
        case(
            "Conversations in place of pairs",
            tune("--data talks.jsonl --preference dpo"),
            1,
            &["talks.jsonl: holds prompt and completion"],
        ),
    ]
}

pub(super) fn languages(folder: &Folder) -> Vec<Case> {
    folder.write("corpus.txt", &crate::language::corpus());
    folder.write("short.txt", "to be\n");
    folder.write("lm.toml", crate::language::RECIPE);
    folder.write("table.toml", "data.path = 'data.csv'\ndata.target = 'y'\n");
    folder.write("not.json", "{\"model_type\": ");
    folder.write("questions.jsonl", "{\"prompt\": \"a\", \"answer\": \"b\"}\n{\"prompt\": \"a\"\n");
    folder.write("choices.jsonl", "{\"prompt\": \"a\", \"choices\": [\"b\"], \"answer\": 1}\n");
    let run = "pretrain lm.toml --out lm --set train.steps=2 --set train.eval_every=1";
    folder.run(&run.split(' ').collect::<Vec<_>>()).ok();
    folder.copy("lm", "lm-large-ids");
    folder.write("lies.gguf", "GGUF\u{3}\0\0\0\0\0\0\0\0\0\0\u{10}\0\0\0\0\0\0\0\0");
    folder.write("raises.jinja", "{{ raise_exception('roles must alternate') }}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    folder.write("endless.jinja", endless);
    folder.write("hello.txt", "hello\n");
    folder.edit("lm-large-ids/model/config.json", "\"vocab_size\": 278", "\"vocab_size\": 100");
    let pretrain = |rest: &str| format!("pretrain lm.toml --out new {rest}");
    vec![
        case(
            "A GGUF file that claims 2⁶⁰ tensors",
            "generate lies.gguf --prompt hello",
            1,
            &["lies.gguf: the header claims 1152921504606846976 tensors"],
        ),
        case(
            "A chat with a model that has no chat template",
            "chat lm --prompts hello.txt",
            2,
            &["has no chat template", "feedforward generate"],
        ),
        case(
            "A chat template that refuses the conversation",
            "chat lm --template raises.jinja --prompts hello.txt",
            1,
            &["raises.jinja: the chat template refuses this conversation: roles must alternate"],
        ),
        case(
            "A chat template without end",
            "chat lm --template endless.jinja --prompts hello.txt",
            1,
            &["endless.jinja: line 1: the chat template was stopped"],
        ),
        case(
            "Quantised weights in a Hugging Face folder",
            "export lm --to huggingface --type q8_0 --out new",
            2,
            &["and not as Q8_0"],
        ),
        case(
            "A model without sizes",
            pretrain("--set model.config={model_type=\"llama\"}"),
            2,
            &["model.config.hidden_size", "is missing"],
        ),
        case(
            "An unsupported family",
            pretrain("--set model.config.model_type=lama"),
            2,
            &["model.config.model_type", "llama"],
        ),
        case(
            "A misspelled key of a config",
            pretrain("--set model.config.num_hiden_layers=4"),
            2,
            &["model.config.num_hiden_layers", "did you mean \"num_hidden_layers\""],
        ),
        case(
            "Heads that do not divide the width",
            pretrain("--set model.config.num_attention_heads=5"),
            2,
            &["5 heads"],
        ),
        case(
            "A context longer than the positions",
            pretrain("--set model.config.max_position_embeddings=8"),
            2,
            &["train.context: 16 tokens need as many positions, and the model has 8"],
        ),
        case(
            "A vocabulary smaller than the tokenizer's",
            pretrain("--set model.config.vocab_size=100"),
            2,
            &["model.config.vocab_size: is 100, and the tokenizer has 278 tokens"],
        ),
        case(
            "A corpus shorter than the context",
            pretrain("--set data.paths=[\"short.txt\"]"),
            1,
            &["too few for a context of 16"],
        ),
        case(
            "A missing corpus",
            pretrain("--set data.paths=[\"corpse.txt\"]"),
            2,
            &["there is no file `corpse.txt`; did you mean `corpus.txt`"],
        ),
        case(
            "A config that is not JSON",
            pretrain("--set model.config_file=not.json"),
            1,
            &["not.json: is not valid JSON"],
        ),
        case("A recipe for tables", "pretrain data.csv", 2, &["data.csv is not a recipe"]),
        case(
            "A recipe of a table for pretrain",
            "pretrain table.toml",
            2,
            &["table.toml is a recipe of another task", "feedforward train table.toml"],
        ),
        case(
            "An invalid line of questions",
            "evaluate lm --data questions.jsonl",
            1,
            &["questions.jsonl: line 2"],
        ),
        case(
            "An answer outside the choices",
            "evaluate lm --data choices.jsonl",
            1,
            &["line 1: `answer` is 1 and there are 1 choices"],
        ),
        case(
            "A tokenizer with more ids than the model",
            "generate lm-large-ids --prompt the",
            1,
            &["278"],
        ),
        case(
            "A prompt longer than the positions",
            format!("generate lm --prompt {}", "thecat".repeat(20)),
            2,
            &["the model positions for 16"],
        ),
    ]
}
