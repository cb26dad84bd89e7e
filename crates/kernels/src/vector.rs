//! A register of values of each instruction set: the basis of all tiles.

use crate::Float;

/// A register of values.
///
/// A function with an implementor's instructions runs only on a CPU that has them: inside
/// [`crate::dispatch`], or in a tile of that instruction set.
pub(crate) trait Vector: Copy {
    type T: Float;
    /// The existing lanes of a last register.
    type Mask: Copy;
    const LANES: usize;

    fn splat(value: Self::T) -> Self;
    /// self · a + b, fused if the instruction set has it.
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    /// The mask of the first `n` lanes, `n` from 0 to `LANES`.
    fn mask(n: usize) -> Self::Mask;

    /// # Safety
    /// `LANES` values can be read.
    unsafe fn read(from: *const Self::T) -> Self;
    /// # Safety
    /// The lanes of the mask can be read; others are not touched, and zero.
    unsafe fn read_some(from: *const Self::T, mask: Self::Mask) -> Self;
    /// # Safety
    /// The lanes of the mask can be written; others are not touched.
    unsafe fn write_some(self, to: *mut Self::T, mask: Self::Mask);

    /// The first `LANES` values.
    #[inline(always)]
    fn load(values: &[Self::T]) -> Self {
        let values = &values[..Self::LANES];
        // SAFETY: the slice holds a whole register.
        unsafe { Self::read(values.as_ptr()) }
    }
    /// Writes the first `LANES` values.
    #[inline(always)]
    fn store(self, values: &mut [Self::T]) {
        let values = &mut values[..Self::LANES];
        // SAFETY: the slice holds a whole register.
        unsafe { self.write_some(values.as_mut_ptr(), Self::mask(Self::LANES)) }
    }
}

macro_rules! plain {
    ($t:ty) => {
        /// Sixteen bytes: the register size of every current CPU.
        impl Vector for [$t; 16 / size_of::<$t>()] {
            type T = $t;
            type Mask = usize;
            const LANES: usize = 16 / size_of::<$t>();

            #[inline(always)]
            fn splat(value: $t) -> Self {
                [value; 16 / size_of::<$t>()]
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                std::array::from_fn(|i| self[i] * a[i] + b[i])
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] + other[i])
            }
            #[inline(always)]
            fn mask(n: usize) -> usize {
                n.min(Self::LANES)
            }
            #[inline(always)]
            unsafe fn read(from: *const $t) -> Self {
                // SAFETY: guaranteed by the caller; an array has no alignment beyond its values'.
                unsafe { from.cast::<Self>().read() }
            }
            #[inline(always)]
            unsafe fn read_some(from: *const $t, mask: usize) -> Self {
                // SAFETY: guaranteed by the caller.
                std::array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn write_some(self, to: *mut $t, mask: usize) {
                for (i, &value) in self.iter().enumerate().take(mask) {
                    // SAFETY: guaranteed by the caller.
                    unsafe { *to.add(i) = value };
                }
            }
        }
    };
}
plain!(f32);
plain!(f64);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    macro_rules! x86 {
        ($t:ty, $v:ident, $mask:ty, $splat:ident, $fma:ident, $add:ident, $read:ident, $masked:expr, $read_some:expr, $write_some:expr) => {
            impl Vector for $v {
                type T = $t;
                type Mask = $mask;
                const LANES: usize = size_of::<$v>() / size_of::<$t>();

                #[inline(always)]
                fn splat(value: $t) -> Self {
                    // SAFETY: the CPU has the instructions, see the trait.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                fn mul_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: the CPU has the instructions, see the trait.
                    unsafe { $fma(self, a, b) }
                }
                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instructions, see the trait.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                fn mask(n: usize) -> $mask {
                    $masked(n)
                }
                #[inline(always)]
                unsafe fn read(from: *const $t) -> Self {
                    // SAFETY: guaranteed by the caller; the load needs no alignment.
                    unsafe { $read(from) }
                }
                #[inline(always)]
                unsafe fn read_some(from: *const $t, mask: $mask) -> Self {
                    // SAFETY: guaranteed by the caller.
                    unsafe { $read_some(from, mask) }
                }
                #[inline(always)]
                unsafe fn write_some(self, to: *mut $t, mask: $mask) {
                    // SAFETY: guaranteed by the caller.
                    unsafe { $write_some(to, mask, self) }
                }
            }
        };
    }

    x86!(
        f32,
        __m512,
        __mmask16,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_loadu_ps,
        |n: usize| ((1u32 << n.min(16)) - 1) as __mmask16,
        |from, mask| _mm512_maskz_loadu_ps(mask, from),
        |to, mask, v| _mm512_mask_storeu_ps(to, mask, v)
    );
    x86!(
        f32,
        __m256,
        __m256i,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_loadu_ps,
        signs,
        |from, mask| _mm256_maskload_ps(from, mask),
        |to, mask, v| _mm256_maskstore_ps(to, mask, v)
    );

    x86!(
        f64,
        __m512d,
        __mmask8,
        _mm512_set1_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd,
        _mm512_loadu_pd,
        |n: usize| ((1u32 << n.min(8)) - 1) as __mmask8,
        |from, mask| _mm512_maskz_loadu_pd(mask, from),
        |to, mask, v| _mm512_mask_storeu_pd(to, mask, v)
    );
    x86!(
        f64,
        __m256d,
        __m256i,
        _mm256_set1_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd,
        _mm256_loadu_pd,
        |n: usize| signs(2 * n),
        |from, mask| _mm256_maskload_pd(from, mask),
        |to, mask, v| _mm256_maskstore_pd(to, mask, v)
    );

    /// The mask of AVX2's masked moves: the sign bit says whether a lane of 32 bits exists; that of
    /// a lane of 64 bits is the upper one's.
    #[inline(always)]
    fn signs(n: usize) -> __m256i {
        let lanes: [i32; 8] = std::array::from_fn(|i| if i < n { -1 } else { 0 });
        // SAFETY: any bits are a valid register.
        unsafe { std::mem::transmute::<[i32; 8], __m256i>(lanes) }
    }
}
