//! Recomputed parts: the same bits in less memory.
#![allow(clippy::unwrap_used)]

use ff_graph::{
    Graph, Mode, Op, ParamId, ParamKind, ParamSpec, Params, Recompute, RecomputeAll, Result, Value,
    Values,
};
use ff_ops::{Activation, Add, BatchNorm, Dropout, Feedforward, LayerNorm, Statistics};
use ff_tensor::{DType, Device, Element, Key, Rng, Tensor};
use ff_testkit::{WeightedSum, network_check};
use std::sync::Arc;

const WIDTH: usize = 12;
const ROWS: usize = 40;
const BLOCKS: usize = 4;

fn specs() -> Vec<ParamSpec> {
    let mut specs = vec![ParamSpec::new("mean", [WIDTH], ParamKind::Statistic)];
    for block in 0..BLOCKS {
        let name = |what: &str| format!("blocks.{block}.{what}");
        specs.push(ParamSpec::new(name("weight"), [WIDTH, WIDTH], ParamKind::Weight));
        specs.push(ParamSpec::new(name("bias"), [WIDTH], ParamKind::Bias));
        specs.push(ParamSpec::new(name("norm"), [WIDTH], ParamKind::Gain));
        specs.push(ParamSpec::new(name("shift"), [WIDTH], ParamKind::Bias));
    }
    // Used by every block.
    specs.push(ParamSpec::new("shared", [WIDTH, WIDTH], ParamKind::Weight));
    specs
}

fn params<T: Element>(device: &Device, dtype: DType, of: fn(f64) -> T) -> Params {
    let mut params = Params::allocate(device, dtype, specs(), true).unwrap();
    if !device.pool().is_planning() {
        let mut rng = Rng::new(Key::new(3));
        params.flat_mut::<T>().unwrap().iter_mut().for_each(|v| *v = of(0.4 * rng.normal()));
    }
    params
}

fn tensor(device: &Device) -> Tensor {
    if device.pool().is_planning() {
        return Tensor::uninit(device, [ROWS, WIDTH].into(), DType::F64).unwrap();
    }
    let mut rng = Rng::new(Key::new(5));
    let values: Vec<f64> = (0..ROWS * WIDTH).map(|_| rng.normal()).collect();
    Tensor::from_slice(device, &values, &[ROWS, WIDTH]).unwrap()
}

/// x + dropout(tanh(norm(x) Wᵀ + b) Sᵀ), the dropped-out part followed by a batch norm whose mean
/// is recorded.
struct Block {
    ids: [ParamId; 6],
    norm: Arc<dyn Op>,
    layer: Arc<dyn Op>,
    last: Arc<dyn Op>,
    dropout: Arc<dyn Op>,
    batch: Arc<dyn Op>,
    add: Arc<dyn Op>,
}

impl Block {
    fn new(params: &Params, block: usize) -> Self {
        let own = ["weight", "bias", "norm", "shift"].map(|what| format!("blocks.{block}.{what}"));
        let id = |name: &str| params.id(name).unwrap();
        let [weight, bias, norm, shift] = own.map(|name| id(&name));
        Self {
            ids: [weight, bias, norm, shift, id("shared"), id("mean")],
            norm: LayerNorm::op(1e-5, true, true),
            layer: Feedforward::op(Activation::Tanh, true),
            last: Feedforward::op(Activation::Identity, false),
            dropout: Dropout::op(0.3, format!("blocks.{block}")),
            batch: BatchNorm::op(1e-5, false, Statistics::Batch),
            add: Add::op(),
        }
    }

