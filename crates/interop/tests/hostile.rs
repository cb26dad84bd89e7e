//! Files that lie, and graphs that are none: an error that says what and where, no panic.
#![allow(clippy::unwrap_used)]

use ff_interop::onnx::proto::{
    AttributeProto, Entry, GraphProto, ModelProto, NodeProto, OperatorSetId, TensorProto, ValueInfo,
};
use ff_interop::onnx::{DType, Data, Error, GraphBuilder, Model, Session, Tensor};
use prost::Message;

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: format!("the {operator}"),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn port(name: &str) -> ValueInfo {
    ValueInfo { name: name.into(), ..ValueInfo::default() }
}

/// A graph from x to y.
fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        node: nodes,
        input: vec![port("x")],
        output: vec![port("y")],
        ..GraphProto::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset_import = vec![OperatorSetId { domain: String::new(), version: 20 }];
    ModelProto { ir_version: 10, graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn session(proto: &ModelProto) -> Result<Session, Error> {
    Session::new(Model::from_bytes(&proto.encode_to_vec())?)
}

#[track_caller]
fn refused(proto: &ModelProto, parts: &[&str]) {
    let message = session(proto).unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn unknown_operators_attributes_and_versions_are_named_with_their_node() {
    refused(
        &model(graph(vec![node("Conjure", &["x"], "y")])),
        &["`the Conjure`", "operator Conjure"],
    );
    let mut relu = node("Relu", &["x"], "y");
    relu.attribute.push(AttributeProto::int("magic", 1));
    refused(&model(graph(vec![relu])), &["`the Relu`", "`magic`"]);
    let mut old = model(graph(vec![node("Relu", &["x"], "y")]));
    old.opset_import[0].version = 3;
    refused(&old, &["version 3"]);
    let mut foreign = node("Relu", &["x"], "y");
    foreign.domain = "com.example".into();
    refused(&model(graph(vec![foreign])), &["com.example"]);
}

#[test]
fn a_letter_stands_once_in_the_output_of_a_sum() {
    let mut sum = node("Einsum", &["x"], "y");
    sum.attribute.push(AttributeProto::text("equation", "ij->jj"));
    let session = session(&model(graph(vec![sum]))).unwrap();
    let x = Tensor::new(&[2, 3], Data::F32(vec![1.0; 6])).unwrap();
    let error = session.run(vec![("x".into(), x)]).unwrap_err().to_string();
    assert!(
        error.contains("`the Einsum`") && error.contains("`j` is in the output twice"),
        "{error}"
    );
}

#[test]
fn cycles_and_missing_values_are_named() {
    let cycle =
        vec![node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["b"], "y")];
    refused(&model(graph(cycle)), &["`the Add`", "`b`", "cycle"]);
    refused(&model(graph(vec![node("Relu", &["x"], "z")])), &["nothing computes the output `y`"]);
    let twice = vec![node("Relu", &["x"], "y"), node("Neg", &["x"], "y")];
    refused(&model(graph(twice)), &["`the Neg`", "`y` is defined before"]);
}

#[test]
fn bytes_that_lie_are_errors() {
    for bytes in [&b""[..], b"\x08", b"\x3a\xff\xff\xff\xff\x7f", b"plain text", &[0xff; 64]] {
        assert!(Model::from_bytes(bytes).is_err(), "{bytes:?}");
    }
    // Graphs in attributes of graphs, without end.
    let mut inner = graph(vec![]);
    for _ in 0..200 {
        let mut outer = node("If", &["x"], "y");
        let g = Some(Box::new(inner));
        outer.attribute.push(AttributeProto {
            name: "then_branch".into(),
            g,
            r#type: 5,
            ..Default::default()
        });
        inner = graph(vec![outer]);
    }
    assert!(session(&model(inner)).is_err());
    // Five million empty nodes take ten million bytes.
    let nodes = [0x0a, 0x00].repeat(5_000_000);
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
    bytes.extend(nodes);
    let message = Model::from_bytes(&bytes).unwrap_err().to_string();
    assert!(message.contains("parts"), "{message}");
}

#[test]
fn tensors_that_lie_are_errors() {
    let stored = |tensor: TensorProto| {
        let mut proto = model(graph(vec![node("Add", &["x", "w"], "y")]));
        proto.graph.as_mut().unwrap().initializer.push(TensorProto {
            name: "w".into(),
            data_type: 1,
            ..tensor
        });
        proto
    };
    refused(
        &stored(TensorProto { dims: vec![3], raw_data: Some(vec![0; 8]), ..Default::default() }),
        &["`w`"],
    );
    refused(&stored(TensorProto { dims: vec![-1], ..Default::default() }), &["`w`", "no shape"]);
    refused(
        &stored(TensorProto { dims: vec![1 << 40, 1 << 40], ..Default::default() }),
        &["`w`", "elements"],
    );
    refused(
        &stored(TensorProto { dims: vec![0, 1 << 40], ..Default::default() }),
        &["`w`", "elements"],
    );
    let mut float8 = stored(TensorProto { dims: vec![1], ..Default::default() });
    float8.graph.as_mut().unwrap().initializer[0].data_type = 17;
    refused(&float8, &["`w`", "type 17"]);
}

#[test]
fn external_data_stays_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("models");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("secret"), [0; 16]).unwrap();
    std::fs::write(inside.join("weights"), 1.5f32.to_le_bytes().repeat(2)).unwrap();
    let open = |location: &str, length: &str| {
        let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
        let mut proto = model(graph(vec![node("Add", &["x", "w"], "y")]));
        proto.graph.as_mut().unwrap().initializer.push(TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: 1,
            data_location: 1,
            external_data: vec![entry("location", location), entry("length", length)],
            ..Default::default()
        });
        let path = inside.join("m.onnx");
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        Session::new(Model::open(&path).unwrap())
    };
    let x = Tensor::new(&[2], vec![1.0f32, 2.0]).unwrap();
    let y = open("weights", "8").unwrap().run(vec![("x".into(), x)]).unwrap();
    assert_eq!(y[0].1, Tensor::new(&[2], vec![2.5f32, 3.5]).unwrap());
    for location in ["../secret", "/etc/passwd", "a/../../secret", ""] {
        let message = open(location, "8").unwrap_err().to_string();
        assert!(message.contains("outside"), "{message}");
    }
    assert!(open("weights", "80").unwrap_err().to_string().contains("needs 8"));
    assert!(open("lacking", "8").is_err());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret"), inside.join("link")).unwrap();
        let message = open("link", "8").unwrap_err().to_string();
        assert!(message.contains("outside"), "{message}");
    }
}

