//! A register of sums for each instruction set: the basis of the register tiles.

use crate::Float;

/// A register of running sums, and its factors.
///
/// # Safety
/// Every function needs a CPU with the implementor's instructions; those with a pointer argument
/// read or write `LANES` values there, or as many as the mask has.
pub(super) trait Vector: Copy {
    /// The type of sums.
    type T: Float;
    /// The unit of a panel: one value, or as many as one instruction multiplies and adds.
    type Packed: Copy + Send + Sync;
    /// Steps of K per packed unit.
    const STEPS: usize = 1;
    /// A register of packed units.
    type Factor: Copy;
    /// The existing lanes of a last register.
    type Mask: Copy;
    const LANES: usize;

    unsafe fn zero() -> Self;
    unsafe fn factors(from: *const Self::Packed) -> Self::Factor;
    unsafe fn splat(from: *const Self::Packed) -> Self::Factor;
    /// self + a · b, fused if the instruction set has it.
    unsafe fn fma(self, a: Self::Factor, b: Self::Factor) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    /// The mask of the first `n` lanes, `n` from 0 to `LANES`.
    fn mask(n: usize) -> Self::Mask;
    unsafe fn load(from: *const Self::T, mask: Self::Mask) -> Self;
    unsafe fn store(self, to: *mut Self::T, mask: Self::Mask);
    /// Prefetches a cache line for writing.
    unsafe fn prefetch(_from: *const Self::T) {}
    /// Prefetches the cache line of factors, at any address.
    #[inline(always)]
    unsafe fn prefetch_factors(_from: *const Self::Packed) {}
}

