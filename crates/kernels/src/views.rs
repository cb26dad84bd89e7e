//! Writable parts of matrices: the columns of a head in the rows of a sequence.

use crate::rows::TASK_WORK;
use crate::scratch::{MAX_SLOTS, SCRATCH, ScratchSlot, Space};
use ff_tensor::{CpuDevice, Element};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// A writable matrix, as a view with a row stride.
///
/// ```
/// use ff_kernels::MatMut;
/// let mut values = [0.0f32; 6];
/// let [mut left, mut right] = MatMut::new(&mut values, 2, 3).split_columns([1, 2]);
/// left.row(1).fill(1.0);
/// right.row(0).fill(2.0);
/// assert_eq!(values, [0.0, 2.0, 2.0, 1.0, 0.0, 0.0]);
/// ```
#[derive(Debug)]
pub struct MatMut<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    row: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the view is an exclusive borrow of its values, shared with no other view.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared reference to the view gives no access to the values.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If the number of values is not `rows` × `cols`.
    pub fn new(values: &'a mut [T], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} × {cols} matrix");
        Self { start: values.as_mut_ptr(), rows, cols, row: cols, owner: PhantomData }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The stride of rows.
    pub(crate) fn distance(&self) -> usize {
        self.row
    }

    /// The first value.
    pub(crate) fn start(&mut self) -> *mut T {
        self.start
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: the view is an exclusive borrow of the columns of its rows, and the row is one of
        // them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.row), self.cols) }
    }

    /// A temporary view of some rows and columns.
    ///
    /// # Panics
    /// If the block reaches outside the view.
    pub fn block(&mut self, rows: Range<usize>, cols: Range<usize>) -> MatMut<'_, T> {
        let inside = rows.start <= rows.end && rows.end <= self.rows;
        assert!(inside && cols.start <= cols.end && cols.end <= self.cols, "outside the view");
        MatMut {
            start: self.start.wrapping_add(rows.start * self.row + cols.start),
            rows: rows.len(),
            cols: cols.len(),
            row: self.row,
            owner: PhantomData,
        }
    }

    /// Views of adjacent columns, starting with the first.
    ///
    /// # Panics
    /// If there are fewer columns.
    pub fn split_columns<const N: usize>(self, widths: [usize; N]) -> [Self; N] {
        assert!(widths.iter().sum::<usize>() <= self.cols, "the widths exceed the view's columns");
        let mut first = 0;
        widths.map(|cols| {
            let start = self.start.wrapping_add(first);
            first += cols;
            // The columns are disjoint: no two of these views share a value.
            Self { start, cols, ..Self { owner: PhantomData, ..self } }
        })
    }
}

/// A view divided among sequences and heads.
struct Divided<'a, T> {
    view: MatMut<'a, T>,
    batch: usize,
    heads: usize,
}

impl<'a, T> Divided<'a, T> {
    fn new(view: MatMut<'a, T>, batch: usize, heads: usize) -> Self {
        let even = view.rows.is_multiple_of(batch.max(1)) && view.cols.is_multiple_of(heads.max(1));
        assert!(even, "an output of {batch} sequences and {heads} heads");
        Self { view, batch, heads }
    }

    /// The rows of a sequence and the columns of a head.
    ///
    /// # Safety
    /// No two views of the same sequence and head live at the same time.
    unsafe fn head(&self, b: usize, h: usize) -> MatMut<'a, T> {
        let Self { view, batch, heads } = self;
        let (rows, cols) = (view.rows / batch, view.cols / heads);
        let start = view.start.wrapping_add(b * rows * view.row + h * cols);
        MatMut { start, rows, cols, row: view.row, owner: PhantomData }
    }
}

/// Calls `f((sequence, head), scratch, views)` for every sequence and head, with that part of each
/// output: rows are divided among the sequences, columns among the heads.
///
/// `scratch` is memory of `len` values for the duration of the call, with arbitrary contents.
/// `work` is the approximate number of operations per task. The tasks are the same for any number
/// of threads. `f` may only use block products ([`crate::BlockFloat`]): other products need the
/// same scratch memory.
///
/// # Panics
/// If rows or columns of an output cannot be divided evenly.
///
/// ```
/// use ff_kernels::{MatMut, for_heads};
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 8];
/// let outputs = [Some(MatMut::new(&mut y, 2, 4))];
/// let none: [Option<MatMut<'_, f32>>; 0] = [];
/// for_heads(device.cpu(), (2, 2), 1, 0, outputs, none, |(b, h), _scratch: &mut [f32], [y], []| {
///     y.unwrap().row(0).fill((10 * b + h) as f32);
/// });
/// assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 10.0, 10.0, 11.0, 11.0]);
/// ```
pub fn for_heads<S: Send + Sync, T: Element, const N: usize, const M: usize>(
    cpu: &CpuDevice,
    (batch, heads): (usize, usize),
    work: usize,
    len: usize,
    outputs: [Option<MatMut<'_, S>>; N],
    more: [Option<MatMut<'_, T>>; M],
    f: impl Fn((usize, usize), &mut [T], [Option<MatMut<'_, S>>; N], [Option<MatMut<'_, T>>; M]) + Sync,
) {
    let outputs = outputs.map(|view| view.map(|view| Divided::new(view, batch, heads)));
    let more = more.map(|view| view.map(|view| Divided::new(view, batch, heads)));
    let tasks = batch * heads;
    if tasks == 0 {
        return;
    }
    let threads = if tasks * work < TASK_WORK { 1 } else { cpu.threads().count() };
    let slots = threads.min(tasks).min(MAX_SLOTS);
    let lines = Space::lines::<T>(len);
    SCRATCH.with_borrow_mut(|scratch| {
        let space = Space::new(scratch.lines(slots * lines));
        let free = AtomicU64::new(u64::MAX >> (MAX_SLOTS - slots));
        let task = |number: usize| {
            let slot = ScratchSlot::take(&free, number * slots / tasks);
            // SAFETY: a slot belongs to one task until dropped; any bits are a valid number.
            let scratch = unsafe { space.range::<T>(slot.number * lines, len) };
            let (b, h) = (number / heads, number % heads);
            // SAFETY: each task runs once, and its views are disjoint from the others'.
            let outputs =
                outputs.each_ref().map(|view| view.as_ref().map(|view| unsafe { view.head(b, h) }));
            // SAFETY: as above.
            let more =
                more.each_ref().map(|view| view.as_ref().map(|view| unsafe { view.head(b, h) }));
            f((b, h), scratch, outputs, more);
        };
        if threads == 1 {
            (0..tasks).for_each(task);
        } else {
            cpu.threads().run(tasks, &task);
        }
    });
}
