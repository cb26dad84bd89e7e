use crate::{Contract, Kept, OpResult, Spec, for_float};
use ff_kernels::Float;
use ff_tensor::{CpuDevice, Device, Element, Key, TensorMut, TensorRef};
use std::fmt;

/// The device and the mode of a run of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// The device.
    pub device: &'a Device,
    /// Whether this is training: dropout drops values, batch norm uses the batch.
    pub training: bool,
    /// The key of (seed, step, micro-batch); an operation adds the path of its layer.
    pub key: Key,
    /// The part of training that is over, from 0 to 1; strengths may change with it.
    pub progress: f64,
}

impl<'a> Cx<'a> {
    /// The CPU.
    pub fn cpu(&self) -> &'a CpuDevice {
        self.device.cpu()
    }
}

/// The destination of a gradient: none, fresh memory, or memory to add to.
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
    /// Not needed, or already taken.
    #[default]
    Skip,
    /// Uninitialised memory: write every value.
    Write(TensorMut<'a>),
    /// Memory that holds a gradient: add to it.
    Add(TensorMut<'a>),
}

impl<'a> Slot<'a> {
    /// Whether the gradient is needed.
    pub fn is_needed(&self) -> bool {
        !matches!(self, Slot::Skip)
    }

    /// Takes the values to write, and whether to add to them; `None` if the gradient is not needed.
    /// A taken slot counts as written; one left over is an error after backward.
    ///
    /// # Errors
    /// If the values are of another type.
    pub fn take<T: Element>(&mut self) -> ff_tensor::Result<Option<(&'a mut [T], bool)>> {
        Ok(match std::mem::take(self) {
            Slot::Skip => None,
            Slot::Write(view) => Some((view.into_slice()?, false)),
            Slot::Add(view) => Some((view.into_slice()?, true)),
        })
    }
}

/// An operation: forward and backward in one place.
///
/// Inputs are tensors or parameters. The graph allocates outputs, saved values and gradients from
/// the [`Contract`], so that an implementation only computes. Most operations implement
/// [`FloatOp`].
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// The name in messages and tables.
    fn name(&self) -> &'static str;

    /// Checks the shapes and declares outputs, kept values and cost. `need` marks the inputs that
    /// need a gradient; without any, nothing is saved.
    ///
    /// # Errors
    /// If the shapes or types do not match; the message says what was expected and what was found.
    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract>;

    /// Writes every value of the outputs `y` and of `saved`.
    ///
    /// # Errors
    /// If a value is outside its domain.
    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult;

    /// Writes or adds the gradient of every needed slot, from the gradients of the outputs. `None`
    /// in `dy` stands for zeros, and at least one is `Some`. `dy` is not read afterwards and may be
    /// overwritten.
    ///
    /// # Errors
    /// If a requested tensor is not kept.
    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult;
}

/// An operation with generic passes for f32 and f64.
///
/// It is an [`Op`]: the type of the first input selects the instance of each pass.
pub trait FloatOp: fmt::Debug + Send + Sync + 'static {
    /// As [`Op::name`].
    fn name(&self) -> &'static str;

    /// As [`Op::contract`].
    ///
    /// # Errors
    /// If the shapes or types do not match.
    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract>;

    /// As [`Op::forward`].
    ///
    /// # Errors
    /// If a value is outside its domain.
    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult;

    /// As [`Op::backward`].
    ///
    /// # Errors
    /// If a requested tensor is not kept.
    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult;
}

impl<O: FloatOp> Op for O {
    fn name(&self) -> &'static str {
        FloatOp::name(self)
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        FloatOp::contract(self, x, need)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_float!(x[0].dtype(), T => FloatOp::forward::<T>(self, cx, x, y, saved))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_float!(kept.spec(0).dtype, T => FloatOp::backward::<T>(self, cx, kept, dy, dx))
    }
}

/// Runs a body with `$T` standing for the float type that a [`DType`](ff_tensor::DType) names.
/// Other types are an [`OpError`](crate::OpError), or an [`Error`](crate::Error) where a name comes
/// first.
#[macro_export]
macro_rules! for_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            ::ff_tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            ::ff_tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            found => Err($crate::OpError::dtype("f32 or f64", found)),
        }
    };
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
            found => Err($crate::Error::dtype($op, "f32 or f64", found)),
        }
    };
}

/// `for_float!` for every type with gradients, named `$S: Stored`.
#[macro_export]
macro_rules! for_stored {
    ($dtype:expr, $S:ident => $body:expr) => {
        match $dtype {
            ::ff_tensor::DType::BF16 => {
                type $S = ::ff_tensor::bf16;
                $body
            }
            other => $crate::for_float!(other, $S => $body),
        }
    };
}
