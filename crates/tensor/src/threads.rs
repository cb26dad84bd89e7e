//! A persistent pool whose workers spin briefly for the next piece of work before they sleep.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;

/// About ten microseconds of spinning: longer than the gap between two operations of a step, shorter than a time slice.
const SPINS: u32 = 4_000;

/// A job is open to workers while this bit of the state is set; the bits below count the workers inside it, those above
/// number the jobs.
const OPEN: u64 = 1 << 31;

thread_local! {
    /// Set while a thread works for a pool: work asked for from inside runs where it is.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Threads that share independent tasks; which thread takes which task never shows in a result.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let pool = ff_tensor::ThreadPool::new(2);
/// let sum = AtomicUsize::new(0);
/// pool.run(100, &|i| { sum.fetch_add(i, Ordering::Relaxed); });
/// assert_eq!(sum.into_inner(), 4950);
/// ```
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time; whoever finds it taken works alone.
    busy: Mutex<()>,
    /// A child after a fork has no workers; it works alone.
    process: u32,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    job: Job,
    sleeping: AtomicUsize,
    stop: AtomicBool,
    wake: Condvar,
    lock: Mutex<()>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Debug)]
struct Job(UnsafeCell<(usize, *const (dyn Fn(usize) + Sync))>);

// SAFETY: written by the thread that holds `busy` while no job is open and no worker is inside; read by workers only
// after they entered an open job, which the release/acquire pair on `state` orders after the write.
unsafe impl Sync for Job {}
// SAFETY: the pointer is only followed as stated above.
unsafe impl Send for Job {}

impl ThreadPool {
    /// A pool of this many threads, the caller's included.
    pub fn new(threads: usize) -> Self {
        let nothing: &'static (dyn Fn(usize) + Sync) = &|_| {};
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: Job(UnsafeCell::new((0, std::ptr::from_ref(nothing)))),
            sleeping: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            wake: Condvar::new(),
            lock: Mutex::new(()),
            panic: Mutex::new(None),
        });
        let workers = (1..threads.max(1))
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("ff-{i}"))
                    .spawn(move || worker(&shared))
                    .ok()
            })
            .collect();
        Self { shared, workers, busy: Mutex::new(()), process: std::process::id() }
    }

    /// How many threads share the work, the caller's included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(0)` to `task(tasks - 1)`, each once, on all threads, and returns when all are done.
    ///
    /// # Panics
    /// A task panicked.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let alone = tasks <= 1 || self.workers.is_empty() || INSIDE.get();
        let guard = if alone || std::process::id() != self.process {
            None
        } else {
            match self.busy.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        };
        if guard.is_none() {
            (0..tasks).for_each(task);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; no worker is inside a job after this function returned (see below).
        let erased: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task)
        };
        // SAFETY: `busy` is held, no job is open and no worker is inside: nobody else looks at the job.
        unsafe { *shared.job.0.get() = (tasks, erased) };
        shared.next.store(0, Ordering::Relaxed);
        let number = (shared.state.load(Ordering::Relaxed) >> 32) + 1;
        shared.state.store(number << 32 | OPEN, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            let _lock = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        shared.take_tasks(tasks, task);
        // No worker enters any more; those inside finish what they took.
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while shared.state.load(Ordering::Acquire) & (OPEN - 1) != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        drop(guard);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _lock = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker never panics: tasks are caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn take_tasks(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let was = INSIDE.replace(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                task(i);
            }
        }));
        INSIDE.set(was);
        if let Err(payload) = result {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    /// Enters the open job if there is one that this worker has not been in.
    fn enter(&self, last: &mut u64) -> bool {
        let state = self.state.load(Ordering::Acquire);
        let open = state & OPEN != 0 && state >> 32 != *last;
        if open
            && self
                .state
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            *last = state >> 32;
            return true;
        }
        false
    }
}

fn worker(shared: &Shared) {
    let mut last = 0;
    loop {
        let mut spins = 0;
        while !shared.enter(&mut last) {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let lock = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            shared.sleeping.fetch_add(1, Ordering::SeqCst);
            let state = shared.state.load(Ordering::SeqCst);
            let nothing = state & OPEN == 0 || state >> 32 == last;
            if nothing && !shared.stop.load(Ordering::SeqCst) {
                drop(shared.wake.wait(lock));
            }
            shared.sleeping.fetch_sub(1, Ordering::SeqCst);
            spins = 0;
        }
        // SAFETY: this worker is counted inside an open job, so the caller of `run` waits for it before it returns or
        // writes another job: the pointer is valid and nobody writes.
        let (tasks, task) = unsafe {
            let (tasks, task) = *shared.job.0.get();
            (tasks, &*task)
        };
        shared.take_tasks(tasks, task);
        shared.state.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 4] {
            let pool = ThreadPool::new(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                for _ in 0..50 {
                    let counts: Vec<AtomicUsize> =
                        (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn work_asked_for_from_inside_runs_too() {
        let pool = ThreadPool::new(2);
        let sum = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(3, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 12);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|i| assert!(i != 5, "task five"));
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }
}
