//! Neighbouring nodes that are one operation: a bias after a product or a convolution, a
//! normalisation by stored statistics after a convolution.

use super::{Node, Plan, patterns};
use crate::onnx::data::Data;
use crate::onnx::ops::BIASED;
use crate::onnx::session::Attribute;
use crate::onnx::tensor::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Rewrites the nodes of a plan whose constants are folded, and keeps the constants that are read.
pub(super) fn fuse(plan: &mut Plan) {
    skip_identities(plan);
    let constants = plan.fixed();
    patterns::join(plan, &constants);
    let readers = plan.readers();
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

/// Reads values where they come from, instead of by way of nodes that pass them on.
fn skip_identities(plan: &mut Plan) {
    let mut origins: HashMap<usize, usize> = HashMap::new();
    let outputs = std::mem::take(&mut plan.outputs);
    plan.nodes.retain_mut(|node| {
        let origin = |slot: &mut usize| *slot = origins.get(slot).copied().unwrap_or(*slot);
        node.inputs.iter_mut().flatten().for_each(origin);
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                inner.captured.iter_mut().for_each(|(there, _)| origin(there));
            }
        }
        match (node.operator.name, &node.inputs[..], &node.outputs[..]) {
            ("Identity", &[Some(from)], &[Some(to)]) if !outputs.contains(&to) => {
                origins.insert(to, from);
                false
            }
            _ => true,
        }
    });
    plan.outputs = outputs;
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