    fn forward(&self, g: &mut Graph, x: &Value) -> Result<Value> {
        let [weight, bias, norm, shift, shared] = [0, 1, 2, 3, 4].map(|i| g.param(self.ids[i]));
        let z = g.apply(&self.norm, &[x, &norm, &shift])?;
        let h = g.apply(&self.layer, &[&z, &weight, &bias])?;
        let h = g.apply(&self.last, &[&h, &shared])?;
        let h = g.apply(&self.dropout, &[&h])?;
        let outputs = g.apply_all(&self.batch, &[&h])?;
        if g.training() {
            g.update_state(self.ids[5], &outputs[1], 0.5)?;
        }
        g.apply(&self.add, &[x, &outputs[0]])
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    Plain,
    Each,
    /// Pairs of blocks, each recomputed within another part.
    Nested,
}

fn parts(params: &Params, how: How) -> Vec<Recompute> {
    let blocks = (0..BLOCKS).map(|block| Arc::new(Block::new(params, block)));
    let each: Vec<Recompute> = blocks
        .map(|block| {
            Arc::new(move |g: &mut Graph, x: &[Value]| block.forward(g, &x[0])) as Recompute
        })
        .collect();
    if how != How::Nested {
        return each;
    }
    let pairs = each.chunks(2).map(|pair| {
        let pair = [Arc::clone(&pair[0]), Arc::clone(&pair[1])];
        Arc::new(move |g: &mut Graph, x: &[Value]| {
            let y = g.recompute(Arc::clone(&pair[0]), &[&x[0]])?;
            g.recompute(Arc::clone(&pair[1]), &[&y])
        }) as Recompute
    });
    pairs.collect()
}

fn forward(g: &mut Graph, parts: &[Recompute], how: How, x: Value) -> Result<Value> {
    let mut y = x;
    for part in parts {
        y = match how {
            How::Plain => part(g, &[y])?,
            _ => g.recompute(Arc::clone(part), &[&y])?,
        };
    }
    Ok(y)
}

/// y, dx, all gradients, the statistic, and the peak memory besides parameters.
fn run(how: How, device: &Device) -> (Vec<Vec<f64>>, usize) {
    let params = params(device, DType::F64, |v| v);
    let parts = parts(&params, how);
    let mut graph = Graph::new(device, params);
    graph.set_seed(9);
    graph.set_step(4, 1);
    let before = device.pool().stats().live;
    device.pool().reset_peak();
    let input = tensor(device);
    let x = graph.variable(input);
    let y = forward(&mut graph, &parts, how, x.clone()).unwrap();
    let values = y.slice::<f64>().map(<[f64]>::to_vec).unwrap_or_default();
    if how != How::Plain {
        graph.set_step(5, 0); // Numbers that must not be drawn.
    }
    graph.backward_from(y, Some(tensor(device))).unwrap();
    let peak = device.pool().stats().peak - before;
    if device.pool().is_planning() {
        return (vec![], peak);
    }
    graph.commit_state().unwrap();
    let dx = graph.grad(&x).unwrap().slice::<f64>().unwrap().to_vec();
    let gradients = graph.params_mut().gradients::<f64>().unwrap().to_vec();
    let state = graph.params().state::<f64>().unwrap().to_vec();
    (vec![values, dx, gradients, state], peak)
}

#[test]
fn the_same_bits_in_less_memory() {
    let bits = |values: &[Vec<f64>]| -> Vec<u64> {
        values.iter().flatten().map(|v| v.to_bits()).collect()
    };
    let (plain, memory) = run(How::Plain, &Device::default());
    assert!(plain.iter().all(|values| values.iter().any(|&v| v != 0.0)));
    for how in [How::Each, How::Nested] {
        let device = Device::default();
        device.pool().set_poison(true);
        let (found, less) = run(how, &device);
        assert!(bits(&found) == bits(&plain), "{how:?}");
        assert!(4 * less < 3 * memory, "{how:?}: {less} bytes, {memory} without");
        assert_eq!(run(how, &Device::planning()).1, less, "{how:?}");
    }
    assert_eq!(run(How::Plain, &Device::planning()).1, memory);
}

#[test]
fn gradients_of_a_network_of_recomputed_parts() {
    for how in [How::Each, How::Nested] {
        let device = Device::default();
        let parts = parts(&params(&device, DType::F64, |v| v), how);
        let result = network_check("recomputed parts", params(&device, DType::F64, |v| v), |g| {
            let x = g.input(tensor(g.device()));
            let y = forward(g, &parts, how, x)?;
            WeightedSum::apply(g, &[&y], vec![tensor(g.device())])
        });
        result.assert();
    }
}

#[test]
fn several_results_constants_and_what_passes_through() {
    let device = Device::default();
    let mut graph = Graph::new(&device, params(&device, DType::F64, |v| v));
    let tanh = Feedforward::op(Activation::Tanh, false);
    let id = graph.params().id("shared").unwrap();
    let part: RecomputeAll = Arc::new(move |g: &mut Graph, x: &[Value]| {
        let shared = g.param(id);
        let y = g.apply(&tanh, &[&x[0], &shared])?;
        Ok(Values::from_iter([y.clone(), x[0].clone(), y]))
    });
    let x = graph.variable(tensor(&device));
    let outputs = graph.recompute_all(Arc::clone(&part), &[&x]).unwrap();
    let sum = |graph: &mut Graph, outputs: &Values| {
        let a = graph.apply(&Add::op(), &[&outputs[0], &outputs[1]]).unwrap();
        graph.apply(&Add::op(), &[&a, &outputs[2]]).unwrap()
    };
    let y = sum(&mut graph, &outputs);
    drop(outputs);
    graph.backward_from(y, None).unwrap();
    let found = graph.grad(&x).unwrap().slice::<f64>().unwrap().to_vec();
    let gradients = graph.params_mut().gradients::<f64>().unwrap().to_vec();

    graph.reset();
    graph.params_mut().clear_gradients();
    let x = graph.variable(tensor(&device));
    let outputs = part(&mut graph, std::slice::from_ref(&x)).unwrap();
    let y = sum(&mut graph, &outputs);
    graph.backward_from(y, None).unwrap();
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-13);
    assert!(close(&found, graph.grad(&x).unwrap().slice::<f64>().unwrap()));
    assert!(close(&gradients, graph.params_mut().gradients::<f64>().unwrap()));
    assert!(found.iter().any(|&v| v != 1.0));
}

