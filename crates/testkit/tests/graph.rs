//! The promises of the tape.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, ParamKind, ParamSpec, Params};
use ff_ops::{Activation, Feedforward};
use ff_tensor::{DType, Device, Tensor};

/// A tape over a weight in use, an empty one, and an unused one.
fn graph() -> Graph {
    let specs = vec![
        ParamSpec::new("unused", [3], ParamKind::Bias),
        ParamSpec::new("empty", [0, 2], ParamKind::Weight),
        ParamSpec::new("square", [2, 2], ParamKind::Weight),
        ParamSpec::new("unused_too", [1], ParamKind::Bias),
    ];
    let mut params = Params::allocate(&Device::default(), DType::F64, specs, true).unwrap();
    let id = params.id("square").unwrap();
    params.values_mut::<f64>(id).unwrap().copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
    Graph::new(&Device::default(), params)
}

#[test]
fn a_parameter_twice_in_a_node_leaves_the_others_untouched() {
    let mut graph = graph();
    let id = graph.params().id("square").unwrap();
    graph.params_mut().clear_gradients();
    let w = graph.param(id);
    let y = graph.apply(&Feedforward::op(Activation::Identity, false), &[&w, &w]).unwrap();
    let ones = Tensor::from_slice(graph.device(), &[1.0f64; 4], &[2, 2]).unwrap();
    graph.backward_from(y, Some(ones)).unwrap();
    let untouched: Vec<&str> = graph.params().untouched().collect();
    assert_eq!(untouched, ["unused", "empty", "unused_too"]);
    // y = w wᵀ with dy = 1: dw = (dy + dyᵀ) w = twice the column sums of w, in each row.
    let expected = [0.0, 0.0, 0.0, 8.0, 12.0, 8.0, 12.0, 0.0];
    assert_eq!(graph.params_mut().gradients::<f64>().unwrap(), expected);
}

#[test]
fn an_empty_parameter_lies_beside_the_next_one() {
    for swap in [false, true] {
        let mut graph = graph();
        let ids = ["square", "empty"].map(|name| graph.params().id(name).unwrap());
        let [square, empty] = ids.map(|id| graph.param(id));
        let inputs = if swap { [&square, &empty] } else { [&empty, &square] };
        let op = Feedforward::op(Activation::Identity, false);
        let y = graph.apply(&op, &inputs).unwrap();
        assert!(y.shape().is_empty());
        graph.backward_from(y, None).unwrap();
        assert_eq!(graph.params_mut().gradients::<f64>().unwrap(), [0.0; 8]);
    }
}
