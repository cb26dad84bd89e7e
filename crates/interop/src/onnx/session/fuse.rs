//! Neighbouring nodes that are one operation: a bias after a product or a convolution, a
//! normalisation by stored statistics after a convolution.

use super::{Node, Plan};
use crate::onnx::data::Data;
use crate::onnx::ops::{self, BIASED};
use crate::onnx::session::Attribute;
use crate::onnx::tensor::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Rewrites the nodes of a plan whose constants are folded, and keeps the constants that are read.
pub(super) fn fuse(plan: &mut Plan) {
    let mut readers = plan.readers();
    let constants = plan.fixed();
    gelus(plan, &constants, &mut readers);
    let mut fuser = Fuser { constants, made: Vec::new(), next: plan.names.len() };
    // The node that makes each value that has one reader.
    let mut makers: HashMap<usize, usize> = HashMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(plan.nodes.len());
    for node in std::mem::take(&mut plan.nodes) {
        let maker =
            node.inputs.iter().enumerate().find_map(|(i, slot)| Some((i, *makers.get(&(*slot)?)?)));
        if let (Some((i, at)), [Some(output)]) = (maker, &node.outputs[..])
            && fuser.absorb(&mut kept[at], &node, i)
        {
            kept[at].outputs = vec![Some(*output)];
            if readers[*output] == 1 {
                makers.insert(*output, at);
            }
            continue;
        }
        if let [Some(output)] = node.outputs[..]
            && readers[output] == 1
        {
            makers.insert(output, kept.len());
        }
        kept.push(node);
    }
    plan.nodes = kept;
    for (name, tensor) in fuser.made {
        plan.constants.push((plan.names.len(), tensor));
        plan.names.push(name);
    }
    // What only folded and joined nodes read is no longer needed.
    let readers = plan.readers();
    plan.constants.retain(|(slot, _)| readers[*slot] > 0 || plan.inputs.contains(slot));
}

/// Finds x / 2 · (1 + erf(x / √2)) in its five nodes, whichever is multiplied first.
fn gelus(plan: &mut Plan, constants: &HashMap<usize, Arc<Tensor>>, readers: &mut [usize]) {
    let Some(gelu) = ops::find("", "Gelu") else { return };
    let single = |slot: Option<usize>| match constants.get(&slot?)?.data() {
        Data::F32(v) if v.len() == 1 => v.first().copied(),
        _ => None,
    };
    let near = |slot: Option<usize>, value: f32| {
        single(slot).is_some_and(|x| (x - value).abs() <= 1e-6 * value)
    };
    // The other input of a node that has a constant near a value.
    let beside = |node: &Node, value: f32| match node.inputs[..] {
        [a, b] if near(b, value) => a,
        [a, b] if near(a, value) => b,
        _ => None,
    };
    let mut next: HashMap<usize, usize> = HashMap::new();
    let mut maker: HashMap<usize, usize> = HashMap::new();
    for (i, node) in plan.nodes.iter().enumerate() {
        next.extend(node.inputs.iter().flatten().map(|&slot| (slot, i)));
        maker.extend(node.outputs.iter().flatten().map(|&slot| (slot, i)));
    }
    let nodes = &plan.nodes;
    // The one node that reads what another makes.
    let after = |i: usize, name: &str| {
        let &[Some(slot)] = &nodes[i].outputs[..] else { return None };
        let j = *next.get(&slot)?;
        (readers[slot] == 1 && nodes[j].operator.name == name).then_some((j, slot))
    };
    let with = |i: usize, x: usize, own: usize| matches!(nodes[i].inputs[..], [Some(a), Some(b)] if (a, b) == (x, own) || (b, a) == (x, own));
    let find = |erf: usize| -> Option<([usize; 4], usize, usize)> {
        let &[Some(scaled)] = &nodes[erf].inputs[..] else { return None };
        let first = *maker.get(&scaled)?;
        let x = match nodes[first].operator.name {
            "Div" if near(*nodes[first].inputs.get(1)?, std::f32::consts::SQRT_2) => {
                nodes[first].inputs[0]?
            }
            "Mul" => beside(&nodes[first], std::f32::consts::FRAC_1_SQRT_2)?,
            _ => return None,
        };
        let (add, _) = after(erf, "Add").filter(|_| readers[scaled] == 1)?;
        beside(&nodes[add], 1.0)?;
        let (one, from) = after(add, "Mul")?;
        let (two, between) = after(one, "Mul")?;
        let half_first = beside(&nodes[one], 0.5).is_some() && with(two, x, between);
        let half_last = with(one, x, from) && beside(&nodes[two], 0.5).is_some();
        (half_first || half_last).then_some(([first, erf, add, one], two, x))
    };
    let erfs = (0..nodes.len()).filter(|&i| nodes[i].operator.name == "Erf");
    let found: Vec<_> = erfs.filter_map(find).collect();
    let mut gone = vec![false; nodes.len()];
    for (parts, last, x) in found {
        for i in parts {
            gone[i] = true;
        }
        let node = &mut plan.nodes[last];
        node.operator = gelu;
        node.inputs = vec![Some(x)];
        node.fixed = vec![(false, OnceLock::default())];
        readers[x] -= 1;
    }
    let mut gone = gone.into_iter();
    plan.nodes.retain(|_| !gone.next().unwrap_or(false));
}

struct Fuser {
    constants: HashMap<usize, Arc<Tensor>>,
    /// New constants, whose slots follow those of the plan.
    made: Vec<(String, Arc<Tensor>)>,
    next: usize,
}

