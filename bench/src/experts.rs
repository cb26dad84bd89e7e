//! A mixture of experts, and the dense gated block with as many operations per row, forward and
//! backward, with gradients added to those in the arena.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Error, Work};
use ff_graph::{Graph, Op, ParamId, ParamKind, ParamSpec, Params, Value};
use ff_ops::{Activation, FeedforwardBlock, MixtureOfExperts};
use ff_tensor::{DType, Device, Tensor};
use std::sync::Arc;

const TOKENS: usize = 1024;
const WIDTH: usize = 384;
const EXPERTS: usize = 8;
const TOP_K: usize = 2;
/// The width of one expert; the dense block is twice as wide.
const HIDDEN: usize = 512;

pub(crate) fn works() -> Vec<Work> {
    let work = |name: &str, dense: bool, bf16: bool| Work {
        name: format!("experts-{}/{name}", if bf16 { "bf16" } else { "f32" }),
        arithmetic: if bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 },
        flops: (3 * 2 * 3 * TOKENS * WIDTH * TOP_K * HIDDEN) as f64,
        run: Box::new(move |device, clock| run(device, clock, dense, bf16)),
    };
    vec![
        work("dense", true, false),
        work("8-choose-2", false, false),
        work("dense", true, true),
        work("8-choose-2", false, true),
    ]
}

fn run(device: &Device, clock: &mut Clock, dense: bool, bf16: bool) -> Result<(), Error> {
    let weight = |name: &str, dims: &[usize]| -> Result<ParamSpec, Error> {
        Ok(ParamSpec::new(name, ff_tensor::Shape::new(dims)?, ParamKind::Weight))
    };
    let (op, specs): (Arc<dyn Op>, _) = if dense {
        let op = FeedforwardBlock {
            activation: Activation::Silu,
            gated: true,
            bf16,
            ..Default::default()
        };
        let (up, down) = ([TOP_K * HIDDEN, WIDTH], [WIDTH, TOP_K * HIDDEN]);
        (op.op(), vec![weight("gate", &up)?, weight("up", &up)?, weight("down", &down)?])
    } else {
        let op = MixtureOfExperts { top_k: TOP_K, bf16, ..Default::default() };
        let (up, down) = ([EXPERTS, HIDDEN, WIDTH], [EXPERTS, WIDTH, HIDDEN]);
        let router = weight("router", &[EXPERTS, WIDTH])?;
        let specs = vec![router, weight("gate", &up)?, weight("up", &up)?, weight("down", &down)?];
        (op.op(), specs)
    };
    let mut params = Params::allocate(device, DType::F32, specs, true)?;
    let values = normal(params.len(), 1);
    for (to, from) in params.flat_mut::<f32>()?.iter_mut().zip(values) {
        *to = 0.02 * from;
    }
    let ids: Vec<ParamId> = params.iter().map(|(id, _)| id).collect();
    let mut graph = Graph::new(device, params);
    let x = Tensor::from_slice(device, &normal(TOKENS * WIDTH, 2), &[TOKENS, WIDTH])?;
    while clock.go_on() {
        graph.reset();
        let x = graph.variable(x.clone());
        let weights = [0, 1, 2, 3].map(|i| ids.get(i).map(|&id| graph.param(id)));
        let mut inputs: [&Value; 5] = [&x; 5];
        for (input, weight) in inputs[1..].iter_mut().zip(weights.iter().flatten()) {
            *input = weight;
        }
        let mut outputs = graph.apply_all(&op, &inputs[..=ids.len()])?;
        outputs.truncate(1);
        graph.backward_from(outputs.remove(0), None)?;
    }
    Ok(())
}
