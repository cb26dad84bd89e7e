//! Scratch memory lent by the calling thread to its worker threads, one slot each.

use crate::rows::Shared;
use ff_tensor::Memory;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A cache line, the alignment of panels.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Line(#[allow(dead_code)] pub(crate) [u8; 64]);

thread_local! {
    /// The scratch memory. The calling thread holds it for all threads, so that steps over shapes
    /// seen before allocate nothing.
    pub(crate) static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch(Memory::nothing())) };
}

/// Memory that grows, without keeping its contents.
pub(crate) struct Scratch(Memory);

impl Scratch {
    /// At least `lines` lines.
    ///
    /// # Panics
    /// If the system has too little memory.
    pub(crate) fn lines(&mut self, lines: usize) -> &mut [Line] {
        let bytes = lines * size_of::<Line>();
        if self.0.len() < bytes {
            self.0 = Memory::nothing();
            self.0 = Memory::zeroed(bytes).unwrap_or_else(|error| panic!("scratch: {error}"));
        }
        // SAFETY: the memory is aligned to lines, whose bits are all valid, and holds these.
        unsafe {
            let whole = self.0.len() / size_of::<Line>();
            std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), whole)
        }
    }
}

/// Memory divided into ranges of whole lines, each written by one thread.
pub(crate) struct Space<'a>(Shared<'a, Line>);

impl<'a> Space<'a> {
    pub(crate) fn new(lines: &'a mut [Line]) -> Self {
        Self(Shared::new(lines))
    }

    /// The number of lines for `values` values.
    pub(crate) fn lines<P>(values: usize) -> usize {
        values.div_ceil(size_of::<Line>() / size_of::<P>())
    }

    /// Room for `values` values from a line on.
    ///
    /// # Safety
    /// No two ranges that live at the same time overlap; any bits are a valid `P`, whose alignment
    /// is at most a line's.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range<P>(&self, line: usize, values: usize) -> &mut [P] {
        // SAFETY: in bounds and exclusive by the caller.
        let lines = unsafe { self.0.range(line, Self::lines::<P>(values)) };
        // SAFETY: the lines are initialised and hold at least that many values; the caller
        // guarantees the rest.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), values) }
    }
}

/// The maximum number of slots, one per bit of a word; more threads than that take turns.
pub(crate) const MAX_SLOTS: usize = 64;

/// The right to use one of several slots until dropped.
pub(crate) struct ScratchSlot<'a> {
    free: &'a AtomicU64,
    pub(crate) number: usize,
}

impl<'a> ScratchSlot<'a> {
    /// Takes the wanted slot or, if another block has it, any.
    pub(crate) fn take(free: &'a AtomicU64, wanted: usize) -> Self {
        loop {
            let bits = free.load(Ordering::Relaxed);
            let number =
                if bits & 1 << wanted != 0 { wanted } else { bits.trailing_zeros() as usize };
            if bits == 0 {
                std::thread::yield_now();
            } else if free.fetch_and(!(1 << number), Ordering::Acquire) & 1 << number != 0 {
                return Self { free, number };
            }
        }
    }
}

impl Drop for ScratchSlot<'_> {
    fn drop(&mut self) {
        self.free.fetch_or(1 << self.number, Ordering::Release);
    }
}
