//! Texts taken apart as ONNX Runtime does.
#![allow(missing_docs, clippy::unwrap_used)]

use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Data, GraphBuilder, Session, Tensor};

/// The outcome of `Tokenizer` with these attributes on a column of texts.
fn tokens(
    texts: &[&str],
    attributes: &[AttributeProto],
) -> Result<(Vec<usize>, Vec<String>), String> {
    let mut graph = GraphBuilder::new("words");
    let x = graph.input("x", DType::Text, &[None, Some(1)], "texts");
    let y = graph.runtime_node("Tokenizer", "y", &[&x], attributes, (DType::Text, 3));
    graph.output(&y, DType::Text, &[None, Some(1), None]);
    let session = Session::new(graph.build()).map_err(|e| e.to_string())?;
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    let x = Tensor::new(&[texts.len(), 1], texts).unwrap();
    let outputs = session.run(vec![("x".into(), x)]).map_err(|e| e.to_string())?;
    let Data::Text(found) = outputs[0].1.data() else { panic!("texts are expected") };
    Ok((outputs[0].1.dims().to_vec(), found.clone()))
}

fn common() -> Vec<AttributeProto> {
    vec![
        AttributeProto::text("pad_value", "#"),
        AttributeProto::int("mark", 0),
        AttributeProto::int("mincharnum", 1),
    ]
}

#[test]
fn characters_and_matches_are_those_of_onnx_runtime() {
    // What ONNX Runtime 1.32 gives.
    let mut single = common();
    single.push(AttributeProto::texts("separators", vec![String::new()]));
    let (dims, found) = tokens(&["Ab é", "天"], &single).unwrap();
    assert_eq!((dims, found.join("|")), (vec![2, 1, 4], "A|b| |é|天|#|#|#".into()));
    let mut words = common();
    words.push(AttributeProto::text("tokenexp", r"[^\s\x{3000}]+"));
    let (dims, found) = tokens(&["Ab é\tC", "İS ΣΑΣ"], &words).unwrap();
    assert_eq!((dims, found.join("|")), (vec![2, 1, 3], "Ab|é|C|İS|ΣΑΣ|#".into()));
    assert_eq!(tokens(&["", " "], &words).unwrap(), (vec![2, 1, 0], Vec::new()));
    words[2] = AttributeProto::int("mincharnum", 2);
    assert_eq!(tokens(&["Ab é"], &words).unwrap().1, ["Ab"]);
    words[1] = AttributeProto::int("mark", 1);
    assert_eq!(tokens(&["Ab é"], &words).unwrap().1, ["\u{2}", "Ab", "\u{3}"]);
}

#[test]
fn what_is_not_understood_is_said() {
    let mut words = common();
    words.push(AttributeProto::text("tokenexp", "[a"));
    let error = tokens(&["a"], &words).unwrap_err();
    assert!(error.contains("Tokenizer") && error.contains("not understood"), "{error}");
    // A bound on what an expression may take.
    words[3] = AttributeProto::text("tokenexp", r"(?:\w{1000}){1000}");
    assert!(tokens(&["a"], &words).unwrap_err().contains("not understood"));
    words[3] = AttributeProto::texts("separators", vec![" ".into()]);
    assert!(tokens(&["a"], &words).unwrap_err().contains("separators"));
}
