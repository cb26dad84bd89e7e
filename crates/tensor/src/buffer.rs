//! Aligned, recycled memory: in steady state, a training step takes every buffer from the pool and
//! returns it.

use crate::memory::LINE;
use crate::{Element, Memory, Result};
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A block of memory from a [`Pool`], returned to it when the last tensor over it is dropped.
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
    /// Empty in a plan.
    memory: Memory,
    bytes: usize,
    /// False in a plan.
    backed: bool,
    /// The bin of the pool's free list for this size.
    bin: usize,
    pool: Arc<Shared>,
}

impl Buffer {
    fn new(bytes: usize, bin: usize, pool: Arc<Shared>) -> Result<Self> {
        let backed = !pool.planning;
        let memory = if backed { Memory::zeroed(bytes)? } else { Memory::nothing() };
        Ok(Self { memory, bytes, backed, bin, pool })
    }

    /// The size in bytes, a multiple of 64.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_planned(&self) -> bool {
        !self.backed
    }

    pub(crate) fn slice<T: Element>(&self, offset: usize, len: usize) -> &[T] {
        self.check::<T>(offset, len);
        // SAFETY: in bounds and aligned by `check`; the memory was zeroed on allocation, so it is
        // initialised, and any bits are a valid `T` (see `Element`).
        unsafe { std::slice::from_raw_parts(self.memory.start().add(offset).cast(), len) }
    }

    pub(crate) fn slice_mut<T: Element>(&mut self, offset: usize, len: usize) -> &mut [T] {
        self.check::<T>(offset, len);
        // SAFETY: as in `slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start().add(offset).cast(), len) }
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
        self.pool.with(|free| free.stats.reserved -= self.bytes);
    }
}

/// The memory use of a [`Pool`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Held by live tensors now.
    pub live: usize,
    /// The maximum held by live tensors, since the start or the last [`Pool::reset_peak`].
    pub peak: usize,
    /// Reserved from the system, in use or free.
    pub reserved: usize,
    /// The number of buffers allocated from the system.
    pub allocations: usize,
}

/// A free list of buffers, by exact size.
///
/// ```
/// let pool = ff_tensor::Pool::new();
/// assert_eq!(pool.stats().reserved, 0);
/// ```
#[derive(Debug)]
pub struct Pool(Arc<Shared>);

/// A buffer holds its pool and the pool its free buffers: dropping the last [`Pool`] breaks the
/// cycle.
#[derive(Debug, Default)]
struct Shared {
    /// Whether a thread holds the free list: for some nanoseconds, so others spin.
    taken: AtomicBool,
    free: UnsafeCell<FreeList>,
    pools: AtomicUsize,
    poison: AtomicBool,
    planning: bool,
}

// SAFETY: the free list is only reached through `lock`, by one thread at a time; all of its
// contents are `Send`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

#[derive(Debug, Default)]
struct FreeList {
    /// One bin per size seen; a step has few sizes, and a free buffer knows its bin.
    bins: Vec<Bin>,
    /// The last bin used for each remainder of a size in cache lines: usually the right one.
    recent: [u32; RECENT],
    stats: PoolStats,
    /// No pool is left: returned buffers are freed.
    closed: bool,
}

#[derive(Debug)]
struct Bin {
    bytes: usize,
    waiting: Vec<Arc<Buffer>>,
}

