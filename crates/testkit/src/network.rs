//! The gradient check of whole networks.

use crate::CheckResult;
use crate::fill::sample;
use crate::gradient::{Numeric, STEP};
use ff_graph::{Graph, ParamId, Params, Result, Segment, Value};
use ff_tensor::{DType, Device};

/// The number of values checked in larger parameters.
const MOST: usize = 24;

/// Adding a gradient to itself is exact except for the order of sums.
const REORDERED: f64 = 1e-12;

/// Checks the gradient of a whole network: of a loss that `build` computes on a graph over
/// `params`.
///
/// `params` are in f64, at the point to check; `build` creates its inputs on [`Graph::device`],
/// once a planning device. The gradient of every trainable parameter is compared with central
/// differences (larger parameters at 24 values); every parameter must receive a gradient, a second
/// pass must double the gradients, and planned memory must equal used memory.
///
/// ```
/// use ff_graph::{Graph, ParamKind, ParamSpec, Params};
/// use ff_ops::{Activation, Feedforward};
/// use ff_tensor::{DType, Device, Tensor};
/// use ff_testkit::{WeightedSum, network_check};
/// let specs = vec![ParamSpec::new("weight", [1, 2], ParamKind::Weight)];
/// let mut params = Params::allocate(&Device::default(), DType::F64, specs, true)?;
/// let weight = params.id("weight").unwrap();
/// params.values_mut::<f64>(weight)?.copy_from_slice(&[0.5, -0.25]);
///
/// let result = network_check("one neuron", params, |graph: &mut Graph| {
///     let tensor = |graph: &Graph, v: &[f64], d: &[usize]| {
///         Tensor::from_slice(graph.device(), v, d).unwrap()
///     };
///     let x = graph.input(tensor(graph, &[1.0, 2.0], &[1, 2]));
///     let weight = graph.param(weight);
///     let y = graph.apply(&Feedforward::op(Activation::Tanh, false), &[&x, &weight])?;
///     let dy = tensor(graph, &[3.0], &[1, 1]);
///     WeightedSum::apply(graph, &[&y], vec![dy])
/// });
/// assert!(result.passed(), "{result}");
/// # Ok::<(), ff_graph::Error>(())
/// ```
pub fn network_check(
    name: &str,
    params: Params,
    mut build: impl FnMut(&mut Graph) -> Result<Value>,
) -> CheckResult {
    let mut result = CheckResult::new(name);
    if params.dtype() != DType::F64 {
        let message = format!("expected parameters of type f64, found {}", params.dtype());
        result.promise("gradient", message);
        return result;
    }
    if let Err(error) = check(params, &mut build, &mut result) {
        result.engine("gradient", error);
    }
    result
}

fn check(
    params: Params,
    build: &mut impl FnMut(&mut Graph) -> Result<Value>,
    result: &mut CheckResult,
) -> Result<()> {
    let specs: Vec<_> = params.infos().iter().map(|info| info.spec.clone()).collect();
    let device = Device::default();
    device.pool().set_poison(true);
    let mut graph = Graph::new(&device, params);
    // Statistics are recorded in each pass but never committed, so the network stays the same.
    let clear = |graph: &mut Graph| {
        graph.reset();
        graph.discard_state();
    };
    let pass = |graph: &mut Graph, build: &mut dyn FnMut(&mut Graph) -> Result<Value>| {
        clear(graph);
        let loss = build(graph)?;
        graph.backward(loss)
    };

    graph.params_mut().clear_gradients();
    pass(&mut graph, build)?;
    let untouched: Vec<&str> = graph.params().untouched().collect();
    if !untouched.is_empty() {
        let message = format!("no gradient reached {}", untouched.join(", "));
        result.promise("gradient", message);
    }
    let once = graph.params_mut().gradients::<f64>()?.to_vec();
    // The peak of a pass after the first, with all buffers in place, as in training.
    clear(&mut graph);
    device.pool().reset_peak();
    let before = device.pool().stats().live;
    pass(&mut graph, build)?;
    let measured = device.pool().stats().peak - before;
    let doubled: Vec<f64> = once.iter().map(|v| 2.0 * v).collect();
    let twice = graph.params_mut().gradients::<f64>()?;
    let dims = [twice.len()];
    result.compare("added gradient", "all parameters", &dims, (&doubled, twice), REORDERED);

    let largest = once.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let trainable: Vec<ParamId> = graph
        .params()
        .iter()
        .filter(|(_, info)| info.spec.segment == Segment::Trainable)
        .map(|(id, _)| id)
        .collect();
    for (i, id) in trainable.into_iter().enumerate() {
        let info = graph.params().info(id).clone();
        let analytic = &once[info.range()];
        let dims = info.spec.shape.dims();
        let tensor = format!("parameter `{}`", info.spec.name);
        let values = sample(&result.case, i, analytic.len(), MOST).into_iter().map(|k| {
            let x = graph.params().values::<f64>(id)?[k];
            let h = STEP * x.abs().max(1.0);
            let mut at = |value: f64| -> Result<f64> {
                graph.params_mut().values_mut::<f64>(id)?[k] = value;
                clear(&mut graph);
                build(&mut graph)?.item()
            };
            let (up, down) = (at(x + h)?, at(x - h)?);
            graph.params_mut().values_mut::<f64>(id)?[k] = x;
            let size = up.abs().max(down.abs());
            Ok((k, Numeric::of(up - down, size, (x + h) - (x - h)), analytic[k]))
        });
        result.derivatives(&tensor, dims, largest, values)?;
    }

    let plan = Device::planning();
    let params = Params::allocate(&plan, DType::F64, specs, true)?;
    let mut graph = Graph::new(&plan, params);
    let before = plan.pool().stats().live;
    pass(&mut graph, build)?;
    let planned = plan.pool().stats().peak - before;
    if planned != measured {
        let message = format!("planned {planned} bytes for a pass, measured {measured}");
        result.promise("planned memory", message);
    }
    Ok(())
}
