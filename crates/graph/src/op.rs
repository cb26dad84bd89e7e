use crate::graph::{NodeInput, NodeOutput};
use crate::params::ParamValues;
use crate::{Error, Result};
use ff_tensor::{CpuDevice, DType, Device, Element, Key, Shape, Tensor, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::fmt;

/// The number of inputs held inline: an operation with more of them allocates when it runs.
pub const MAX_INPUTS: usize = 8;
/// The same of outputs.
pub(crate) const OUTPUTS: usize = 3;

/// A few shapes with their types, held inline.
pub type Specs = SmallVec<[Spec; OUTPUTS]>;

/// What a value looks like: its shape and type.
///
/// ```
/// use ff_graph::Spec;
/// use ff_tensor::DType;
/// let x = Spec::new([64, 10], DType::F32);
/// assert_eq!((x.shape.rows(), x.bytes()), (64, 2560));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The sizes of the dimensions.
    pub shape: Shape,
    /// The type of the values.
    pub dtype: DType,
}

impl Spec {
    /// A shape and a type.
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Self {
        Self { shape: shape.into(), dtype }
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.len() * self.dtype.bytes()
    }

    /// The same type in another shape.
    #[must_use]
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: self.dtype }
    }
}

/// What an operation promises for inputs of given shapes: one declaration that drives shape checks, allocation, the
/// memory plan and the count of arithmetic.
///
/// ```
/// use ff_graph::{Contract, Spec};
/// use ff_tensor::DType;
/// let y = Spec::new([2, 3], DType::F32);
/// let contract = Contract::new([y]).keep_output(0).cost(6, 12);
/// assert_eq!(contract.outputs[0], y);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contract {
    /// What comes out.
    pub outputs: Specs,
    /// What forward writes for backward beside inputs and outputs.
    pub saved: Specs,
    /// Floating-point operations of the forward pass.
    pub flops: u64,
    /// Floating-point operations of the backward pass, for the gradients that are needed.
    pub dflops: u64,
    pub(crate) scratch: Scratch,
    pub(crate) dscratch: Scratch,
    pub(crate) keep_inputs: u32,
    pub(crate) keep_outputs: u32,
    pub(crate) constant_outputs: u32,
}

impl Contract {
    /// These outputs, nothing kept.
    pub fn new(outputs: impl IntoIterator<Item = Spec>) -> Self {
        Self { outputs: outputs.into_iter().collect(), ..Self::default() }
    }

    /// Backward reads input `i`. Parameters can always be read and take no memory.
    #[must_use]
    pub fn keep_input(mut self, i: usize) -> Self {
        self.keep_inputs |= 1 << i;
        self
    }

    /// Backward reads output `i`.
    #[must_use]
    pub fn keep_output(mut self, i: usize) -> Self {
        self.keep_outputs |= 1 << i;
        self
    }

    /// Backward reads something that forward writes beside its outputs.
    #[must_use]
    pub fn save(mut self, spec: Spec) -> Self {
        self.saved.push(spec);
        self
    }

    /// What forward takes from the device's pool while it runs, beside outputs and saved values: at most eight tensors.
    #[must_use]
    pub fn scratch(mut self, spec: Spec) -> Self {
        add_scratch(&mut self.scratch, &spec);
        self
    }

    /// What backward takes from the device's pool while it runs: at most eight tensors.
    #[must_use]
    pub fn dscratch(mut self, spec: Spec) -> Self {
        add_scratch(&mut self.dscratch, &spec);
        self
    }

    /// The bytes of each tensor of scratch memory, those of forward first.
    pub fn scratch_bytes(&self) -> impl Iterator<Item = usize> {
        self.scratch.iter().chain(&self.dscratch).flatten().copied()
    }

    /// No gradient flows back from output `i`: a count, a statistic.
    #[must_use]
    pub fn constant_output(mut self, i: usize) -> Self {
        self.constant_outputs |= 1 << i;
        self
    }

    /// Floating-point operations of forward and backward.
    #[must_use]
    pub fn cost(mut self, flops: usize, dflops: usize) -> Self {
        self.flops = flops as u64;
        self.dflops = dflops as u64;
        self
    }
}

/// The bytes of up to eight tensors.
pub(crate) type Scratch = [Option<usize>; 8];

fn add_scratch(scratch: &mut Scratch, spec: &Spec) {
    let free = scratch.iter_mut().find(|bytes| bytes.is_none());
    debug_assert!(free.is_some(), "eight tensors of scratch at most");
    if let Some(place) = free {
        *place = Some(spec.bytes());
    }
}

/// Where and in which mode an operation runs.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// The device.
    pub device: &'a Device,
    /// Whether this is training: dropout drops, batch norm uses the batch.
    pub training: bool,
    /// The key of (seed, step, micro-batch); an operation adds its layer's path.
    pub key: Key,
}

impl<'a> Cx<'a> {
    /// The processor.
    pub fn cpu(&self) -> &'a CpuDevice {
        self.device.cpu()
    }
}

