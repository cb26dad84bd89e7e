//! The matrices and biases of the experts.

use super::{MixtureOfExperts, Sizes};
use crate::linear::feedforward::products::Weight;
use ff_graph::OpResult;
use ff_kernels::{Float, MatRef};
use ff_tensor::{FileMatrix, TensorRef};

/// G and U, which may be one tensor, and D, with their biases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrices<'a, W> {
    inner: [Stack<'a, W>; 2],
    down: Stack<'a, W>,
    /// Of G and U side by side, and of D.
    biases: Option<[&'a [W]; 2]>,
    sizes: Sizes,
    fused: bool,
}

/// The matrices of all experts.
#[derive(Debug, Clone, Copy)]
enum Stack<'a, W> {
    Values(&'a [W]),
    /// One of each expert, in the form of its file.
    File(&'a [FileMatrix]),
}

impl<'a, W: Float> Stack<'a, W> {
    fn of(view: TensorRef<'a>) -> OpResult<Self> {
        Ok(match view.file_stack() {
            Some(stack) => Self::File(stack),
            None => Self::Values(view.slice()?),
        })
    }
}

impl<'a, W: Float> Matrices<'a, W> {
    /// From the operation's inputs by number.
    pub(super) fn new(
        op: &MixtureOfExperts,
        sizes: Sizes,
        input: impl Fn(usize) -> OpResult<TensorRef<'a>>,
    ) -> OpResult<Self> {
        let down = op.down();
        let bias = |i: usize| -> OpResult<&'a [W]> { Ok(input(down + i)?.slice()?) };
        let biases = if op.biases { Some([bias(2)?, bias(3)?]) } else { None };
        let inner = [Stack::of(input(2)?)?, Stack::of(input(down - 1)?)?];
        let down = Stack::of(input(down)?)?;
        Ok(Self { inner, down, biases, sizes, fused: op.fused })
    }

    /// The start of an expert's matrix G (part 0) or U (part 1) within its tensor.
    pub(super) fn start(&self, expert: usize, part: usize) -> usize {
        let matrices = if self.fused { 2 * expert + part } else { expert };
        matrices * self.sizes.width * self.sizes.hidden
    }

    /// G or U of an expert `[hidden, in]`.
    pub(super) fn inner(&self, expert: usize, part: usize) -> OpResult<Weight<'a, W>> {
        let Sizes { width, hidden, .. } = self.sizes;
        Ok(match self.inner[part] {
            Stack::Values(values) => {
                let values = &values[self.start(expert, part)..][..width * hidden];
                Weight::Values(MatRef::new(values, hidden, width))
            }
            Stack::File(_) if self.fused => return Err(ff_tensor::Error::InFile.into()),
            Stack::File(stack) => Weight::File(&stack[expert]),
        })
    }

    /// D of an expert `[in, hidden]`.
    pub(super) fn down(&self, expert: usize) -> Weight<'a, W> {
        let Sizes { width, hidden, .. } = self.sizes;
        match self.down {
            Stack::Values(values) => {
                let values = &values[expert * width * hidden..][..width * hidden];
                Weight::Values(MatRef::new(values, width, hidden))
            }
            Stack::File(stack) => Weight::File(&stack[expert]),
        }
    }

    /// The bias of G or U of an expert.
    pub(super) fn inner_bias(&self, expert: usize, part: usize) -> Option<&'a [W]> {
        let hidden = self.sizes.hidden;
        self.biases.map(|[inner, _]| &inner[(2 * expert + part) * hidden..][..hidden])
    }

    /// The bias of D of an expert.
    pub(super) fn down_bias(&self, expert: usize) -> Option<&'a [W]> {
        let width = self.sizes.width;
        self.biases.map(|[_, down]| &down[expert * width..][..width])
    }
}
