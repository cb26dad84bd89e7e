//! Zeroed memory from the system, in huge pages where it is large.

use crate::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Cache lines and AVX-512 vectors are 64 bytes; page alignment would cost small buffers more than
/// it gains.
pub(crate) const LINE: usize = 64;
/// The size of a huge page. Products read memory at strides of a page and more: with pages of 4
/// KiB, most of these reads miss the address cache, and on a virtual machine a miss walks two
/// tables.
const HUGE: usize = 2 << 20;

/// Memory aligned to a cache line, or to a huge page if it fills one.
///
/// ```
/// let mut memory = ff_tensor::Memory::zeroed(128)?;
/// memory[127] = 1;
/// assert_eq!(memory.iter().sum::<u8>(), 1);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is owned by this value alone and is plain bytes; shared access only reads.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory of `bytes` zeros.
    ///
    /// # Errors
    /// If the system has too little.
    pub fn zeroed(bytes: usize) -> Result<Self> {
        if bytes == 0 {
            return Ok(Self::nothing());
        }
        let out_of_memory = || Error::OutOfMemory { bytes };
        let layout = Self::layout(bytes).ok_or_else(out_of_memory)?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc(layout) }).ok_or_else(out_of_memory)?;
        if layout.align() == HUGE {
            advise(start, bytes);
        }
        // SAFETY: `bytes` bytes were allocated there.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { start, bytes })
    }

    /// No memory.
    pub const fn nothing() -> Self {
        #[repr(align(64))]
        struct Aligned;
        Self { start: NonNull::<Aligned>::dangling().cast(), bytes: 0 }
    }

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, if bytes < HUGE { LINE } else { HUGE }).ok()
    }

    /// The first byte.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

/// Asks for huge pages before the first use, where the system leaves that to programs. Only whole
/// ones: the memory of the process does not grow.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
fn advise(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is allocated, and the advice changes no values; a system that refuses it
    // leaves small pages.
    unsafe {
        libc::madvise(start.as_ptr().cast(), bytes / HUGE * HUGE, libc::MADV_HUGEPAGE);
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: initialised on allocation, and any bits are a valid byte.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.bytes).filter(|layout| layout.size() > 0) {
            // SAFETY: allocated with this layout, and freed once, here.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        for bytes in [0, 1, 64, HUGE - 1, HUGE, 2 * HUGE + 192] {
            let mut memory = Memory::zeroed(bytes).unwrap();
            assert_eq!(memory.len(), bytes);
            assert!(memory.iter().all(|&byte| byte == 0));
            let alignment = if bytes < HUGE { LINE } else { HUGE };
            assert!((memory.start() as usize).is_multiple_of(alignment), "{bytes} bytes");
            memory.fill(7);
        }
        assert!(matches!(Memory::zeroed(usize::MAX - 100), Err(Error::OutOfMemory { .. })));
    }
}
