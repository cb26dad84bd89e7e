//! Stands in until the operation is there.
use crate::{Activation, Contract, Cx, Error, Kept, Op, Result, Slot, Spec};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;
/// Stand-in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureOfExperts {
    /// k
    pub top_k: usize,
    /// order
    pub softmax_first: bool,
    /// sum
    pub normalize: bool,
    /// f
    pub activation: Activation,
    /// bf16
    pub bf16: bool,
}
impl MixtureOfExperts {
    /// op
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}
impl Op for MixtureOfExperts {
    fn name(&self) -> &'static str {
        "mixture_of_experts"
    }
    fn contract(&self, _: &[Spec], _: &[bool]) -> Result<Contract> {
        Err(Error::shape("mixture_of_experts", "is not there yet"))
    }
    fn forward(&self, _: &Cx<'_>, _: &[TensorRef<'_>], _: &mut [TensorMut<'_>], _: &mut [TensorMut<'_>]) -> Result<()> {
        Ok(())
    }
    fn backward(&self, _: &Cx<'_>, _: &Kept<'_>, _: &mut [Option<TensorMut<'_>>], _: &mut [Slot<'_>]) -> Result<()> {
        Ok(())
    }
}