#[test]
fn inputs_and_memory_are_checked() {
    let mut builder = GraphBuilder::new("big");
    let x = builder.input("x", DType::F32, &[None, Some(1)], "");
    let wide =
        builder.constant("wide", &Tensor::new(&[1, 1 << 16], vec![1.0f32; 1 << 16]).unwrap());
    let y = builder.node("Mul", "y", &[&x, &wide]);
    builder.output(&y, DType::F32, &[None, None]);
    let session = Session::new(builder.build()).unwrap().with_memory(1 << 20);
    let run =
        |tensor: Tensor| session.run(vec![("x".into(), tensor)]).map(drop).unwrap_err().to_string();
    let message = run(Tensor::new(&[8, 1], vec![1.0f32; 8]).unwrap());
    assert!(message.contains("`Mul/y`") && message.contains("bytes"), "{message}");
    let message = run(Tensor::new(&[1 << 14, 1], vec![1.0f32; 1 << 14]).unwrap());
    assert!(message.contains("elements"), "{message}");
    let message = run(Tensor::new(&[8], vec![1.0f32; 8]).unwrap());
    assert!(message.contains("input `x` should be float [?, 1]"), "{message}");
    let message = run(Tensor::new(&[1, 1], vec![1i64]).unwrap());
    assert!(message.contains("found int64"), "{message}");
    assert!(session.run(vec![]).unwrap_err().to_string().contains("missing"));
}