macro_rules! plain {
    ($t:ty) => {
        /// Sixteen bytes: the register size of every current CPU.
        impl Vector for [$t; 16 / size_of::<$t>()] {
            type T = $t;
            type Packed = $t;
            type Factor = Self;
            type Mask = usize;
            const LANES: usize = 16 / size_of::<$t>();

            #[inline(always)]
            unsafe fn zero() -> Self {
                [0.0; 16 / size_of::<$t>()]
            }
            #[inline(always)]
            unsafe fn factors(from: *const $t) -> Self {
                // SAFETY: guaranteed by the caller; an array has no alignment beyond its values'.
                unsafe { from.cast::<Self>().read() }
            }
            #[inline(always)]
            unsafe fn splat(from: *const $t) -> Self {
                // SAFETY: guaranteed by the caller.
                [unsafe { *from }; 16 / size_of::<$t>()]
            }
            #[inline(always)]
            unsafe fn fma(self, a: Self, b: Self) -> Self {
                std::array::from_fn(|i| self[i] + a[i] * b[i])
            }
            #[inline(always)]
            unsafe fn plus(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] + other[i])
            }
            #[inline(always)]
            fn mask(n: usize) -> usize {
                n.min(Self::LANES)
            }
            #[inline(always)]
            unsafe fn load(from: *const $t, mask: usize) -> Self {
                // SAFETY: guaranteed by the caller: the lanes of the mask can be read.
                std::array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t, mask: usize) {
                for (i, &value) in self.iter().enumerate().take(mask) {
                    // SAFETY: guaranteed by the caller: the lanes of the mask can be written.
                    unsafe { *to.add(i) = value };
                }
            }
        }
    };
}
plain!(f32);
plain!(f64);

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Vector;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    macro_rules! x86 {
        ($v:ident, $t:ty, $mask:ty, $zero:ident, $splat:ident, $load:ident, $fma:ident, $add:ident, $masked:expr, $read:expr, $write:expr) => {
            impl Vector for $v {
                type T = $t;
                type Packed = $t;
                type Factor = $v;
                type Mask = $mask;
                const LANES: usize = size_of::<$v>() / size_of::<$t>();

                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the caller guarantees that the CPU has the instructions.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn factors(from: *const $t) -> Self {
                    // SAFETY: guaranteed by the caller: a whole register can be read; the load
                    // needs no alignment.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn splat(from: *const $t) -> Self {
                    // SAFETY: guaranteed by the caller: the value can be read.
                    unsafe { $splat(*from) }
                }
                #[inline(always)]
                unsafe fn fma(self, a: Self, b: Self) -> Self {
                    // SAFETY: the caller guarantees that the CPU has the instructions.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn plus(self, other: Self) -> Self {
                    // SAFETY: the caller guarantees that the CPU has the instructions.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                fn mask(n: usize) -> $mask {
                    $masked(n)
                }
                #[inline(always)]
                unsafe fn load(from: *const $t, mask: $mask) -> Self {
                    // SAFETY: guaranteed by the caller: the lanes of the mask can be read; others
                    // are not touched.
                    unsafe { $read(from, mask) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $t, mask: $mask) {
                    // SAFETY: guaranteed by the caller: the lanes of the mask can be written;
                    // others are not touched.
                    unsafe { $write(to, mask, self) }
                }
                #[inline(always)]
                unsafe fn prefetch(from: *const $t) {
                    // SAFETY: a prefetch is a hint; any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_ET0>(from.cast()) }
                }
                #[inline(always)]
                unsafe fn prefetch_factors(from: *const $t) {
                    // SAFETY: a prefetch is a hint; any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
                }
            }
        };
    }

    /// The lowest `n` bits, for `n` up to the number of lanes.
    #[inline(always)]
    fn bits(n: usize) -> u32 {
        (1u32 << n.min(16)) - 1
    }

    /// Lanes as masks of AVX2's masked moves: the sign bit says whether a lane exists.
    #[inline(always)]
    fn signs<const N: usize, T: Copy>(n: usize, yes: T, no: T) -> __m256i {
        debug_assert!(size_of::<[T; N]>() == size_of::<__m256i>());
        let lanes: [T; N] = std::array::from_fn(|i| if i < n { yes } else { no });
        // SAFETY: N values of T fill the register, and any bits are a valid one.
        unsafe { std::mem::transmute_copy::<[T; N], __m256i>(&lanes) }
    }

    x86!(
        __m512,
        f32,
        __mmask16,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        |n| bits(n) as __mmask16,
        |from, mask| _mm512_maskz_loadu_ps(mask, from),
        |to, mask, v| _mm512_mask_storeu_ps(to, mask, v)
    );
    x86!(
        __m256,
        f32,
        __m256i,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        |n| signs::<8, i32>(n, -1, 0),
        |from, mask| _mm256_maskload_ps(from, mask),
        |to, mask, v| _mm256_maskstore_ps(to, mask, v)
    );

    /// Sums of products of bf16 pairs: a panel's unit is two neighbours in K.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Pairs(__m512);

    impl Vector for Pairs {
        type T = f32;
        type Packed = u32;
        const STEPS: usize = 2;
        type Factor = __m512bh;
        type Mask = __mmask16;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller guarantees that the CPU has the instructions.
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn factors(from: *const u32) -> __m512bh {
            // SAFETY: guaranteed by the caller: a whole register can be read; both types are 64
            // bytes of any bits.
            unsafe { std::mem::transmute(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn splat(from: *const u32) -> __m512bh {
            // SAFETY: guaranteed by the caller: the pair can be read; both types are 64 bytes of
            // any bits.
            unsafe { std::mem::transmute(_mm512_set1_epi32(from.cast::<i32>().read())) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: __m512bh, b: __m512bh) -> Self {
            // SAFETY: the caller guarantees that the CPU has the instructions.
            Self(unsafe { _mm512_dpbf16_ps(self.0, a, b) })
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the caller guarantees that the CPU has the instructions.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn mask(n: usize) -> __mmask16 {
            bits(n) as __mmask16
        }
        #[inline(always)]
        unsafe fn load(from: *const f32, mask: __mmask16) -> Self {
            // SAFETY: guaranteed by the caller: the lanes of the mask can be read; others are not
            // touched.
            Self(unsafe { _mm512_maskz_loadu_ps(mask, from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, mask: __mmask16) {
            // SAFETY: guaranteed by the caller: the lanes of the mask can be written; others are
            // not touched.
            unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
        }
        #[inline(always)]
        unsafe fn prefetch(from: *const f32) {
            // SAFETY: a prefetch is a hint; any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(from.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_factors(from: *const u32) {
            // SAFETY: a prefetch is a hint; any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }
    }
}
