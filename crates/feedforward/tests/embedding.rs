//! Texts as vectors, against `transformers` and NumPy (testkit's scripts/embedding_fixtures.py).
#![cfg(feature = "language")]
#![allow(clippy::unwrap_used, clippy::default_trait_access)]

use feedforward::PredictOptions;
use feedforward::embedding::{
    EmbedOptions, EmbedRequest, Embedder, Pooling, VectorIndex, classify, count_texts, embed,
};
use feedforward::language::EncoderModel;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embedding").join(name)
}

fn expected(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(fixture(name).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn open(name: &str, options: &EmbedOptions) -> feedforward::Result<Embedder> {
    Embedder::open(&fixture(name), &Default::default(), options)
}

#[test]
fn vectors_equal_those_of_other_libraries() {
    for (name, pooling) in [
        ("bert", None),
        ("bert", Some(Pooling::Cls)),
        ("bert", Some(Pooling::Last)),
        ("roberta", None),
        ("model2vec", None),
    ] {
        let json = expected(name);
        let texts: Vec<&str> =
            json["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let wanted = &json["vectors"][pooling.unwrap_or(Pooling::Mean).to_string()];
        let wanted: Vec<Vec<f32>> = serde_json::from_value(wanted.clone()).unwrap();
        for batch in [None, Some(1), Some(4)] {
            let options = EmbedOptions { pooling, batch, ..Default::default() };
            let found = open(name, &options).unwrap().embed(&texts, &mut |_| true).unwrap();
            let largest = found.values.iter().zip(wanted.concat()).map(|(a, b)| (a - b).abs());
            let largest = largest.fold(0.0, f32::max);
            // Vectors of values about 1 in f32, in another order of sums.
            assert!(largest < 2e-6, "{name} {pooling:?} {batch:?}: {largest}");
            assert_eq!(found.empty, 1);
            assert_eq!(found.long > 0, name != "model2vec", "{name}");
        }
    }
}

#[test]
fn windows_are_weighed_by_their_tokens() {
    let text = "the quick brown fox ".repeat(20);
    let options = |windows, normalize| EmbedOptions {
        windows,
        normalize: Some(normalize),
        ..Default::default()
    };
    let mut cut = open("bert", &options(false, false)).unwrap();
    let mut windows = open("bert", &options(true, false)).unwrap();
    let found = windows.embed(&[&text, "fox"], &mut |_| true).unwrap();
    assert_eq!(found.long, 1);
    // The windows of 22 tokens of its own, each between the tokens around a text.
    let mut model =
        EncoderModel::open(&fixture("bert"), &Default::default(), &Default::default()).unwrap();
    let tokenizer = model.tokenizer().unwrap().clone();
    let (ids, (before, behind)) = (tokenizer.encode(&text).unwrap(), tokenizer.around().unwrap());
    let width = cut.width();
    let mut wanted = vec![0.0; width];
    for part in ids.chunks(22) {
        let window = [&before, part, &behind].concat();
        let vector = model.embed(&[window], Pooling::Mean).unwrap();
        let share = part.len() as f32 / ids.len() as f32;
        wanted.iter_mut().zip(vector).for_each(|(sum, x)| *sum += share * x);
    }
    let largest = found.values[..width].iter().zip(&wanted).map(|(a, b)| (a - b).abs());
    assert!(largest.fold(0.0, f32::max) < 1e-5);
    let fox = cut.embed(&["fox"], &mut |_| true).unwrap().values;
    assert_eq!(found.values[width..], fox);
}

#[test]
fn products_in_bf16_give_nearly_the_same_vectors() {
    let texts = ["the quick brown fox", "notes in the margin", "jumping"];
    let vectors = |precision| {
        let options = EmbedOptions { precision, ..Default::default() };
        open("bert", &options).unwrap().embed(&texts, &mut |_| true).unwrap().values
    };
    let (exact, rounded) = (vectors(None), vectors(Some(feedforward::nn::Precision::Bf16)));
    assert_eq!(exact, vectors(Some(feedforward::nn::Precision::F32)));
    let largest = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Eight bits of each factor, over two layers, of vectors of the length 1.
    assert!(largest > 1e-5 && largest < 2e-2, "{largest}");
}

#[test]
fn texts_of_a_file_are_counted_before() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("texts.csv");
    std::fs::write(&data, "text\none\ntwo\n\"th\nree\"\n").unwrap();
    let request = EmbedRequest { data, ..Default::default() };
    assert_eq!(count_texts(&request).unwrap(), Some(3));
    let pipe = EmbedRequest { data: "-".into(), ..Default::default() };
    assert_eq!(count_texts(&pipe).unwrap(), None);
}

#[test]
fn a_prompt_stands_before_every_text_and_the_work_can_be_stopped() {
    let options = EmbedOptions { prompt: Some("the quick ".into()), ..Default::default() };
    let with = open("bert", &options).unwrap().embed(&["brown fox"], &mut |_| true).unwrap();
    let mut plain = open("bert", &Default::default()).unwrap();
    assert_eq!(with.values, plain.embed(&["the quick brown fox"], &mut |_| true).unwrap().values);
    assert!(plain.embed(&["a"], &mut |_| false).unwrap_err().to_string().contains("was stopped"));
}

#[test]
fn files_of_vectors_are_searched_with_their_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let rows = "id,text\n1,the quick brown fox\n2,jumping\n3,\n4,The QUICK brown fox\n";
    std::fs::write(path("texts.csv"), rows).unwrap();
    let device = Default::default();
    let mut scores = Vec::new();
    for out in ["v.npy", "v.csv", "v.jsonl", "v.parquet"] {
        let request =
            EmbedRequest { data: path("texts.csv"), out: path(out), ..Default::default() };
        let summary = embed(&fixture("bert"), &request, &mut |_| true).unwrap();
        assert_eq!((summary.rows, summary.column.as_str(), summary.empty), (4, "text", 1));
        let again = embed(&fixture("bert"), &request, &mut |_| true).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        let (vectors, texts) = (path(out), path("texts.csv"));
        let texts = (out == "v.npy").then_some(texts.as_path());
        let index = VectorIndex::read(&vectors, texts, Some("text"), &device).unwrap();
        let pairs = index.pairs(0.99999, 10, &device);
        assert_eq!((pairs.count, pairs.shown[0].a, pairs.shown[0].b), (1, 0, 3), "{out}");
        assert_eq!(pairs.shown[0].texts.as_ref().unwrap()[1], "The QUICK brown fox");
        let mut model = open("bert", &Default::default()).unwrap();
        let query = model.embed(&["jumping"], &mut |_| true).unwrap().values;
        let hits = &index.search(&query, 2, &device).unwrap()[0];
        assert_eq!((hits.len(), hits[0].row), (2, 1));
        assert_eq!(hits[0].text.as_deref(), Some("jumping"));
        scores.push(hits.iter().map(|hit| hit.score).collect::<Vec<_>>());
    }
    // f32 goes through every format unchanged.
    assert!(scores.windows(2).all(|pair| pair[0] == pair[1]), "{scores:?}");
    let few = VectorIndex::read(&path("v.npy"), Some(&path("v.csv")), Some("none"), &device);
    assert!(few.unwrap_err().to_string().contains("no column `none`"));
    let texts = VectorIndex::read(&path("texts.csv"), None, None, &device).unwrap_err().to_string();
    assert!(texts.contains("holds no vectors"), "{texts}");
}

#[test]
fn an_encoder_with_a_classifier_predicts_the_classes_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let from =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language/bert_sequence");
    std::fs::create_dir(path("model")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), path("model").join(file)).unwrap();
    }
    // Its vocabulary is small: a few words will do.
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"].join("\n");
    std::fs::write(path("model/vocab.txt"), words).unwrap();
    std::fs::write(path("texts.csv"), "text,x\na b c,1\nd,2\nc c c c a,3\n").unwrap();
    let options = PredictOptions {
        data: path("texts.csv"),
        out: Some(path("out.csv")),
        proba: true,
        ..Default::default()
    };
    let summary = classify(&path("model"), Some("text"), &options, &mut ()).unwrap();
    let mut model =
        EncoderModel::open(&path("model"), &Default::default(), &Default::default()).unwrap();
    let classes = model.config().label_names();
    assert_eq!((summary.rows, summary.columns.len()), (3, 1 + classes.len()));
    let table = feedforward::table::read_table(&path("out.csv"), &Default::default()).unwrap();
    for (row, ids) in
        [vec![2, 4, 5, 6, 3], vec![2, 7, 3], vec![2, 6, 6, 6, 6, 4, 3]].iter().enumerate()
    {
        let logits = model.logits(std::slice::from_ref(ids)).unwrap();
        let exps: Vec<f64> = logits.iter().map(|&z| f64::from(z).exp()).collect();
        let best = (0..exps.len()).max_by(|&a, &b| exps[a].total_cmp(&exps[b])).unwrap();
        let predicted = &table.column("prediction").unwrap().values;
        assert_eq!(predicted.text(row), classes[best]);
        for (class, e) in classes.iter().zip(&exps) {
            let column = table.column(&format!("probability_{class}")).unwrap();
            let p = column.values.number(row).unwrap();
            assert!((p - e / exps.iter().sum::<f64>()).abs() < 1e-6, "{class} {p}");
        }
    }
    let again = classify(&path("model"), Some("text"), &options, &mut ()).unwrap_err().to_string();
    assert!(again.contains("is there already"), "{again}");
    let options = PredictOptions { force: true, ..options };
    let vectors = classify(&fixture("bert"), Some("text"), &options, &mut ()).unwrap_err();
    assert!(vectors.to_string().contains("no classifier of texts"), "{vectors}");
}