/// What a graph of one node from x and other inputs says of them.
#[track_caller]
fn fails(operator: &str, inputs: &[(&str, Tensor)], part: &str) {
    let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
    let mut graph = graph(vec![node(operator, &names, "y")]);
    graph.input = names.iter().map(|name| port(name)).collect();
    let given = inputs.iter().map(|(name, x)| ((*name).to_owned(), x.clone())).collect();
    let message = session(&model(graph)).unwrap().run(given).unwrap_err().to_string();
    assert!(message.contains(part), "{message}");
}

#[test]
fn windows_cells_and_images_without_elements_are_errors() {
    let zeros = |dims: &[usize]| Tensor::new(dims, vec![0.0f32; dims.iter().product()]).unwrap();
    let (x, w) = (zeros(&[1, 2, 5]), zeros(&[2, 1, 0]));
    fails("Conv", &[("x", x), ("w", w)], "no elements");
    let state = [("x", zeros(&[2, 1, 3])), ("w", zeros(&[1, 0, 3])), ("r", zeros(&[1, 0, 0]))];
    for cell in ["GRU", "LSTM", "RNN"] {
        fails(cell, &state, "no hidden units");
    }
    let scales = Tensor::new(&[2], vec![2.0f32, 1e9]).unwrap();
    let none = zeros(&[0]);
    fails("Resize", &[("x", zeros(&[3, 3])), ("roi", none), ("scales", scales)], "scale");
}

#[test]
fn a_sum_of_three_after_a_product_is_no_bias() {
    let mut graph =
        graph(vec![node("MatMul", &["x", "w"], "z"), node("Add", &["w", "w", "z"], "y")]);
    let w = Tensor::new(&[2, 2], vec![1.0f32; 4]).unwrap();
    graph.initializer.push(TensorProto {
        name: "w".into(),
        dims: vec![2, 2],
        data_type: 1,
        float_data: vec![1.0; 4],
        ..TensorProto::default()
    });
    let outputs = session(&model(graph)).unwrap().run(vec![("x".into(), w)]);
    assert!(outputs.is_err() || outputs.unwrap()[0].1.dims() == [2, 2]);
}

#[test]
fn a_dimension_is_named_once() {
    let zeros = Tensor::new(&[3, 4], vec![0.0f32; 12]).unwrap();
    let list = |values: &[i64]| Tensor::new(&[values.len()], values.to_vec()).unwrap();
    let inputs = [
        ("x", zeros.clone()),
        ("starts", list(&[-1, -1])),
        ("ends", list(&[-9, -9])),
        ("axes", list(&[1, -1])),
        ("steps", list(&[-1, -1])),
    ];
    fails("Slice", &inputs, "dimension 1 twice");
    let mut resize = node("Resize", &["x", "none", "scales"], "y");
    resize.attribute.push(AttributeProto::list("axes", &[1, -1]));
    let mut resized = graph(vec![resize]);
    resized.input.extend([port("none"), port("scales")]);
    let floats = |values: &[f32]| Tensor::new(&[values.len()], values.to_vec()).unwrap();
    let given = [("x", zeros.clone()), ("none", floats(&[])), ("scales", floats(&[2.0, 2.0]))];
    let given = given.map(|(name, x)| (name.to_owned(), x)).into();
    let error = session(&model(resized)).unwrap().run(given).unwrap_err().to_string();
    assert!(error.contains("dimension 1 twice"), "{error}");
    let mut sum = graph(vec![node("ReduceLogSum", &["x", "axes"], "y")]);
    sum.input.push(port("axes"));
    let given = vec![("x".into(), zeros), ("axes".into(), list(&[1, -1, 1]))];
    let outputs = session(&model(sum)).unwrap().run(given).unwrap();
    assert_eq!(outputs[0].1.dims(), [3, 1]);
}
