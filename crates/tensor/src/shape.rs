use crate::{Error, Result};
use std::fmt;

/// The maximum number of dimensions.
pub const MAX_RANK: usize = 6;

/// The sizes of a tensor's dimensions, stored inline so that a shape allocates nothing.
///
/// ```
/// use ff_tensor::Shape;
/// let shape = Shape::new(&[2, 3, 4])?;
/// assert_eq!((shape.rank(), shape.len(), shape.last()), (3, 24, 4));
/// assert_eq!(shape.rows(), 6); // leading dimensions folded
/// assert_eq!(shape.to_string(), "[2, 3, 4]");
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Unused dimensions are 1, so that a product over all of them needs no loop.
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of these sizes.
    ///
    /// # Errors
    /// If there are more than [`MAX_RANK`] dimensions, or more than 2⁴⁸ values.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let too_large = || Error::Shape { shape: dims.to_vec(), max_rank: MAX_RANK };
        if dims.len() > MAX_RANK {
            return Err(too_large());
        }
        let values =
            dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
        if values > 1 << 48 {
            return Err(too_large());
        }
        let mut inline = [1; MAX_RANK];
        inline[..dims.len()].copy_from_slice(dims);
        Ok(Self { dims: inline, rank: dims.len() as u8 })
    }

    /// The shape of a single value, as in losses: a vector of length one.
    #[inline]
    pub const fn scalar() -> Self {
        Self { dims: [1; MAX_RANK], rank: 1 }
    }

    /// The sizes.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }

    /// The number of dimensions.
    #[inline]
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the shape has no values.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the last dimension; 1 if there are none.
    #[inline]
    pub fn last(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the last.
    #[inline]
    pub fn rows(&self) -> usize {
        self.without_last().len()
    }

    /// The same shape with another last dimension.
    #[must_use]
    pub fn with_last(&self, last: usize) -> Self {
        let mut shape = *self;
        if shape.rank == 0 {
            shape.rank = 1;
        }
        shape.dims[usize::from(shape.rank) - 1] = last;
        shape
    }

    /// The shape without its last dimension.
    #[must_use]
    pub fn without_last(&self) -> Self {
        let mut shape = *self;
        if shape.rank > 0 {
            shape.rank -= 1;
            shape.dims[usize::from(shape.rank)] = 1;
        }
        shape
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    /// # Panics
    /// Never: the number of dimensions is checked at compile time.
    fn from(dims: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK, "too many dimensions") };
        let mut inline = [1; MAX_RANK];
        inline[..N].copy_from_slice(&dims);
        Self { dims: inline, rank: N as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_last_fold_leading_dimensions() {
        assert_eq!(
            (Shape::from([]).rows(), Shape::from([]).last(), Shape::from([]).len()),
            (1, 1, 1)
        );
        assert_eq!((Shape::from([0, 3]).rows(), Shape::from([0, 3]).len()), (0, 0));
        assert_eq!(Shape::from([2, 3]).with_last(7), Shape::from([2, 7]));
        assert_eq!(Shape::from([2, 3]).without_last(), Shape::from([2]));
    }

    #[test]
    fn a_shape_that_cannot_be_addressed_is_refused() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1; MAX_RANK + 1]).is_err());
        assert!(Shape::new(&[1 << 30, 1 << 30]).is_err());
    }
}
