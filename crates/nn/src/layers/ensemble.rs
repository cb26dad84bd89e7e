use super::{Layer, Program, Slot};
use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Activation, MemberMean};
use std::sync::Arc;

/// The feedforward layer of a batch ensemble, with the parameters `weight` `[out, in]`, `r`
/// `[members, in]`, `s` `[members, out]` and `bias` `[members, out]`.
///
/// # Shapes
/// `[N, members, in]`, or `[N, in]` for all members `→ [N, members, out]`
///
/// ```
/// use ff_nn::{Builder, Init, layers::BatchEnsemble};
/// use ff_ops::Activation;
/// let mut builder = Builder::new();
/// let init = Init::for_activation(Activation::Relu);
/// let ones = Init::Constant(1.0);
/// BatchEnsemble::new(&mut builder, [8, 4, 3], Activation::Relu, init, ones);
/// assert_eq!(builder.plan()?.len(), 4 * 3 + 8 * (4 + 3 + 3));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchEnsemble {
    op: Arc<dyn Op>,
    params: [ParamId; 4],
    members: usize,
    output: usize,
}

impl BatchEnsemble {
    /// A layer of so many members, features in and features out; s starts at 1, r as stated.
    pub fn new(
        builder: &mut Builder,
        [members, input, output]: [usize; 3],
        activation: Activation,
        init: Init,
        r: Init,
    ) -> Self {
        let params = [
            builder.param("weight", [output, input], ParamKind::Weight, init),
            builder.param("r", [members, input], ParamKind::Gain, r),
            builder.param("s", [members, output], ParamKind::Gain, Init::Constant(1.0)),
            builder.param("bias", [members, output], ParamKind::Bias, Init::Zeros),
        ];
        Self { op: ff_ops::BatchEnsemble::op(activation), params, members, output }
    }
}

impl Layer for BatchEnsemble {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let [weight, r, s, b] = self.params.map(|id| graph.param(id));
        graph.apply(&self.op, &[&x, &weight, &r, &s, &b])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.members(x, &self.op, &self.params, self.members, self.output)
    }
}

/// A linear layer for each member, with the parameters `weight` `[members, out, in]` and `bias`
/// `[members, out]`.
///
/// # Shapes
/// `[N, members, in]`, or `[N, in]` for all members `→ [N, members, out]`
///
/// ```
/// use ff_nn::{Builder, Init, layers::MemberLinear};
/// let mut builder = Builder::new();
/// MemberLinear::new(&mut builder, [8, 4, 3], Init::Zeros);
/// assert_eq!(builder.plan()?.len(), 8 * (4 * 3 + 3));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct MemberLinear {
    op: Arc<dyn Op>,
    params: [ParamId; 2],
    members: usize,
    output: usize,
}

impl MemberLinear {
    /// A layer of so many members, features in and features out.
    pub fn new(builder: &mut Builder, [members, input, output]: [usize; 3], init: Init) -> Self {
        let params = [
            builder.param("weight", [members, output, input], ParamKind::Weight, init),
            builder.param("bias", [members, output], ParamKind::Bias, Init::Zeros),
        ];
        Self { op: ff_ops::MemberLinear::op(), params, members, output }
    }
}

impl Layer for MemberLinear {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let [weight, bias] = self.params.map(|id| graph.param(id));
        graph.apply(&self.op, &[&x, &weight, &bias])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.members(x, &self.op, &self.params, self.members, self.output)
    }
}

/// The mean over members, in evaluation; the members' own outputs in training.
///
/// # Shapes
/// `[N, members, C] → [N, C]`, in training `[N, members, C]`
///
/// ```
/// let layer = ff_nn::layers::MeanOfMembers::new(ff_ops::MemberMean::Values);
/// assert!(format!("{layer:?}").contains("Values"));
/// ```
#[derive(Debug)]
pub struct MeanOfMembers {
    op: Arc<dyn Op>,
}

impl MeanOfMembers {
    /// The mean of values or of probabilities.
    pub fn new(mean: MemberMean) -> Self {
        Self { op: ff_ops::MeanOfMembers::op(mean) }
    }
}

impl Layer for MeanOfMembers {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        if graph.training() { Ok(x) } else { graph.apply(&self.op, &[&x]) }
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        Ok(program.mean_of_members(x, &self.op))
    }
}
