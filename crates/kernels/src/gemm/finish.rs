//! The epilogue of a tile: bias, activation, and the store to C.

use super::{Epilogue, InPlace};
use crate::Stored;
use crate::rows::Shared;
use crate::simd::Work;
use std::mem::MaybeUninit;

/// An epilogue shared by several threads.
pub(super) struct Finish<'a, C: Stored> {
    bias: Option<&'a [C::Compute]>,
    z: Option<Shared<'a, C>>,
    f: Option<InPlace<'a, C::Compute>>,
}

impl<'a, C: Stored> Finish<'a, C> {
    pub(super) fn new(epilogue: Epilogue<'a, C>) -> Self {
        Self { bias: epilogue.bias, z: epilogue.z.map(Shared::new), f: epilogue.f }
    }
}

/// The maximum number of values of a tile, over all instruction sets.
const TILE: usize = 32 * 32;

/// A finished tile before its store to C.
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
        // SAFETY: in bounds, and initialised by the caller.
        unsafe { std::slice::from_raw_parts_mut(written.as_mut_ptr().cast(), len) }
    }
}

/// The position of a tile in C.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) width: usize,
    /// The stride of rows of C.
    pub(super) c_row: usize,
}

/// The sums of earlier chunks of a tile; `row` is their stride.
pub(super) struct Earlier<T> {
    pub(super) start: *const T,
    pub(super) row: usize,
}

/// Finishes one tile: rows of `stride` values, the first `spot.width` of which go to C.
pub(super) struct Tail<'a, C: Stored> {
    pub(super) finish: &'a Finish<'a, C>,
    pub(super) values: &'a mut [C::Compute],
    pub(super) stride: usize,
    pub(super) spot: Spot,
    pub(super) c: &'a Shared<'a, C>,
    pub(super) earlier: Option<Earlier<C::Compute>>,
    /// Whether to add the old values of C at the end.
    pub(super) add_c: bool,
}

impl<C: Stored> Work for Tail<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { finish, values, stride, spot, c, earlier, add_c } = self;
        let Spot { row, column, width, c_row } = spot;
        let at = |r: usize| (row + r) * c_row + column;
        if let Some(earlier) = earlier {
            for (r, values) in values.chunks_exact_mut(stride).enumerate() {
                for (j, value) in values.iter_mut().enumerate().take(width) {
                    // SAFETY: this block's thread has written them, and no other thread touches
                    // them.
                    *value = unsafe { *earlier.start.add(r * earlier.row + j) } + *value;
                }
            }
        }
        if let Some(bias) = finish.bias {
            let bias = &bias[column..column + width];
            for values in values.chunks_exact_mut(stride) {
                for (value, &bias) in values.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
        if let Some(z) = &finish.z {
            for (r, values) in values.chunks_exact(stride).enumerate() {
                // SAFETY: a tile of C belongs to one block, which one thread computes, and z has
                // C's shape.
                for (z, &value) in unsafe { z.range(at(r), width) }.iter_mut().zip(values) {
                    *z = C::from_compute(value);
                }
            }
        }
        if let Some(f) = finish.f {
            f(values);
        }
        for (r, values) in values.chunks_exact(stride).enumerate() {
            // SAFETY: as above.
            let c = unsafe { c.range(at(r), width) };
            for (c, &value) in c.iter_mut().zip(values) {
                *c = C::from_compute(if add_c { c.compute() + value } else { value });
            }
        }
    }
}
