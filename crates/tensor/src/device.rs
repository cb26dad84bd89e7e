use crate::{Bf16Kernels, Error, Isa, Pool, Result, ThreadPool, Tuning, processor_id};
use std::sync::Arc;

/// The options of [`Device::open`].
///
/// ```
/// use ff_tensor::{Device, DeviceOptions, Isa};
/// let device = Device::open(DeviceOptions { threads: 1, isa: Some(Isa::Plain) })?;
/// assert_eq!(device.cpu().isa(), Isa::Plain);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceOptions {
    /// The number of threads; 0 for one per core.
    pub threads: usize,
    /// The instruction set; `None` for the best one.
    pub isa: Option<Isa>,
}

/// The location of tensors and operations: a value, not a type parameter.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert!(device.cpu().threads().count() >= 1);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Device {
    /// This machine's CPU.
    Cpu(Arc<CpuDevice>),
}

/// The CPU: threads, instruction set and buffers.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert_eq!(device.cpu().path(), ff_tensor::Isa::detect());
/// ```
#[derive(Debug)]
pub struct CpuDevice {
    threads: ThreadPool,
    path: Isa,
    bf16: Bf16Kernels,
    tuning: Tuning,
    pool: Pool,
}

impl CpuDevice {
    /// The thread pool.
    #[inline]
    pub fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// A CPU device on a kernel path that it supports.
    fn new(threads: usize, path: Isa, pool: Pool, tuning: Tuning) -> Self {
        let (threads, bf16) = (ThreadPool::new(threads), Bf16Kernels::on(path));
        Self { threads, path, bf16, tuning, pool }
    }

    /// The vector instruction set, used by everything but bf16 products: AVX-512 on the AMX path.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.path.min(Isa::Avx512)
    }

    /// The kernel path, requested or detected.
    #[inline]
    pub fn path(&self) -> Isa {
        self.path
    }

    /// Whether bf16 products have their own instructions; otherwise the rounded values are
    /// multiplied as f32.
    #[inline]
    pub fn has_bf16(&self) -> bool {
        self.bf16 != Bf16Kernels::Widened
    }

    /// The constants of this processor.
    #[inline]
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The path of bf16 products.
    #[inline]
    pub fn bf16(&self) -> Bf16Kernels {
        self.bf16
    }
}

/// The requested instruction set, or the best one.
fn kernels(asked: Option<Isa>, best: Isa) -> Result<Isa> {
    match asked {
        Some(isa) if isa > best => {
            Err(Error::Device(format!("this CPU lacks {isa}; its best instruction set is {best}")))
        }
        asked => Ok(asked.unwrap_or(best)),
    }
}

impl Device {
    /// Opens the CPU.
    ///
    /// # Errors
    /// If the CPU lacks the requested instruction set.
    pub fn open(options: DeviceOptions) -> Result<Self> {
        Self::open_tuned(options, Tuning::of(&processor_id()))
    }

    /// Opens the CPU with constants that need not be this processor's, to compare them.
    ///
    /// # Errors
    /// If the CPU lacks the requested instruction set.
    pub fn open_tuned(options: DeviceOptions, tuning: Tuning) -> Result<Self> {
        let isa = kernels(options.isa, Isa::detect())?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Ok(Device::Cpu(Arc::new(CpuDevice::new(threads, isa, Pool::new(), tuning))))
    }

    /// A planning device: tensors have sizes but no values, and the pool counts them.
    #[inline]
    pub fn planning() -> Self {
        Device::Cpu(Arc::new(CpuDevice::new(1, Isa::detect(), Pool::planning(), Tuning::DEFAULT)))
    }

    /// The CPU.
    #[inline]
    pub fn cpu(&self) -> &CpuDevice {
        match self {
            Device::Cpu(cpu) => cpu,
        }
    }

    /// The buffer pool.
    #[inline]
    pub fn pool(&self) -> &Pool {
        match self {
            Device::Cpu(cpu) => &cpu.pool,
        }
    }
}

impl Default for Device {
    /// One thread, the best instruction set: for examples and tests.
    fn default() -> Self {
        let tuning = Tuning::of(&processor_id());
        Device::Cpu(Arc::new(CpuDevice::new(1, Isa::detect(), Pool::new(), tuning)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_set_that_is_not_there_is_refused() {
        assert_eq!(kernels(None, Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(kernels(Some(Isa::Plain), Isa::Avx2), Ok(Isa::Plain));
        let error = kernels(Some(Isa::Avx512), Isa::Avx2).unwrap_err().to_string();
        assert!(
            error.contains("this CPU lacks avx512; its best instruction set is avx2"),
            "{error}"
        );
    }
}
