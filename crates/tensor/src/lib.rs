//! Memory and devices, the foundation of all other crates.
//!
//! A [`Tensor`] is a contiguous, row-major array over a shared, pooled [`Buffer`]; a [`TensorMut`]
//! is the exclusive view of a kernel's output. A [`Device`] holds the buffer [`Pool`], the
//! [`ThreadPool`] and the instruction set in use. [`Rng`] draws counter-based random numbers, so
//! that a run's result depends only on its seed.

mod buffer;
mod device;
mod dtype;
mod element;
mod error;
mod file_matrix;
mod mapped;
mod memory;
mod normal;
mod processor;
mod rng;
mod shape;
mod slice;
mod tensor;
mod threads;
mod tuning;

pub use buffer::{Buffer, Pool, PoolStats};
pub use device::{CpuDevice, Device, DeviceOptions};
pub use dtype::DType;
pub use element::Element;
pub use error::{Error, Result};
pub use file_matrix::{FileBytes, FileForm, FileMatrix};
pub use half::bf16;
pub use mapped::Mapped;
pub use memory::Memory;
pub use processor::{Bf16Kernels, Isa, processor_id};
pub use rng::{Key, Rng};
pub use shape::{MAX_RANK, Shape};
pub use slice::{Slice, SliceMut};
pub use tensor::{Tensor, TensorMut, TensorRef};
pub use threads::ThreadPool;
pub use tuning::Tuning;