#[test]
fn without_gradients_it_is_a_call() {
    let device = Device::default();
    let mut graph = Graph::new(&device, params(&device, DType::F64, |v| v));
    let parts = parts(graph.params(), How::Each);
    graph.set_mode(Mode::Eval);
    let x = graph.variable(tensor(&device));
    let y = forward(&mut graph, &parts, How::Each, x).unwrap();
    assert!(!y.needs_grad() && graph.tally().kept == 0);
    // In training, only the inputs of the parts are kept.
    graph.set_mode(Mode::Train);
    let x = graph.variable(tensor(&device));
    let y = forward(&mut graph, &parts, How::Each, x).unwrap();
    assert!(y.needs_grad());
    let input = (ROWS * WIDTH * size_of::<f64>()) as u64;
    assert!((4 * input..4 * input + 4 * 4096).contains(&graph.tally().kept));
}

#[test]
fn what_fails_the_second_time_is_an_error_and_a_reset_helps() {
    let device = Device::default();
    let mut graph = Graph::new(&device, params(&device, DType::F64, |v| v));
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tanh = Feedforward::op(Activation::Tanh, false);
    let id = graph.params().id("shared").unwrap();
    let count = Arc::clone(&calls);
    let part: Recompute = Arc::new(move |g: &mut Graph, x: &[Value]| {
        let again = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        let weight = g.param(id);
        if again { Ok(x[0].clone()) } else { g.apply(&tanh, &[&x[0], &weight]) }
    });
    let x = graph.input(tensor(&device));
    let y = graph.recompute(part, &[&x]).unwrap();
    let error = graph.backward_from(y, None).unwrap_err().to_string();
    assert_eq!(
        error,
        "graph: a recomputed part's result was [40, 12], which needs a gradient, and the second \
         time [40, 12], which needs none"
    );
    graph.reset();
    let parts = parts(graph.params(), How::Each);
    let x = graph.variable(tensor(&device));
    let y = forward(&mut graph, &parts, How::Each, x).unwrap();
    graph.backward_from(y, None).unwrap();
}
