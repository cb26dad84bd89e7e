//! The adapters of experts' stacked matrices, which PEFT stores as those of one layer.

use super::AdapterFile;
use super::base::Base;
use super::names::PREFIX;
use super::parts::parameter;
use crate::error::{Error, Result};
use ff_graph::{ParamId, Params};

/// A stack's adapter: A `[experts, rank, in]` and B `[experts, out, rank]`, and the order of B's
/// rows in files.
pub(super) struct Stack {
    pub(super) a: ParamId,
    pub(super) b: ParamId,
    experts: usize,
    outputs: usize,
    rank: usize,
    inputs: usize,
    /// Whether outputs of gate and up alternate in files.
    alternating: bool,
}

impl Stack {
    pub(super) fn find(params: &Params, stack: &str, name: &str, base: Base<'_>) -> Result<Self> {
        let other = stack.replace(".mlp.", ".block_sparse_moe.");
        let id = |part: &str| {
            let id = |stack: &str| params.id(&parameter(stack, part, name, "weight"));
            id(stack).or_else(|| id(&other))
        };
        let (Some(a), Some(b)) = (id("lora_A"), id("lora_B")) else {
            return Err(Error::usage(format!("there is no adapter of {stack}")));
        };
        let dims = |id: ParamId| params.info(id).spec.shape.dims().to_vec();
        let (&[experts, rank, inputs], &[_, outputs, _]) = (&dims(a)[..], &dims(b)[..]) else {
            return Err(Error::usage(format!("the adapter of {stack} is none of a stack")));
        };
        let weight = params.id(&format!("{stack}.weight"));
        let is_weight = |param: usize| weight.is_some_and(|id| id.index() == param);
        let tensors = base.tensors(params);
        let alternating = tensors.iter().any(|t| is_weight(t.param) && t.alternating);
        Ok(Self { a, b, experts, outputs, rank, inputs, alternating })
    }

    /// The shapes of the tensors of A and B.
    pub(super) fn dims(&self) -> [[usize; 2]; 2] {
        let all = self.experts * self.rank;
        [[all, self.inputs], [self.outputs, all]]
    }

    /// The place in the tensor of B of the value of an expert, an output and a rank.
    fn place(&self, [expert, output, k]: [usize; 3]) -> usize {
        let half = self.outputs / 2;
        let row = if self.alternating { output % half * 2 + output / half } else { output };
        (row * self.rank + k) * self.experts + expert
    }

    /// Calls `f` with each place in our B and in the tensor's.
    pub(super) fn each(&self, mut f: impl FnMut(usize, usize)) {
        for expert in 0..self.experts {
            for output in 0..self.outputs {
                for k in 0..self.rank {
                    let ours = (expert * self.outputs + output) * self.rank + k;
                    f(ours, self.place([expert, output, k]));
                }
            }
        }
    }

    /// B in the order of files.
    pub(super) fn stored_b(&self, params: &Params) -> Result<Vec<f32>> {
        let b = params.values::<f32>(self.b)?;
        let mut stored = vec![0.0; b.len()];
        self.each(|ours, theirs| stored[theirs] = b[ours]);
        Ok(stored)
    }
}

/// Reads the adapter of a stack, whose tensors are those of a module.
pub(super) fn read_stack(
    file: &AdapterFile,
    params: &mut Params,
    (stack, name, module): (&str, &str, &str),
    base: Base<'_>,
) -> Result<()> {
    let place = Stack::find(params, stack, name, base)?;
    let [a_dims, b_dims] = place.dims();
    let a = file.values(&format!("{PREFIX}{module}.lora_A.weight"), &a_dims)?;
    let b = file.values(&format!("{PREFIX}{module}.lora_B.weight"), &b_dims)?;
    params.values_mut::<f32>(place.a)?.copy_from_slice(&a);
    let to = params.values_mut::<f32>(place.b)?;
    place.each(|ours, theirs| to[ours] = b[theirs]);
    Ok(())
}

/// W + s B A for each expert of a stack, in f64 and rounded once.
pub(super) fn merge_stack(
    params: &mut Params,
    (stack, name): (&str, &str),
    scale: f64,
    base: Base<'_>,
) -> Result<()> {
    let place = Stack::find(params, stack, name, base)?;
    let &Stack { experts, outputs, rank, inputs, .. } = &place;
    let (a, b) = (params.values::<f32>(place.a)?.to_vec(), params.values::<f32>(place.b)?.to_vec());
    let id = |params: &Params, matrix: &str| {
        let full = |stack: &str| params.id(&format!("{stack}.weight"));
        let stack = stack.replace("gate_up_proj", matrix);
        full(&stack).or_else(|| full(&stack.replace(".mlp.", ".block_sparse_moe.")))
    };
    // Gate and up are one parameter, or two of which each has half of the outputs.
    let parts: Vec<ParamId> = match id(params, "gate_up_proj") {
        Some(whole) => vec![whole],
        None => ["gate_proj", "up_proj"].iter().filter_map(|m| id(params, m)).collect(),
    };
    let rows = outputs / parts.len().max(1);
    for (part, id) in parts.into_iter().enumerate() {
        let weights = params.values_mut::<f32>(id)?.chunks_exact_mut(inputs).enumerate();
        for (row, weights) in weights {
            let (e, output) = (row / rows, part * rows + row % rows);
            let b = &b[(e * outputs + output) * rank..][..rank];
            for (i, w) in weights.iter_mut().enumerate() {
                let a = |k: usize| f64::from(a[(e * rank + k) * inputs + i]);
                let delta: f64 = b.iter().enumerate().map(|(k, &b)| f64::from(b) * a(k)).sum();
                *w = (f64::from(*w) + scale * delta) as f32;
            }
        }
    }
    debug_assert_eq!(experts * outputs * rank, b.len());
    Ok(())
}
