//! A tile whose sums are complete: bias, activation, and the way to C.

use super::Epilogue;
use crate::Float;
use crate::rows::Shared;
use crate::simd::Work;
use std::mem::MaybeUninit;

/// An epilogue that several threads use.
pub(super) struct Finish<'a, T> {
    bias: Option<&'a [T]>,
    z: Option<Shared<'a, T>>,
    f: Option<&'a (dyn Fn(&mut [T]) + Sync)>,
}

impl<'a, T> Finish<'a, T> {
    pub(super) fn new(epilogue: Epilogue<'a, T>) -> Self {
        Self { bias: epilogue.bias, z: epilogue.z.map(Shared::new), f: epilogue.f }
    }
}

/// The most values of a tile of any instruction set.
const TILE: usize = 14 * 32;

/// A tile on its way to C.
#[repr(align(64))]
pub(super) struct Buffer<T>([MaybeUninit<T>; TILE]);

impl<T> Buffer<T> {
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; TILE])
    }

    pub(super) fn start(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }

    /// # Safety
    /// The first `len` values have been written.
    pub(super) unsafe fn values(&mut self, len: usize) -> &mut [T] {
        let written = &mut self.0[..len];
        // SAFETY: in bounds, and initialised by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(written.as_mut_ptr().cast(), len) }
    }
}

/// Finishes one tile: rows of `stride` values, the first `width` of which belong to C at `row`, `column`.
pub(super) struct Tail<'a, T> {
    pub(super) finish: &'a Finish<'a, T>,
    pub(super) values: &'a mut [T],
    pub(super) stride: usize,
    pub(super) width: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) c: &'a Shared<'a, T>,
    pub(super) c_row: usize,
    /// Whether C holds the sums of earlier chunks.
    pub(super) add: bool,
}

impl<T: Float> Work for Tail<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { finish, values, stride, width, row, column, c, c_row, add } = self;
        let at = |r: usize| (row + r) * c_row + column;
        if add {
            for (r, values) in values.chunks_exact_mut(stride).enumerate() {
                // SAFETY: a tile of C belongs to one block, which one thread computes.
                let c = unsafe { c.range(at(r), width) };
                values.iter_mut().zip(c).for_each(|(v, c)| *v = *c + *v);
            }
        }
        if let Some(bias) = finish.bias {
            let bias = &bias[column..column + width];
            for values in values.chunks_exact_mut(stride) {
                values.iter_mut().zip(bias).for_each(|(v, &b)| *v += b);
            }
        }
        if let Some(z) = &finish.z {
            for (r, values) in values.chunks_exact(stride).enumerate() {
                // SAFETY: as above, and z has C's shape.
                unsafe { z.range(at(r), width) }.copy_from_slice(&values[..width]);
            }
        }
        if let Some(f) = finish.f {
            f(values);
        }
        for (r, values) in values.chunks_exact(stride).enumerate() {
            // SAFETY: as above.
            unsafe { c.range(at(r), width) }.copy_from_slice(&values[..width]);
        }
    }
}
