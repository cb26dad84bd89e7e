//! A persistent thread pool whose workers spin briefly between jobs before they sleep.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The spinning time of a worker before it sleeps: longer than the gap between two operations of a
/// step, far shorter than a time slice; waking a worker costs the caller several microseconds.
const SPIN: Duration = Duration::from_micros(100);
/// The spinning time if threads outnumber cores: a spinning thread then keeps another one from its
/// work.
const SPIN_CROWDED: Duration = Duration::from_micros(1);

/// Set in the state while a job is open to workers; the bits below count the workers inside it,
/// those above number the jobs.
const OPEN: u64 = 1 << 31;

thread_local! {
    /// Set while a thread works for a pool: nested jobs run on that thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A pool of threads that share independent tasks; results do not depend on the assignment of tasks
/// to threads.
///
/// Each thread starts with its own part of the tasks, the same one for the same number of tasks, so
/// that the data of a task is in the cache of the core that last ran it; a thread with no tasks
/// left helps the others.
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
    /// Held during a job; a caller that finds it locked works alone.
    busy: Mutex<()>,
    /// The fork count of the process that made the pool: a forked child has no workers and works
    /// alone.
    forks: usize,
}

#[derive(Debug)]
struct Shared {
    /// The state that waiting workers read, on one cache line.
    job: Line<Job>,
    /// The next task of each thread's own part.
    next: Box<[Line<AtomicUsize>]>,
    sleeping: AtomicUsize,
    stop: AtomicBool,
    wake: Condvar,
    lock: Mutex<()>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spin: Duration,
}

/// A value alone on its cache line (two lines, as CPUs fetch them in pairs).
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

#[derive(Debug)]
struct Job {
    state: AtomicU64,
    work: UnsafeCell<(usize, *const (dyn Fn(usize) + Sync))>,
    panicked: AtomicBool,
}

// SAFETY: `work` is written by the holder of `busy` while no job is open and no worker is inside;
// workers read it only after entering an open job, which the release/acquire pair on `state` orders
// after the write.
unsafe impl Sync for Job {}
// SAFETY: the pointer is only dereferenced as stated above.
unsafe impl Send for Job {}

