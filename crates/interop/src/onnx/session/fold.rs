//! What never changes is computed once.

use super::{Attribute, Call, MEMORY, Plan, Pool, Run};
use crate::onnx::tensor::Tensor;
use ff_tensor::Device;
use std::sync::{Arc, OnceLock};

/// A result may be so many times as large as what it is made of; operators that make much of little
/// are left to the run.
const GROWTH: usize = 4;

/// Bytes that are always allowed.
const FREE: usize = 1 << 12;

/// Operators whose result can be much larger than their inputs, and those with graphs.
const LATER: [&str; 12] = [
    "ConstantOfShape",
    "Einsum",
    "Expand",
    "EyeLike",
    "If",
    "Loop",
    "OneHot",
    "Pad",
    "Range",
    "Resize",
    "Tile",
    "Upsample",
];

/// Evaluates the nodes whose inputs are constants, and marks what stays fixed in the others. A node
/// that fails is left to the run, whose error names it.
pub(super) fn fold(plan: &mut Plan, device: &Device, bytes: &mut usize) {
    let mut known = plan.fixed();
    let pool = Pool::default();
    let run = Run { device, memory: MEMORY, keeps_packed: false, pool: &pool };
    let mut kept = Vec::with_capacity(plan.nodes.len());
    for mut node in std::mem::take(&mut plan.nodes) {
        let inputs: Option<Vec<Option<Arc<Tensor>>>> = node
            .inputs
            .iter()
            .map(|slot| slot.map_or(Some(None), |slot| known.get(&slot).cloned().map(Some)))
            .collect();
        let graph = node.attributes.values().any(|a| matches!(a, Attribute::Graph(_)));
        if let Some(inputs) = inputs
            && !graph
            && !LATER.contains(&node.operator.name)
        {
            let sizes = inputs.iter().flatten().map(|x| x.data().bytes());
            let most = sizes.max().unwrap_or(0).saturating_mul(GROWTH).saturating_add(FREE);
            let constant = node.operator.name == "Constant";
            let found =
                (node.operator.run)(&Call { node: &node, inputs: &inputs, outer: &[], run: &run });
            if let Ok(found) = found {
                let size: usize = found.iter().map(|x| x.data().bytes()).sum();
                let all = found.len() >= node.outputs.len();
                if all && (constant || size <= most) && bytes.saturating_add(size) <= MEMORY {
                    *bytes += size;
                    for (slot, tensor) in node.outputs.iter().zip(found) {
                        if let Some(slot) = *slot {
                            let tensor = Arc::new(tensor);
                            known.insert(slot, tensor.clone());
                            plan.constants.push((slot, tensor));
                        }
                    }
                    continue;
                }
            }
        }
        let fixed = |slot: &Option<usize>| slot.is_some_and(|slot| known.contains_key(&slot));
        node.fixed = node.inputs.iter().map(|slot| (fixed(slot), OnceLock::default())).collect();
        kept.push(node);
    }
    plan.nodes = kept;
}