#[test]
fn what_cannot_embed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let to = folder.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture("bert").join(file), to.join(file)).unwrap();
        }
        to
    };
    let device = Default::default();
    let error = |path: &Path, options: &EmbedOptions| {
        Embedder::open(path, &device, options).unwrap_err().to_string()
    };
    let bare = error(&copy("bare"), &Default::default());
    assert!(bare.contains("has no tokenizer (tokenizer.json, vocab.txt"), "{bare}");
    let larger = copy("larger");
    let mut vocab = std::fs::read_to_string(fixture("bert").join("vocab.txt")).unwrap();
    vocab += "another\n";
    std::fs::write(larger.join("vocab.txt"), vocab).unwrap();
    let larger = error(&larger, &Default::default());
    assert!(larger.contains("they are of different models"), "{larger}");
    let tokens = EmbedOptions { max_tokens: Some(41), ..Default::default() };
    assert!(error(&fixture("bert"), &tokens).contains("a text has 3 to 40 tokens"));
    let cls = EmbedOptions { pooling: Some(Pooling::Cls), ..Default::default() };
    assert!(error(&fixture("model2vec"), &cls).contains("no pooling but the mean"));
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language/llama");
    let decoder = error(&decoder, &cls);
    assert!(decoder.contains("has no tokenizer") || decoder.contains("is a decoder"), "{decoder}");
    let nothing = error(&folder.path().join("none"), &Default::default());
    assert!(nothing.contains("is not there"), "{nothing}");
}