/// What backward may read: inputs and outputs that the contract keeps, what forward saved, and every input's shape.
#[derive(Debug)]
pub struct Kept<'a> {
    pub(crate) op: &'static str,
    pub(crate) inputs: &'a [NodeInput],
    pub(crate) outputs: &'a [NodeOutput],
    pub(crate) saved: &'a [Tensor],
    pub(crate) values: ParamValues<'a>,
}

impl<'a> Kept<'a> {
    /// Shape and type of input `i`, kept or not.
    pub fn spec(&self, i: usize) -> &Spec {
        &self.inputs[i].spec
    }

    /// Input `i`.
    ///
    /// # Errors
    /// The contract does not keep it.
    pub fn input(&self, i: usize) -> Result<TensorRef<'a>> {
        let view = self.inputs.get(i).and_then(|input| match input.param {
            Some(id) => Some(self.values.view(id)),
            None => input.kept.as_ref().map(Tensor::view),
        });
        self.get(view, "input", i)
    }

    /// Output `i`.
    ///
    /// # Errors
    /// The contract does not keep it.
    pub fn output(&self, i: usize) -> Result<TensorRef<'a>> {
        let view = self.outputs.get(i).and_then(|output| output.kept.as_ref()).map(Tensor::view);
        self.get(view, "output", i)
    }

    /// What forward saved as number `i`.
    ///
    /// # Errors
    /// The contract does not save so many.
    pub fn saved(&self, i: usize) -> Result<TensorRef<'a>> {
        self.get(self.saved.get(i).map(Tensor::view), "saved value", i)
    }

    fn get(
        &self,
        view: Option<TensorRef<'a>>,
        what: &'static str,
        index: usize,
    ) -> Result<TensorRef<'a>> {
        view.ok_or(Error::NotKept { op: self.op, what, index })
    }
}

/// Where a gradient goes: nowhere, into fresh memory, or added to what is there.
///
/// ```
/// use ff_graph::Slot;
/// use ff_tensor::TensorMut;
/// let mut gradient = [1.0f32, 1.0];
/// let mut slot = Slot::Add(TensorMut::new(gradient.as_mut_slice().into(), [2].into()));
/// let (dx, accumulate) = slot.take::<f32>()?.unwrap();
/// assert!(accumulate && !slot.is_needed());
/// dx[0] += 4.0;
/// assert_eq!(gradient, [5.0, 1.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug, Default)]
pub enum Slot<'a> {
    /// Nobody needs it, or it has been taken.
    #[default]
    Skip,
    /// The memory holds nothing yet: write all of it.
    Write(TensorMut<'a>),
    /// The memory holds a gradient: add to it.
    Add(TensorMut<'a>),
}

impl<'a> Slot<'a> {
    /// Whether this gradient is needed.
    pub fn is_needed(&self) -> bool {
        !matches!(self, Slot::Skip)
    }

    /// Takes the values to write and whether to add to them; `None` where the gradient is not needed. What is taken
    /// counts as written, and what is not is an error after backward.
    ///
    /// # Errors
    /// The values are of another type.
    pub fn take<T: Element>(&mut self) -> ff_tensor::Result<Option<(&'a mut [T], bool)>> {
        Ok(match std::mem::take(self) {
            Slot::Skip => None,
            Slot::Write(view) => Some((view.into_slice()?, false)),
            Slot::Add(view) => Some((view.into_slice()?, true)),
        })
    }
}

/// An operation: forward and backward in one place, a pair that cannot be half implemented.
///
/// Inputs are tensors or parameters; the graph allocates outputs, saved values and gradients as the [`Contract`] says,
/// so that an implementation only computes. The documentation of the crate shows one.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// Its name, in messages and tables.
    fn name(&self) -> &'static str;

    /// Checks the shapes and says what comes out, what is kept for backward and what it costs. `need` tells which
    /// inputs want a gradient: where none does, nothing is saved.
    ///
    /// # Errors
    /// The shapes or types do not fit; the message says what was expected and what came.
    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract>;

    /// Writes every value of the outputs `y` and of `saved`.
    ///
    /// # Errors
    /// A value is outside of its domain.
    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> Result<()>;

    /// Writes or adds the gradient of every slot that is needed, from the outputs' gradients; `None` in `dy` stands for
    /// zeros, and at least one is there. `dy` is not read afterwards and may be overwritten.
    ///
    /// # Errors
    /// Something was asked for that is not kept.
    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()>;
}

/// Runs a body with `$T` standing for the float type that a [`DType`] names; other types are an error.
#[macro_export]
macro_rules! for_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            ::ff_tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            ::ff_tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            found => Err($crate::Error::DType { op: $op, expected: "f32 or f64", found }),
        }
    };
}

/// The same with every type that gradients flow in, which `$S: Stored` stands for.
#[macro_export]
macro_rules! for_stored {
    ($op:expr, $dtype:expr, $S:ident => $body:expr) => {
        match $dtype {
            ::ff_tensor::DType::BF16 => {
                type $S = ::ff_tensor::bf16;
                $body
            }
            other => $crate::for_float!($op, other, $S => $body),
        }
    };
}
