//! Feedforward networks that are recognised in graphs.
#![allow(clippy::unwrap_used)]

use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, GraphBuilder, Head, Model, Network, Tensor};

fn numbers(graph: &mut GraphBuilder, name: &str, dims: &[usize], values: &[f32]) -> String {
    graph.constant(name, &Tensor::new(dims, values.to_vec()).unwrap())
}

/// The message of a graph that is no network.
fn refused(model: &Model) -> String {
    Network::of(model).unwrap_err().to_string()
}

#[test]
fn what_is_linear_becomes_part_of_the_layers() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", DType::F32, &[None, Some(2)], "");
    let mean = numbers(&mut g, "centre", &[2], &[1.0, 2.0]);
    let std = numbers(&mut g, "std", &[1, 2], &[2.0, 4.0]);
    let w = numbers(&mut g, "w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = numbers(&mut g, "b", &[3], &[0.5, 0.25, 0.0]);
    let stats = [
        ("gamma", [1.0; 3]),
        ("beta", [1.0; 3]),
        ("mean", [2.0; 3]),
        ("variance", [1.0, 4.0, 16.0]),
    ];
    let stats = stats.map(|(name, values)| numbers(&mut g, name, &[3], &values));
    let v = numbers(&mut g, "v", &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let y = g.node("Sub", "centred", &[&x, &mean]);
    let y = g.node("Div", "scaled", &[&y, &std]);
    let y = g.node("MatMul", "product", &[&y, &w]);
    let y = g.node("Add", "linear", &[&b, &y]);
    let slope = [AttributeProto::float("alpha", 0.25)];
    let y = g.node_with("LeakyRelu", "hidden", &[&y], &slope);
    let epsilon = [AttributeProto::float("epsilon", 0.0)];
    let inputs = [&y, &stats[0], &stats[1], &stats[2], &stats[3]].map(String::as_str);
    let y = g.node_with("BatchNormalization", "norm", &inputs, &epsilon);
    let transposed = [AttributeProto::int("transB", 1), AttributeProto::float("alpha", 2.0)];
    let y = g.node_with("Gemm", "logits", &[&y, &v], &transposed);
    let y = g.node("Softmax", "p", &[&y]);
    g.output(&y, DType::F32, &[None, Some(2)]);
    let network = Network::of(&g.build()).unwrap();
    assert_eq!((network.head, network.output.as_str()), (Head::Softmax, "p"));
    assert_eq!(network.activation, Some(("leaky_relu", Some(0.25))));
    let [hidden, output] = &network.layers[..] else { panic!("{network:?}") };
    // w / std by row; b − mean · that.
    assert_eq!(hidden.weight, [0.5, 1.0, 1.0, 1.25, 1.5, 1.5]);
    assert_eq!(hidden.bias, [0.5 - 0.5 - 2.0, 0.25 - 1.0 - 2.5, -1.5 - 3.0]);
    // γ x / σ + β − μ γ / σ: factors 1, 1/2, 1/4 and summands -1, 0, 1/2; then twice V.
    assert_eq!(output.weight, [2.0, 0.0, 0.0, 0.0, 1.0, 0.5]);
    assert_eq!((output.inputs, &output.bias[..]), (3, &[-2.0, 1.0][..]));
}

#[test]
fn columns_that_are_joined_keep_their_names() {
    let mut g = GraphBuilder::new("net");
    let a = g.input("a", DType::F32, &[None, Some(1)], "");
    let b = g.input("b", DType::F32, &[None, Some(2)], "");
    let w = numbers(&mut g, "w", &[3, 1], &[1.0, 2.0, 3.0]);
    let row = g.node_with("Concat", "row", &[&b, &a], &[AttributeProto::int("axis", 1)]);
    let y = g.node("MatMul", "y", &[&row, &w]);
    g.output(&y, DType::F32, &[None, Some(1)]);
    let network = Network::of(&g.build()).unwrap();
    assert_eq!(network.columns, ["b_0", "b_1", "a"]);
    assert_eq!((network.head, network.activation), (Head::None, None));
}

#[test]
fn what_is_no_such_network_is_named() {
    let chain = |operators: &[&str]| {
        let mut g = GraphBuilder::new("net");
        let mut y = g.input("x", DType::F32, &[None, Some(2)], "");
        let w = numbers(&mut g, "w", &[2, 2], &[1.0; 4]);
        for operator in operators {
            y = match *operator {
                "MatMul" => g.node("MatMul", "product", &[&y, &w]),
                "Add" => g.node("Add", "residual", &[&y, &y]),
                name => g.node(name, "node", &[&y]),
            };
        }
        g.output(&y, DType::F32, &[None, Some(2)]);
        g.build()
    };
    for (operators, message) in [
        (&["Relu"][..], "an activation stands elsewhere"),
        (&[], "no linear layer"),
        (&["MatMul", "MatMul"], "without an activation"),
        (&["MatMul", "Relu"], "its output layer has the activation relu"),
        (&["MatMul", "Relu", "MatMul", "Tanh", "MatMul"], "different activations"),
        (&["MatMul", "Softmax", "MatMul"], "follows the softmax"),
        (&["MatMul", "Add"], "node Add `Add/residual`: it joins two computed values"),
        (&["MatMul", "Erf", "MatMul"], "node Erf `Erf/node`: it has no place"),
    ] {
        let found = refused(&chain(operators));
        assert!(found.contains(message), "{operators:?}: {found}");
    }
    // A node that takes its own output.
    let mut g = GraphBuilder::new("circle");
    g.input("x", DType::F32, &[None, Some(2)], "");
    let y = g.node("Identity", "y", &["y"]);
    g.output(&y, DType::F32, &[None, Some(2)]);
    assert!(refused(&g.build()).contains("nodes follow each other"));
}
