//! One source, compiled once per instruction set.

use ff_tensor::{CpuDevice, Isa};

/// Something to run with vector instructions.
///
/// A compiler inlines a large closure into none of its three callers, and what is not inlined is compiled without the
/// instructions: so a hot loop is a type whose `run` is `#[inline(always)]`. Small work may be a closure.
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
    /// What comes out.
    type Output;
    /// Does it; mark this `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

// Not `FnOnce`: a closure that can be called again would go through a shim of the compiler's, which is not inlined.
impl<R, F: FnMut() -> R> Work for F {
    type Output = R;
    #[inline(always)]
    fn run(mut self) -> R {
        self()
    }
}

/// Runs work compiled for the device's instruction set: what is inlined into it is vectorised with that set's registers.
///
/// There is one call of `f` for each instruction set, so the compiler inlines a large closure only where it is written
/// as `dispatch(cpu, #[inline(always)] || …)`; otherwise it keeps one copy of it, without that set's instructions. The same
/// holds for every function inside: one that is called through a reference, or by an iterator's `for_each`, stays one copy.
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
        // SAFETY: a device is only opened with an instruction set that `Isa::detect` found on this processor.
        Isa::Avx512 => return unsafe { avx512(work) },
        // SAFETY: as above.
        Isa::Avx2 => return unsafe { avx2(work) },
        Isa::Plain => {}
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = cpu;
    work.run()
}

/// # Safety
/// The processor has AVX-512 F, VL, DQ and BW.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<W: Work>(work: W) -> W::Output {
    work.run()
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<W: Work>(work: W) -> W::Output {
    work.run()
}
