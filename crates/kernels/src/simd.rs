//! One source, compiled once per instruction set.

use ff_tensor::{CpuDevice, Isa};

/// Work to run with vector instructions.
///
/// The compiler does not inline a large closure into all three of its callers, and compiles a
/// closure that is not inlined without the instructions: a hot loop is therefore a type whose `run`
/// is `#[inline(always)]`. Small work may be a closure.
///
/// ```
/// use ff_kernels::{Work, dispatch};
/// struct Double<'a>(&'a mut [f32]);
/// impl Work for Double<'_> {
///     type Output = ();
///     #[inline(always)]
///     fn run(self) {
///         self.0.iter_mut().for_each(|v| *v *= 2.0);
///     }
/// }
/// let mut y = [1.0, 2.0];
/// dispatch(ff_tensor::Device::default().cpu(), Double(&mut y));
/// assert_eq!(y, [2.0, 4.0]);
/// ```
pub trait Work {
    /// The result.
    type Output;
    /// Runs the work; mark the implementation `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

// Not `FnOnce`: a repeatable closure would go through a compiler shim, which is not inlined.
impl<R, F: FnMut() -> R> Work for F {
    type Output = R;
    #[inline(always)]
    fn run(mut self) -> R {
        self()
    }
}

/// Runs work compiled for the device's instruction set: code inlined into it is vectorised with
/// that set's registers.
///
/// There is one call of `f` for each instruction set, so the compiler inlines a large closure only
/// if written as `dispatch(cpu, #[inline(always)] || …)`; otherwise it keeps one copy, without that
/// set's instructions. The same holds for every function inside: a call through a reference, or by
/// an iterator's `for_each`, uses the one copy.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [1.0f32, 2.0];
/// ff_kernels::dispatch(device.cpu(), || y.iter_mut().for_each(|v| *v *= 2.0));
/// assert_eq!(y, [2.0, 4.0]);
/// ```
#[inline(always)]
pub fn dispatch<W: Work>(cpu: &CpuDevice, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    match cpu.isa() {
        // SAFETY: a device is only opened with an instruction set that `Isa::detect` found on this
        // CPU.
        Isa::Avx512 | Isa::Amx => return unsafe { avx512(work) },
        // SAFETY: as above.
        Isa::Avx2 => return unsafe { avx2(work) },
        Isa::Plain => {}
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = cpu;
    work.run()
}

/// [`dispatch`] for work on values of `T`. f64, in which only small networks train, is compiled for
/// AVX2 alone, since each instruction set takes its time to compile. No sum is reordered, so that
/// results have the bits of the plain path.
#[inline(always)]
pub fn dispatch_on<T, W: Work>(cpu: &CpuDevice, work: W) -> W::Output {
    if const { size_of::<T>() != size_of::<f64>() } {
        return dispatch(cpu, work);
    }
    #[cfg(target_arch = "x86_64")]
    if cpu.isa() != Isa::Plain {
        // SAFETY: every other instruction set includes AVX2 and FMA.
        return unsafe { avx2(work) };
    }
    work.run()
}

/// # Safety
/// The CPU has AVX-512 F, VL, DQ and BW.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<W: Work>(work: W) -> W::Output {
    work.run()
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

/// Prefetches the cache line of an arbitrary address.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(crate) fn soon<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; any address is allowed.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(from.cast());
    }
}

/// Prefetches the cache line of an arbitrary address into the L2 cache.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(crate) fn later<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(from.cast());
    }
}
