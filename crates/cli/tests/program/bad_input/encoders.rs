//! Encoders, embeddings and search.

use super::Case;
use super::cases::case;
use crate::Folder;
use std::path::Path;

pub(super) fn encoders(folder: &Folder) -> Vec<Case> {
    let fixture = |name: &str, to: &str, files: &[&str]| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(name);
        std::fs::create_dir_all(folder.path().join(to)).unwrap();
        for file in files {
            std::fs::copy(from.join(file), folder.path().join(to).join(file)).unwrap();
        }
    };
    let model = ["config.json", "model.safetensors"];
    fixture("embedding/bert", "bert", &["config.json", "model.safetensors", "vocab.txt"]);
    fixture("embedding/bert", "bare", &model);
    fixture("embedding/bert", "foreign", &model);
    fixture("language/bert_sequence", "classes", &model);
    fixture("language/llama", "decoder", &model);
    let vocab = folder.read("bert/vocab.txt");
    folder.write("foreign/vocab.txt", &format!("{vocab}another\n"));
    folder.write("decoder/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n");
    folder.write("texts.csv", "text,other\nthe quick brown fox,another long text here\n,\n");
    folder.write("numbers.csv", "x,y\n1,2\n");
    let embed = "embed bert --data texts.csv --text text --out vectors.npy";
    folder.run(&embed.split(' ').collect::<Vec<_>>()).ok();
    let to = |rest: &str| format!("embed {rest} --out new.npy");
    fixture(
        "embedding/model2vec",
        "static",
        &["config.json", "model.safetensors", "tokenizer.json"],
    );
    let labelled = |text: &str, n: usize| -> String {
        let row = |i: usize| format!("the {text} fox {i},{},{i}\n", ["no", "yes"][i % 2]);
        format!("text,answer,size\n{}", (0..n).map(row).collect::<String>())
    };
    folder.write("mail.csv", &labelled("quick", 40));
    let twenty = |row: &dyn Fn(usize) -> String| (0..20).map(row).collect::<String>();
    let hollow = twenty(&|i| format!(",{}\n", ["late", "broken;late"][i % 2]));
    folder.write("hollow.csv", &format!("text,topic\n{hollow}"));
    folder.write("untold.conll", &"the O\nfox O\n\n".repeat(20));
    let still = twenty(&|i| format!("the fox number {i},7\n"));
    folder.write("still.csv", &format!("text,size\n{still}"));
    folder.write("alone.csv", &format!("{}the odd one out,maybe,1\n", labelled("quick", 40)));
    folder.write("figures.csv", "x,answer\n1,no\n2,yes\n3,no\n4,yes\n");
    folder.write("words.jsonl", "{\"tokens\":[\"the\",\"fox\"],\"tags\":[\"O\"]}\n");
    folder.write("words.conll", "the O\nfox\n");
    folder.write("schemes.conll", "the O\nfox E-ANIMAL\n");
    let objective = |data: &str, kind: &str, rest: &str| {
        format!("train {data} --out enc --set model.encoder=bert --set objective.kind={kind}{rest}")
    };
    let train = |rest: &str| format!("train mail.csv --target answer --out enc {rest}");
    let encoder = |name: &str| train(&format!("--set model.encoder={name}"));
    vec![
        case(
            "An encoder without a tokenizer",
            to("bare --data texts.csv --text text"),
            1,
            &["bare: has no tokenizer (tokenizer.json, vocab.txt"],
        ),
        case(
            "A tokenizer of another model",
            to("foreign --data texts.csv --text text"),
            1,
            &["they are of different models"],
        ),
        case(
            "A decoder with the pooling of an encoder",
            to("decoder --data texts.csv --text text --pooling mean"),
            2,
            &["decoder is a decoder", "its pooling is last, not mean"],
        ),
        case(
            "An encoder asked to write",
            "generate bert --prompt the",
            1,
            &[
                "bert/config.json: is of an encoder (bert), which writes no text",
                "feedforward embed",
            ],
        ),
        case(
            "An encoder without a classifier",
            "predict bert --data texts.csv --text text",
            2,
            &["has no classifier of texts"],
        ),
        case(
            "No model to embed with",
            to("berd --data texts.csv --text text"),
            2,
            &["berd: is not there"],
        ),
        case(
            "A column of texts that is missing",
            to("bert --data texts.csv --text txt"),
            2,
            &["has no column `txt` (--text); did you mean `text`?"],
        ),
        case(
            "Several columns of texts",
            to("bert --data texts.csv"),
            2,
            &["which column of `texts.csv` holds the texts? name it with --text: text, other"],
        ),
        case(
            "More tokens than positions",
            to("bert --data texts.csv --text text --max-tokens 41"),
            2,
            &["a text has 3 to 40 tokens with this model, so not at most 41"],
        ),
        case("Vectors that are there already", embed, 2, &["is there already", "--force"]),
        case(
            "A format that vectors are not written in",
            "embed bert --data texts.csv --text text --out vectors.pdf",
            1,
            &["the extension names no format that is written", "Use .npy, .parquet"],
        ),
        case(
            "An encoder to train that is not there",
            encoder("berd"),
            2,
            &["berd: is not there; give the folder of a model"],
        ),
        case(
            "A decoder in the place of an encoder",
            encoder("decoder"),
            1,
            &[
                "decoder: is no encoder that can be trained",
                "DistilBERT, ModernBERT and static embeddings",
            ],
        ),
        case(
            "Rates of layers for static embeddings",
            train("--set model.encoder=static --set model.layer_decay=0.9"),
            2,
            &["model.layer_decay", "static embeddings are one layer"],
        ),
        case(
            "An encoder to train without a tokenizer",
            encoder("bare"),
            1,
            &["bare: has no tokenizer (tokenizer.json, vocab.txt"],
        ),
        case(
            "An encoder to train with the tokenizer of another model",
            encoder("foreign"),
            1,
            &["they are of different models"],
        ),
        case(
            "No text for an encoder",
            "train figures.csv --target answer --out enc --set model.encoder=bert",
            2,
            &["no column is recognised as one; name it with --set data.columns.x=text"],
        ),
        case(
            "A class with one text",
            "train alone.csv --target answer --out enc --set model.encoder=bert --set data.columns.text=text",
            1,
            &["class `maybe` has a single row"],
        ),
        case(
            "More tokens of a text than an encoder has positions",
            train(
                "--set model.encoder=bert --set model.max_tokens=41 --set data.columns.text=text",
            ),
            2,
            &["a text has 3 to 40 tokens with this model, so not at most 41"],
        ),
        case(
            "The pooling of decoders for an encoder",
            train("--set model.encoder=bert --set model.pooling='last'"),
            2,
            &["model.pooling", "an encoder has cls and mean"],
        ),
        case(
            "A table's network beside an encoder",
            train("--set model.encoder=bert --set model.activation=relu"),
            2,
            &["model.activation"],
        ),
        case(
            "A table's quality for an encoder",
            train("--set model.encoder=bert --quality fast"),
            2,
            &["--quality is for the networks of tables"],
        ),
        case(
            "Folds of an encoder",
            train("--set model.encoder=bert --folds 3").replace("--out enc ", ""),
            2,
            &["--folds is for the networks of tables, not for model.encoder"],
        ),
        case(
            "Words and tags that do not align",
            objective("words.jsonl", "tags", ""),
            1,
            &["words.jsonl: line 1: 2 words and 1 tag"],
        ),
        case(
            "A word without a tag",
            objective("words.conll", "tags", ""),
            1,
            &["words.conll: line 2", "a word without a tag"],
        ),
        case(
            "A tag of another scheme",
            objective("schemes.conll", "tags", " --set objective.scheme='iob2'"),
            2,
            &["`E-ANIMAL` at position 1 is none of the scheme iob2"],
        ),
        case(
            "Labels without a column",
            objective("mail.csv", "labels", ""),
            2,
            &["data.target", "data.targets"],
        ),
        case(
            "Labels of texts that are all empty",
            objective("hollow.csv", "labels", " --target topic --set data.text=['text']"),
            2,
            &["all 14 training texts are empty", "data.text"],
        ),
        case(
            "Words that have one tag",
            objective("untold.conll", "tags", ""),
            2,
            &["every word has the tag `O`: nothing to learn"],
        ),
        case(
            "Numbers that are the same in every row",
            objective("still.csv", "numbers", " --set data.targets=['size']"),
            2,
            &["every training row (14) has the same size"],
        ),
        case(
            "A label that is neither true nor false",
            objective(
                "mail.csv",
                "labels",
                " --set data.targets=['size'] --set data.text=['text']",
            ),
            2,
            &["`2` is neither true nor false"],
        ),
        case(
            "An objective without an encoder",
            "train mail.csv --out enc --set objective.kind=labels --set data.targets=['answer']",
            2,
            &["model.encoder", "name the folder"],
        ),
        case(
            "A key of another objective",
            objective("mail.csv", "masked", " --set objective.scale=10"),
            2,
            &["objective.scale", "is for the objective pairs, and this is masked"],
        ),
        case(
            "One text of a pair",
            objective("mail.csv", "pairs", " --set data.text=['text']"),
            2,
            &["a pair has two columns of texts"],
        ),
        case("A search for nothing", "search bert vectors.npy", 2, &["nothing to look for"]),
        case(
            "A search in a file without vectors",
            "search bert texts.csv fox",
            2,
            &["texts.csv holds no vectors", "feedforward embed"],
        ),
        case(
            "A search with texts of another file",
            "search bert vectors.npy fox --data numbers.csv --text x",
            2,
            &["there are 1 text and 2 vectors"],
        ),
        case(
            "Pairs of more than one index",
            "search bert vectors.npy --pairs 0.9",
            2,
            &["--pairs compares the rows of one index"],
        ),
    ]
}