impl Fuser {
    fn constant(&self, slot: Option<usize>) -> Option<&Arc<Tensor>> {
        self.constants.get(&slot?)
    }

    fn make(&mut self, tensor: Tensor) -> usize {
        let slot = self.next;
        self.next += 1;
        let tensor = Arc::new(tensor);
        self.constants.insert(slot, tensor.clone());
        self.made.push((format!("fused {slot}"), tensor));
        slot
    }

    /// Takes what `node` does to its input `i`, which `maker` makes, into the maker.
    fn absorb(&mut self, maker: &mut Node, node: &Node, i: usize) -> bool {
        let done = match (maker.operator.name, node.operator.name) {
            (_, "Add") if node.inputs.len() != 2 => None,
            ("MatMul", "Add") if maker.inputs.len() == 2 => self.bias_of_product(maker, node, i),
            ("Conv", "Add") => self.bias_of_conv(maker, node, i),
            ("Conv", "BatchNormalization") if i == 0 => self.normalised(maker, node),
            _ => None,
        };
        done.is_some()
    }

    /// x W + b, with a matrix and a vector that never change.
    fn bias_of_product(&mut self, maker: &mut Node, node: &Node, i: usize) -> Option<()> {
        let weight = self.constant(maker.inputs[1])?;
        let &[_, n] = weight.dims() else { return None };
        let slot = *node.inputs.get(1 - i)?;
        let bias = self.constant(slot)?;
        let fits = bias.data().len() == n
            && bias.dims().last() == Some(&n)
            && matches!((weight.data(), bias.data()), (Data::F32(_), Data::F32(_)));
        // Ones before its dimension could give the result more dimensions.
        if !fits || bias.dims().len() > 1 {
            return None;
        }
        maker.operator = &BIASED;
        maker.inputs.push(slot);
        maker.fixed.push((true, OnceLock::default()));
        Some(())
    }

    /// The weights of a convolution and its bias, both of `f32`.
    fn of_conv(&self, maker: &Node) -> Option<(Arc<Tensor>, Vec<f32>)> {
        let weight = self.constant(*maker.inputs.get(1)?)?.clone();
        let channels = *weight.dims().first()?;
        let Data::F32(_) = weight.data() else { return None };
        let bias = match maker.inputs.get(2) {
            None | Some(None) => vec![0.0; channels],
            Some(slot) => match self.constant(*slot)?.data() {
                Data::F32(bias) if bias.len() == channels => bias.clone(),
                _ => return None,
            },
        };
        Some((weight, bias))
    }

    fn set_bias(&mut self, maker: &mut Node, bias: Vec<f32>) {
        let slot = self.make(Tensor::vector(bias));
        maker.inputs.resize(3, None);
        maker.inputs[2] = Some(slot);
        maker.fixed.resize_with(3, Default::default);
        maker.fixed[2] = (true, OnceLock::default());
    }

    fn bias_of_conv(&mut self, maker: &mut Node, node: &Node, i: usize) -> Option<()> {
        let (weight, mut bias) = self.of_conv(maker)?;
        let more = self.constant(*node.inputs.get(1 - i)?)?;
        let spatial = weight.dims().len().checked_sub(2)?;
        let dims = match more.dims() {
            [1, rest @ ..] if rest.len() == spatial + 1 => rest,
            dims => dims,
        };
        let Data::F32(values) = more.data() else { return None };
        let one = values.len() == 1 && more.dims().len() <= spatial + 2;
        let each =
            dims.len() == spatial + 1 && dims[0] == bias.len() && dims[1..].iter().all(|&d| d == 1);
        if !one && !each {
            return None;
        }
        for (k, b) in bias.iter_mut().enumerate() {
            *b += values[if one { 0 } else { k }];
        }
        self.set_bias(maker, bias);
        Some(())
    }

    fn normalised(&mut self, maker: &mut Node, node: &Node) -> Option<()> {
        let training = match node.attributes.get("training_mode") {
            Some(Attribute::Int(mode)) => *mode != 0,
            _ => false,
        };
        if training || node.opset < 7 {
            return None;
        }
        let eps = match node.attributes.get("epsilon") {
            None => 1e-5,
            Some(Attribute::Float(eps)) => f64::from(*eps),
            Some(_) => return None,
        };
        let (weight, mut bias) = self.of_conv(maker)?;
        let part = |i: usize| match self.constant(*node.inputs.get(i)?)?.data() {
            Data::F32(v) if v.len() == bias.len() => Some(v.clone()),
            _ => None,
        };
        let (scale, shift, mean, var) = (part(1)?, part(2)?, part(3)?, part(4)?);
        let Data::F32(values) = weight.data() else { return None };
        let mut values = values.clone();
        let each = values.len() / bias.len().max(1);
        for k in 0..bias.len() {
            let slope = f64::from(scale[k]) / (f64::from(var[k]) + eps).sqrt();
            for w in &mut values[k * each..(k + 1) * each] {
                *w = (f64::from(*w) * slope) as f32;
            }
            let b = f64::from(bias[k]) - f64::from(mean[k]);
            bias[k] = (b * slope + f64::from(shift[k])) as f32;
        }
        let slot = self.make(Tensor::of(weight.dims(), values.into()).ok()?);
        maker.inputs[1] = Some(slot);
        maker.fixed[1] = (true, OnceLock::default());
        self.set_bias(maker, bias);
        Some(())
    }
}
