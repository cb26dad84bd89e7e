//! The running sums of a register tile, and the factors that one instruction multiplies and adds.

use crate::Float;
use crate::vector::Vector;

/// A register of running sums.
pub(super) trait Sums: Copy {
    /// A register of the same size to load and store sums.
    type Values: Vector<T: Float>;
    /// The unit of a panel: one value, or as many as one instruction multiplies and adds.
    type Packed: Copy + Send + Sync;
    /// Steps of K per packed unit.
    const STEPS: usize = 1;
    /// A register of packed units.
    type Factor: Copy;

    fn zero() -> Self;
    /// # Safety
    /// A register of packed units can be read.
    unsafe fn factors(from: *const Self::Packed) -> Self::Factor;
    fn splat(unit: Self::Packed) -> Self::Factor;
    /// self + a · b, fused if the instruction set has it.
    fn fma(self, a: Self::Factor, b: Self::Factor) -> Self;
    fn values(self) -> Self::Values;
}

impl<V: Vector> Sums for V {
    type Values = V;
    type Packed = V::T;
    type Factor = V;

    #[inline(always)]
    fn zero() -> V {
        V::splat(V::T::ZERO)
    }
    #[inline(always)]
    unsafe fn factors(from: *const V::T) -> V {
        // SAFETY: guaranteed by the caller.
        unsafe { V::read(from) }
    }
    #[inline(always)]
    fn splat(unit: V::T) -> V {
        V::splat(unit)
    }
    #[inline(always)]
    fn fma(self, a: V, b: V) -> V {
        a.mul_add(b, self)
    }
    #[inline(always)]
    fn values(self) -> V {
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Sums;
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps,
    };
    use std::mem::transmute;

    /// Sums of products of bf16 pairs: a panel's unit is two neighbours in K.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Pairs(__m512);

    impl Sums for Pairs {
        type Values = __m512;
        type Packed = u32;
        const STEPS: usize = 2;
        type Factor = __m512bh;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: only a tile of AVX-512 BF16 uses pairs.
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn factors(from: *const u32) -> __m512bh {
            // SAFETY: guaranteed by the caller; both types are 64 bytes of any bits.
            unsafe { transmute(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        fn splat(unit: u32) -> __m512bh {
            // SAFETY: as for `zero`; both types are 64 bytes of any bits.
            unsafe { transmute(_mm512_set1_epi32(unit.cast_signed())) }
        }
        #[inline(always)]
        fn fma(self, a: __m512bh, b: __m512bh) -> Self {
            // SAFETY: as for `zero`.
            Self(unsafe { _mm512_dpbf16_ps(self.0, a, b) })
        }
        #[inline(always)]
        fn values(self) -> __m512 {
            self.0
        }
    }
}