impl ThreadPool {
    /// A pool of `threads` threads, including the caller's.
    pub fn new(threads: usize) -> Self {
        let nothing: &'static (dyn Fn(usize) + Sync) = &|_| {};
        let threads = threads.max(1);
        let crowded = std::thread::available_parallelism().is_ok_and(|cores| threads > cores.get());
        let shared = Arc::new(Shared {
            job: Line(Job {
                state: AtomicU64::new(0),
                work: UnsafeCell::new((0, std::ptr::from_ref(nothing))),
                panicked: AtomicBool::new(false),
            }),
            next: (0..threads).map(|_| Line(AtomicUsize::new(0))).collect(),
            sleeping: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            wake: Condvar::new(),
            lock: Mutex::new(()),
            panic: Mutex::new(None),
            spin: if crowded { SPIN_CROWDED } else { SPIN },
        });
        let workers = (1..threads)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("ff-{i}"))
                    .spawn(move || worker(&shared, i))
                    .ok()
            })
            .collect();
        Self { shared, workers, busy: Mutex::new(()), forks: fork::count() }
    }

    /// The number of threads, including the caller's.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(0)` to `task(tasks - 1)`, each once, on all threads, and returns when all are
    /// done.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let Some(guard) = self.claim(tasks) else {
            return (0..tasks).for_each(task);
        };
        let shared = &*self.shared;
        let job = &shared.job.0;
        // SAFETY: only the lifetime changes; no worker is inside a job after this function returns
        // (see below).
        let erased: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task)
        };
        // SAFETY: `busy` is held, no job is open and no worker is inside: no other thread accesses
        // the job.
        unsafe { *job.work.get() = (tasks, erased) };
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.part(thread, tasks).0, Ordering::Relaxed);
        }
        let number = (job.state.load(Ordering::Relaxed) >> 32) + 1;
        job.state.store(number << 32 | OPEN, Ordering::SeqCst);
        let sleeping = shared.sleeping.load(Ordering::SeqCst);
        if sleeping > 0 {
            shared.wake(sleeping.min(tasks - 1));
        }
        shared.take_tasks(0, tasks, task);
        // No more workers can enter; those inside finish their tasks.
        let mut inside = job.state.fetch_and(!OPEN, Ordering::AcqRel) & (OPEN - 1);
        let mut wait = Wait::new(shared.spin);
        while inside != 0 {
            if !wait.spin() {
                std::thread::yield_now();
            }
            inside = job.state.load(Ordering::Acquire) & (OPEN - 1);
        }
        let panicked = job.panicked.load(Ordering::Relaxed);
        if panicked {
            job.panicked.store(false, Ordering::Relaxed);
            let payload = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(guard);
            if let Some(payload) = payload {
                resume_unwind(payload);
            }
        }
    }

    /// The results of independent tasks, one for each item, in the order of the items.
    ///
    /// # Panics
    /// A task panicked.
    ///
    /// ```
    /// let pool = ff_tensor::ThreadPool::new(2);
    /// assert_eq!(pool.map(["a", "bcd"], str::len), [1, 3]);
    /// ```
    pub fn map<I, T>(&self, items: I, task: impl Fn(I::Item) -> T + Sync) -> Vec<T>
    where
        I: IntoIterator<Item: Send>,
        T: Send,
    {
        let slots: Vec<_> = items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
        self.run(slots.len(), &|i| {
            // Only the task of its index ever locks a slot.
            let mut slot = slots[i].lock().unwrap_or_else(PoisonError::into_inner);
            slot.1 = slot.0.take().map(&task);
        });
        let result = |slot: Mutex<(_, Option<T>)>| {
            slot.into_inner().unwrap_or_else(PoisonError::into_inner).1
        };
        slots.into_iter().filter_map(result).collect()
    }

    /// The right to open a job; `None` if the caller must work alone.
    fn claim(&self, tasks: usize) -> Option<MutexGuard<'_, ()>> {
        if tasks <= 1 || self.workers.is_empty() || INSIDE.get() || self.forks != fork::count() {
            return None;
        }
        match self.busy.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if self.forks != fork::count() {
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake(usize::MAX);
        for worker in self.workers.drain(..) {
            // A worker never panics: panics of tasks are caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A thread's own part of the tasks: the first and one past the last.
    fn part(&self, thread: usize, tasks: usize) -> (usize, usize) {
        let threads = self.next.len().min(tasks);
        // The product cannot overflow for any feasible number of tasks.
        let start = |thread: usize| thread.min(threads) * tasks / threads;
        (start(thread), start(thread + 1))
    }

    /// Takes tasks until none are left, the thread's own part first.
    fn take_tasks(&self, thread: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let was = INSIDE.replace(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let threads = self.next.len();
            for owner in (thread..threads).chain(0..thread) {
                let (next, end) = (&self.next[owner].0, self.part(owner, tasks).1);
                // Reading first leaves the cache line of a finished thread where it is.
                while next.load(Ordering::Relaxed) < end {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= end {
                        break;
                    }
                    task(i);
                }
            }
        }));
        INSIDE.set(was);
        if let Err(payload) = result {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            self.job.0.panicked.store(true, Ordering::Relaxed);
        }
    }

    fn wake(&self, workers: usize) {
        // A thread counted as sleeping holds the lock until it waits, so no wake-up is lost.
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if workers >= self.next.len() - 1 {
            self.wake.notify_all();
        } else {
            (0..workers).for_each(|_| self.wake.notify_one());
        }
    }

    /// Sleeps until a job after number `last` is open, or the pool shuts down.
    fn sleep(&self, last: u64) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Either this worker sees the new job, or the opener sees a sleeper.
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let state = self.job.0.state.load(Ordering::SeqCst);
        let nothing = state & OPEN == 0 || state >> 32 == last;
        if nothing && !self.stop.load(Ordering::SeqCst) {
            drop(self.wake.wait(lock));
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    /// Enters the job if this state says it is open.
    fn enter(&self, state: u64) -> bool {
        let inside = &self.job.0.state;
        state & OPEN != 0
            && inside
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

fn worker(shared: &Shared, thread: usize) {
    let state = &shared.job.0.state;
    // The last job that this worker entered or saw closed.
    let mut last = 0;
    loop {
        let mut wait = Wait::new(shared.spin);
        loop {
            let now = state.load(Ordering::Acquire);
            if now >> 32 != last {
                if shared.enter(now) {
                    last = now >> 32;
                    break;
                }
                if now & OPEN == 0 {
                    // Other workers finished the job first; the next one is likely near.
                    last = now >> 32;
                    wait = Wait::new(shared.spin);
                }
            }
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            if !wait.spin() {
                shared.sleep(last);
                wait = Wait::new(shared.spin);
            }
        }
        // SAFETY: this worker is counted inside an open job, so the caller of `run` waits for it
        // before returning or writing another job: the pointer is valid and not being written.
        let (tasks, task) = unsafe {
            let (tasks, task) = *shared.job.0.work.get();
            (tasks, &*task)
        };
        shared.take_tasks(thread, tasks, task);
        state.fetch_sub(1, Ordering::Release);
    }
}

/// A bounded spin.
struct Wait {
    spins: u32,
    end: Option<Instant>,
    length: Duration,
}

impl Wait {
    fn new(length: Duration) -> Self {
        Self { spins: 0, end: None, length }
    }

    /// Pauses briefly; false once the time is up. The clock is read only now and then, since
    /// reading it takes as long as several pauses.
    fn spin(&mut self) -> bool {
        std::hint::spin_loop();
        self.spins += 1;
        if !self.spins.is_multiple_of(32) {
            return true;
        }
        let now = Instant::now();
        now < *self.end.get_or_insert(now + self.length)
    }
}

/// Detects forks without a system call per job.
mod fork {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static FORKS: AtomicUsize = AtomicUsize::new(0);

    /// The number of forks between the process that first called this and the current one.
    pub(super) fn count() -> usize {
        #[cfg(unix)]
        {
            static WATCH: std::sync::Once = std::sync::Once::new();
            extern "C" fn in_child() {
                FORKS.fetch_add(1, Ordering::Relaxed);
            }
            WATCH.call_once(|| {
                // SAFETY: the handler lives as long as the program and only increments an atomic,
                // which is allowed in the child of a multi-threaded process.
                unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            });
        }
        FORKS.load(Ordering::Relaxed)
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

    /// The initial parts cover the tasks; with few tasks, the first threads get one each.
    #[test]
    fn parts_cover_the_tasks() {
        for threads in [1, 2, 3, 4, 7] {
            let pool = ThreadPool::new(threads);
            for tasks in [1, 2, 3, 5, 100] {
                let parts: Vec<_> = (0..threads).map(|t| pool.shared.part(t, tasks)).collect();
                assert_eq!((parts[0].0, parts[threads - 1].1), (0, tasks));
                assert!(parts.windows(2).all(|p| p[0].1 == p[1].0));
                if tasks <= threads {
                    assert!((0..tasks).all(|t| parts[t] == (t, t + 1)));
                }
            }
        }
    }

    /// A worker that missed a wake-up would leave interdependent tasks unfinished forever.
    #[test]
    fn sleeping_workers_wake_up() {
        for threads in [2, 4] {
            let pool = ThreadPool::new(threads);
            for round in 0..40 {
                std::thread::sleep(SPIN * (round % 4));
                let arrived = AtomicUsize::new(0);
                pool.run(threads, &|_| {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    while arrived.load(Ordering::Relaxed) < threads {
                        std::thread::yield_now();
                    }
                });
                assert_eq!(arrived.into_inner(), threads);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_child_after_a_fork_works_alone() {
        let pool = ThreadPool::new(2);
        pool.run(8, &|_| {});
        // SAFETY: the child takes no lock of its parent: it counts, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let sum = AtomicUsize::new(0);
            pool.run(8, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            // SAFETY: ends the child at once, without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(sum.into_inner() != 28)) };
        }
        let mut status = -1;
        // SAFETY: `status` lives as long as the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
    }
}