const RECENT: usize = 32;

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.0.pools.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.0.pools.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.with(|free| free.closed = true);
            self.trim();
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// A pool that counts requests without taking memory: a dry run of a step gives its memory
    /// needs.
    pub fn planning() -> Self {
        Self::with(true)
    }

    fn with(planning: bool) -> Self {
        Self(Arc::new(Shared { planning, pools: AtomicUsize::new(1), ..Shared::default() }))
    }

    /// Whether the pool only counts.
    pub fn is_planning(&self) -> bool {
        self.0.planning
    }

    /// The bytes actually taken by a request.
    pub fn rounded(bytes: usize) -> usize {
        bytes.max(1).div_ceil(LINE).saturating_mul(LINE)
    }

    /// A buffer of at least this many bytes, with arbitrary contents.
    ///
    /// # Errors
    /// If memory is exhausted.
    pub fn take(&self, bytes: usize) -> Result<Arc<Buffer>> {
        let bytes = Self::rounded(bytes);
        let shared = &self.0;
        let (bin, waiting) = shared.with(|free| {
            let bin = free.bin(bytes);
            let waiting = free.bins[bin].waiting.pop();
            if waiting.is_some() {
                free.stats.hand_out(bytes);
            }
            (bin, waiting)
        });
        let mut buffer = if let Some(buffer) = waiting {
            buffer
        } else {
            let buffer = Arc::new(Buffer::new(bytes, bin, Arc::clone(shared))?);
            shared.with(|free| {
                free.stats.reserved += bytes;
                free.stats.allocations += 1;
                free.stats.hand_out(bytes);
            });
            buffer
        };
        if shared.poison.load(Ordering::Relaxed)
            && let Some(buffer) = Arc::get_mut(&mut buffer)
        {
            buffer.slice_mut::<u8>(0, bytes).fill(0xff);
        }
        Ok(buffer)
    }

    /// Called when a tensor releases a buffer; the last one returns it, Arc included, so that
    /// nothing is freed.
    pub(crate) fn give(buffer: Arc<Buffer>) {
        if Arc::strong_count(&buffer) > 1 {
            // Of two tensors releasing at the same moment, the later one frees the memory.
            if let Some(buffer) = Arc::into_inner(buffer) {
                buffer.pool.with(|free| free.stats.live -= buffer.bytes);
            }
            return;
        }
        let shared = Arc::as_ptr(&buffer.pool);
        // SAFETY: this buffer holds its pool. Once it is in the list, another thread may drop both,
        // but not before this thread has left the list, its last access to the pool.
        let closed = unsafe {
            Shared::lock(shared, |free| {
                free.stats.live -= buffer.bytes;
                if free.closed {
                    return Some(buffer);
                }
                let bin = buffer.bin;
                free.bins[bin].waiting.push(buffer);
                None
            })
        };
        // A buffer's drop updates the counters, so it runs outside the list.
        drop(closed);
    }

    /// The current memory use.
    pub fn stats(&self) -> PoolStats {
        self.0.with(|free| free.stats)
    }

    /// Resets the peak to the bytes live now.
    pub fn reset_peak(&self) {
        self.0.with(|free| free.stats.peak = free.stats.live);
    }

    /// Returns the free buffers to the system.
    pub fn trim(&self) {
        let mut waiting = Vec::new();
        self.0.with(|free| free.bins.iter_mut().for_each(|bin| waiting.append(&mut bin.waiting)));
        drop(waiting);
    }

    /// Fills every buffer with NaN before handing it out, so that tests detect values never
    /// written.
    pub fn set_poison(&self, poison: bool) {
        self.0.poison.store(poison, Ordering::Relaxed);
    }
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut FreeList) -> R) -> R {
        // SAFETY: `self` outlives the call.
        unsafe { Self::lock(self, f) }
    }

    /// Calls `f` with exclusive access to the free list.
    ///
    /// # Safety
    /// `shared` lives until the list is left, the last access to it.
    unsafe fn lock<R>(shared: *const Self, f: impl FnOnce(&mut FreeList) -> R) -> R {
        /// Leaves the list, even if `f` panics.
        struct Leave(*const AtomicBool);
        impl Drop for Leave {
            fn drop(&mut self) {
                // SAFETY: the pool lives until the list is left, here.
                unsafe { (*self.0).store(false, Ordering::Release) };
            }
        }
        // SAFETY: the pool lives, as guaranteed by the caller.
        let (taken, free) = unsafe { (&raw const (*shared).taken, (*shared).free.get()) };
        let mut tries = 0;
        // SAFETY: as above.
        while unsafe { (*taken).swap(true, Ordering::Acquire) } {
            tries += 1;
            if tries % 64 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let _leave = Leave(taken);
        // SAFETY: `taken` was false and is now true, so this thread has exclusive access to the
        // list until it leaves.
        f(unsafe { &mut *free })
    }
}

impl PoolStats {
    fn hand_out(&mut self, bytes: usize) {
        self.live += bytes;
        self.peak = self.peak.max(self.live);
    }
}

impl FreeList {
    /// The bin of this size, created if necessary.
    fn bin(&mut self, bytes: usize) -> usize {
        let recent = &mut self.recent[bytes / LINE % RECENT];
        if self.bins.get(*recent as usize).is_some_and(|bin| bin.bytes == bytes) {
            return *recent as usize;
        }
        let found = self.bins.iter().position(|bin| bin.bytes == bytes);
        let bin = found.unwrap_or_else(|| {
            self.bins.push(Bin { bytes, waiting: Vec::new() });
            self.bins.len() - 1
        });
        *recent = bin as u32;
        bin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_buffer_given_back_is_used_again() {
        let pool = Pool::new();
        let first = pool.take(100).unwrap();
        let address = first.memory.start();
        Pool::give(first);
        let again = pool.take(128).unwrap();
        assert_eq!(again.memory.start(), address);
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

    /// The pool holds free buffers and they hold the pool: the last handle frees both, before or
    /// after the buffers.
    #[test]
    fn nothing_is_left_when_pool_and_buffers_are_gone() {
        for buffers_first in [true, false] {
            let pool = Pool::new();
            let shared = Arc::downgrade(&pool.0);
            let buffers = [pool.take(100).unwrap(), pool.take(100).unwrap()];
            Pool::give(pool.clone().take(7).unwrap());
            if buffers_first {
                buffers.into_iter().for_each(Pool::give);
                drop(pool);
            } else {
                drop(pool);
                assert_eq!(shared.upgrade().unwrap().with(|free| free.stats.reserved), 256);
                buffers.into_iter().for_each(Pool::give);
            }
            assert!(shared.upgrade().is_none());
        }
    }

    #[test]
    fn threads_take_and_give_at_the_same_time() {
        let pool = Pool::new();
        std::thread::scope(|scope| {
            for t in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for i in 0..2000 {
                        let buffer = pool.take(64 * (1 + (t + i) % 5)).unwrap();
                        let other = Arc::clone(&buffer);
                        Pool::give(buffer);
                        Pool::give(other);
                    }
                });
            }
        });
        assert_eq!(pool.stats().live, 0);
        pool.trim();
        assert_eq!(pool.stats().reserved, 0);
    }

    /// Sizes that share an entry in the list of recent ones.
    #[test]
    fn sizes_are_not_confused() {
        let pool = Pool::new();
        let sizes = [64, 64 * (1 + RECENT), 64 * (1 + 2 * RECENT)];
        for _ in 0..3 {
            let buffers = sizes.map(|bytes| pool.take(bytes).unwrap());
            assert_eq!(buffers.each_ref().map(|buffer| buffer.bytes()), sizes);
            buffers.into_iter().for_each(Pool::give);
        }
        assert_eq!(pool.stats().allocations, 3);
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(matches!(Pool::new().take(usize::MAX - 100), Err(Error::OutOfMemory { .. })));
    }
}
