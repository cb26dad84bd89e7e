//! Letting go of the interpreter, taking it back, and calling it, also while it ends.
//!
//! Before Python 3.14, an interpreter that ends kills threads that want it, by unwinding their
//! stacks, and one that has ended is no longer there to be asked. Such threads sleep here instead,
//! until the process is gone.

use crate::errors::defect;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

/// Runs `work` with the interpreter released; a panic becomes a `RuntimeError`.
pub(crate) fn compute<R: Send>(py: Python<'_>, work: impl Send + FnOnce() -> R) -> PyResult<R> {
    let done = calling(|| {
        py.detach(|| {
            let done = catch_unwind(AssertUnwindSafe(work));
            GATE.enter();
            done
        })
    });
    GATE.leave();
    done.map_err(|panic| defect(&*panic))
}

/// Takes the interpreter, which this thread has let go of, and runs `work`.
pub(crate) fn attached<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    GATE.enter();
    calling(|| {
        Python::attach(|py| {
            GATE.leave();
            work(py)
        })
    })
}

/// Runs a call that may let go of the interpreter while frames of ours hold objects, which
/// unwinding would drop without the interpreter. `work` itself must hold no objects.
pub(crate) fn calling<F: FnOnce() -> R, R>(work: F) -> R {
    let stay = Stay;
    // Functions of Python are declared as ones that never unwind, and `stay` would be left out
    // around them; those behind an opaque pointer may.
    let run: fn(F) -> R = std::hint::black_box(|work: F| work());
    let done = run(work);
    std::mem::forget(stay);
    done
}

/// Keeps a stack from being unwound any further, unless by a panic.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}

/// Calls a function of Python.
pub(crate) fn called<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    calling(|| function.call1(arguments))
}

/// Closes the way into the interpreter for all other threads, which `atexit` calls as it ends.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    py.detach(|| GATE.close());
}

static GATE: Gate = Gate { entering: AtomicUsize::new(0), closed: AtomicBool::new(false) };

thread_local! {
    /// Whether this thread ends the interpreter.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// The longest wait for threads on their way in. In the child of a fork they are not there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way into the interpreter; without a lock, which a fork could leave locked.
struct Gate {
    /// Threads that wait for the interpreter.
    entering: AtomicUsize,
    /// Whether it ends.
    closed: AtomicBool,
}

impl Gate {
    /// Announces that this thread, which does not hold the interpreter, will wait for it; once it
    /// ends, the thread sleeps.
    fn enter(&self) {
        // Counted first: whoever closes afterwards sees this thread, or it sees that it is closed.
        self.entering.fetch_add(1, SeqCst);
        if self.closed.load(SeqCst) && !ENDS.get() {
            self.leave();
            loop {
                std::thread::park();
            }
        }
    }

    /// This thread has the interpreter.
    fn leave(&self) {
        self.entering.fetch_sub(1, SeqCst);
    }

    /// Lets those in that wait, and nobody afterwards but this thread.
    fn close(&self) {
        ENDS.set(true);
        self.closed.store(true, SeqCst);
        let began = Instant::now();
        while self.entering.load(SeqCst) > 0 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
