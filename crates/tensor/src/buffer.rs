//! Aligned memory that is recycled: in steady state a training step takes every buffer from the pool and gives it back.

use crate::{Element, Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Cache lines and AVX-512 vectors are 64 bytes; a page-aligned start would cost more than it gives for small buffers.
const ALIGNMENT: usize = 64;

/// A block of memory that belongs to a [`Pool`] and returns to it when the last tensor over it is dropped.
///
/// ```
/// use ff_tensor::Pool;
/// let pool = Pool::new();
/// let buffer = pool.take(1000)?;
/// assert_eq!(buffer.bytes(), 1024); // whole cache lines
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Buffer {
    memory: NonNull<u8>,
    bytes: usize,
    /// False in a plan: then there is no memory behind `memory`.
    backed: bool,
    pool: Weak<Shared>,
}

// SAFETY: the memory is owned by this value alone and is plain bytes; shared access only reads (see `slice`), exclusive
// access needs `&mut self`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new(bytes: usize, backed: bool, pool: Weak<Shared>) -> Result<Self> {
        if !backed {
            return Ok(Self { memory: NonNull::dangling(), bytes, backed, pool });
        }
        let out_of_memory = || Error::OutOfMemory { bytes };
        let layout = Layout::from_size_align(bytes, ALIGNMENT).map_err(|_| out_of_memory())?;
        // SAFETY: `Pool::rounded` never gives zero bytes.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        Ok(Self { memory, bytes, backed, pool })
    }

    /// Its size in bytes, a multiple of 64.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_planned(&self) -> bool {
        !self.backed
    }

    pub(crate) fn slice<T: Element>(&self, offset: usize, len: usize) -> &[T] {
        self.check::<T>(offset, len);
        // SAFETY: in bounds and aligned by `check`; the memory was zeroed when made, so it is initialised, and any bits
        // are a valid `T` (see `Element`).
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(offset).cast(), len) }
    }

    pub(crate) fn slice_mut<T: Element>(&mut self, offset: usize, len: usize) -> &mut [T] {
        self.check::<T>(offset, len);
        // SAFETY: as in `slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().add(offset).cast(), len) }
    }

    fn check<T: Element>(&self, offset: usize, len: usize) {
        let end = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        assert!(
            self.backed
                && end.is_some_and(|end| end <= self.bytes)
                && offset.is_multiple_of(align_of::<T>()),
            "tensors are made with a range inside their buffer"
        );
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        if !self.backed {
            return;
        }
        // SAFETY: made by `alloc_zeroed` with this size and alignment, and freed once, here.
        unsafe {
            dealloc(self.memory.as_ptr(), Layout::from_size_align_unchecked(self.bytes, ALIGNMENT));
        }
    }
}

/// What a [`Pool`] holds, in bytes.
///
/// ```
/// assert_eq!(ff_tensor::Pool::new().stats(), ff_tensor::PoolStats::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Held by living tensors now.
    pub live: usize,
    /// The most ever held by living tensors, since the start or since [`Pool::reset_peak`].
    pub peak: usize,
    /// Held from the system, in use or waiting.
    pub reserved: usize,
    /// How many buffers were asked of the system.
    pub allocations: usize,
}

/// Buffers waiting to be used again, by exact size.
///
/// ```
/// let pool = ff_tensor::Pool::new();
/// assert_eq!(pool.stats().reserved, 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Sorted by size: a step has few distinct sizes, so a search is short and steady state never allocates.
    free: Mutex<Vec<(usize, Vec<Arc<Buffer>>)>>,
    live: AtomicUsize,
    peak: AtomicUsize,
    reserved: AtomicUsize,
    allocations: AtomicUsize,
    poison: AtomicBool,
    planning: bool,
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pool that counts what it hands out and takes no memory: the same step runs over it to learn what it will need.
    pub fn planning() -> Self {
        Self(Arc::new(Shared { planning: true, ..Shared::default() }))
    }

    /// Whether it only counts.
    pub fn is_planning(&self) -> bool {
        self.0.planning
    }

    /// The bytes that a request really takes.
    pub fn rounded(bytes: usize) -> usize {
        bytes.max(1).div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
    }

    /// A buffer of at least this many bytes, whose contents are whatever was there.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn take(&self, bytes: usize) -> Result<Arc<Buffer>> {
        let bytes = Self::rounded(bytes);
        let shared = &self.0;
        let recycled = {
            let mut free = shared.free.lock().unwrap_or_else(PoisonError::into_inner);
            match free.binary_search_by_key(&bytes, |entry| entry.0) {
                Ok(i) => free[i].1.pop(),
                Err(_) => None,
            }
        };
        let mut buffer = if let Some(buffer) = recycled {
            buffer
        } else {
            let buffer = Arc::new(Buffer::new(bytes, !shared.planning, Arc::downgrade(shared))?);
            shared.reserved.fetch_add(bytes, Ordering::Relaxed);
            shared.allocations.fetch_add(1, Ordering::Relaxed);
            buffer
        };
        if shared.poison.load(Ordering::Relaxed)
            && let Some(buffer) = Arc::get_mut(&mut buffer)
        {
            buffer.slice_mut::<u8>(0, bytes).fill(0xff);
        }
        let live = shared.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        shared.peak.fetch_max(live, Ordering::Relaxed);
        Ok(buffer)
    }

    /// Called when a tensor lets go of a buffer; the last one returns it, Arc and all, so that nothing is freed.
    pub(crate) fn give(mut buffer: Arc<Buffer>) {
        if Arc::get_mut(&mut buffer).is_none() {
            return;
        }
        let Some(shared) = buffer.pool.upgrade() else { return };
        let bytes = buffer.bytes;
        shared.live.fetch_sub(bytes, Ordering::Relaxed);
        let mut free = shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        match free.binary_search_by_key(&bytes, |entry| entry.0) {
            Ok(i) => free[i].1.push(buffer),
            Err(i) => free.insert(i, (bytes, vec![buffer])),
        }
    }

    /// What it holds now.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            live: self.0.live.load(Ordering::Relaxed),
            peak: self.0.peak.load(Ordering::Relaxed),
            reserved: self.0.reserved.load(Ordering::Relaxed),
            allocations: self.0.allocations.load(Ordering::Relaxed),
        }
    }

    /// Forgets the peak: it starts again from what is live now.
    pub fn reset_peak(&self) {
        self.0.peak.store(self.0.live.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Gives the waiting buffers back to the system.
    pub fn trim(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *free);
        drop(free);
        drop(waiting);
    }

    /// Fills every buffer with NaN before it is handed out, so that tests see a value that was never written.
    pub fn set_poison(&self, poison: bool) {
        self.0.poison.store(poison, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_used_again() {
        let pool = Pool::new();
        let first = pool.take(100).unwrap();
        let address = first.memory;
        Pool::give(first);
        let again = pool.take(128).unwrap();
        assert_eq!(again.memory, address);
        assert_eq!(pool.stats(), PoolStats { live: 128, peak: 128, reserved: 128, allocations: 1 });
    }

    #[test]
    fn a_shared_buffer_stays_with_its_other_holder() {
        let pool = Pool::new();
        let one = pool.take(64).unwrap();
        let other = Arc::clone(&one);
        Pool::give(one);
        assert_eq!(pool.stats().live, 64);
        Pool::give(other);
        assert_eq!(pool.stats().live, 0);
        pool.trim();
        assert_eq!(pool.stats().reserved, 0);
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(matches!(Pool::new().take(usize::MAX - 100), Err(Error::OutOfMemory { .. })));
    }
}
