//! Positions in row-major arrays: what broadcasting, transposing and slicing are.

use super::super::session::Call;
use super::super::tensor::{Tensor, count};

/// The positions of a view, in row-major order of its shape.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    dims: Vec<usize>,
    strides: Vec<isize>,
    index: Vec<usize>,
    at: isize,
    left: usize,
}

impl Walk {
    /// A view of this shape, with a stride in each dimension and the position of its first element.
    pub(super) fn new(dims: &[usize], strides: &[isize], first: usize) -> Self {
        // Callers have counted the elements.
        let left = dims.iter().product();
        Self {
            dims: dims.to_vec(),
            strides: strides.to_vec(),
            index: vec![0; dims.len()],
            at: first as isize,
            left,
        }
    }

    /// An array of shape `from` in the shape `to` that it broadcasts to.
    pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let own = strides(from);
        let missing = to.len() - from.len();
        let strides: Vec<isize> = (0..to.len())
            .map(|i| if i < missing || from[i - missing] == 1 { 0 } else { own[i - missing] })
            .collect();
        Self::new(to, &strides, 0)
    }
}

impl Iterator for Walk {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let at = self.at;
        for i in (0..self.dims.len()).rev() {
            self.index[i] += 1;
            self.at += self.strides[i];
            if self.index[i] < self.dims[i] {
                break;
            }
            self.at -= self.strides[i] * self.dims[i] as isize;
            self.index[i] = 0;
        }
        Some(at as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Walk {}

/// The strides of a row-major array.
pub(super) fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i] as isize;
    }
    strides
}

/// The shape that several shapes broadcast to.
pub(super) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = shapes.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let mut to = vec![1; rank];
    for dims in shapes {
        for (to, &d) in to[rank - dims.len()..].iter_mut().zip(*dims) {
            match (*to, d) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *to = b,
                _ => return Err(format!("shapes {shapes:?} do not broadcast")),
            }
        }
    }
    count(&to)?;
    Ok(to)
}

/// A tensor in the shape that it broadcasts to.
pub(super) fn expand(c: &Call<'_>, x: &Tensor, to: &[usize]) -> Result<Tensor, String> {
    if x.dims() == to {
        return Ok(x.clone());
    }
    count(to)?;
    let view = Walk::broadcast(x.dims(), to);
    Tensor::of(to, x.data().view(to, &view.strides, 0, c.pool()))
}

/// A shape around an axis: the product of the dimensions before it, itself, the product of those
/// behind it.
pub(super) fn around(dims: &[usize], axis: usize) -> [usize; 3] {
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}
