//! Trainings side by side, each on threads of its own.

use crate::error::Result;
use crate::run::watch::Watcher;
use ff_tensor::{Device, DeviceOptions};
use ff_train::{EpochRecord, Event, Observer};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often the watcher is asked whether to stop while nothing is told.
const ASK: Duration = Duration::from_millis(100);

/// How many of so many trainings run at a time: each has a thread at least.
pub(in crate::table) fn at_a_time(threads: usize, jobs: usize) -> usize {
    threads.min(jobs).max(1)
}

/// `train(job, device, observer)` for every job, on a share of the device's threads each: the
/// operations of a small network are too short to gain by several threads, networks beside each
/// other are not. Results are in the order of the jobs.
///
/// The events of the trainings of one share, one after another, reach the watcher; the others are
/// silent. All stop when it asks for that, and jobs that have not begun by then have no result.
///
/// # Errors
/// The first one of a training; the other shares end with the job that they are at.
pub(super) fn together<T: Send>(
    device: &Device,
    jobs: usize,
    watcher: &mut dyn Watcher,
    train: impl Fn(usize, &Device, &mut dyn Observer) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = device.cpu().threads().count();
    let shares = at_a_time(threads, jobs);
    if shares == 1 {
        return (0..jobs).map(|job| train(job, device, watcher)).collect();
    }
    let options = DeviceOptions { threads: threads / shares, isa: Some(device.cpu().path()) };
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, events) = channel();
    let work = |share: usize, sender: Sender<Told>| -> Result<Vec<(usize, T)>> {
        let own = Device::open(options)?;
        let mut teller = Teller { sender, silent: share > 0, stop: &stop };
        let mut done = Vec::new();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs || stop.load(Ordering::Relaxed) {
                return Ok(done);
            }
            match train(job, &own, &mut teller) {
                Ok(result) => done.push((job, result)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let results = thread::scope(|scope| {
        let (work, senders) = (&work, vec![sender; shares]);
        let begin = |(share, sender)| scope.spawn(move || work(share, sender));
        let handles: Vec<_> = senders.into_iter().enumerate().map(begin).collect();
        tell(watcher, &events, &stop);
        let results =
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|e| resume_unwind(e)));
        results.collect::<Result<Vec<_>>>()
    })?;
    let mut results: Vec<(usize, T)> = results.into_iter().flatten().collect();
    results.sort_by_key(|&(job, _)| job);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Hands on what is told until no share is left.
fn tell(watcher: &mut dyn Watcher, events: &Receiver<Told>, stop: &AtomicBool) {
    loop {
        match events.recv_timeout(ASK) {
            Ok(told) => watcher.event(told.event()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if watcher.interrupted() {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Tells another thread of the events of its trainings.
struct Teller<'a> {
    sender: Sender<Told>,
    silent: bool,
    stop: &'a AtomicBool,
}

impl Observer for Teller<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Some(told) = Told::of(event).filter(|_| !self.silent) {
            // Nobody listens any more only where the whole run has failed.
            let _ = self.sender.send(told);
        }
    }

    fn interrupted(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// An event with what it refers to.
enum Told {
    Phase(String),
    /// One that refers to nothing.
    Plain(Event<'static>),
    Epoch(Box<EpochRecord>, Option<usize>),
    Checkpoint(PathBuf),
}

impl Told {
    fn of(event: Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Phase(name) => Self::Phase(name.to_owned()),
            Event::Start { step, total_steps, steps_per_epoch } => {
                Self::Plain(Event::Start { step, total_steps, steps_per_epoch })
            }
            Event::Step { step, total_steps, epoch, loss, lr, grad_norm } => {
                Self::Plain(Event::Step { step, total_steps, epoch, loss, lr, grad_norm })
            }
            Event::Epoch { record, best } => Self::Epoch(Box::new(record.clone()), best),
            Event::Checkpoint(path) => Self::Checkpoint(path.to_owned()),
            _ => return None,
        })
    }

    fn event(&self) -> Event<'_> {
        match self {
            Self::Phase(name) => Event::Phase(name),
            Self::Plain(event) => *event,
            Self::Epoch(record, best) => Event::Epoch { record, best: *best },
            Self::Checkpoint(path) => Event::Checkpoint(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Counts events, and asks to stop after so many.
    struct Count(usize, usize);

    impl Observer for Count {
        fn event(&mut self, _: Event<'_>) {
            self.0 += 1;
        }

        fn interrupted(&mut self) -> bool {
            self.0 >= self.1
        }
    }

    impl Watcher for Count {}

    fn device(threads: usize) -> Device {
        Device::open(DeviceOptions { threads, isa: None }).unwrap()
    }

    #[test]
    fn results_are_in_the_order_of_the_jobs() {
        for threads in [1, 2, 3, 8] {
            let device = device(threads);
            let mut watcher = Count(0, usize::MAX);
            let results = together(&device, 7, &mut watcher, |job, own, observer| {
                assert_eq!(own.cpu().path(), device.cpu().path());
                assert!(own.cpu().threads().count() <= threads.div_ceil(threads.min(7)));
                observer.event(Event::Phase("training"));
                Ok(job)
            });
            assert_eq!(results.unwrap(), [0, 1, 2, 3, 4, 5, 6]);
            // The first share may find nothing left to do; alone, it does and tells everything.
            assert!(watcher.0 <= 7 && (threads > 1 || watcher.0 == 7));
        }
    }

    #[test]
    fn an_error_ends_all() {
        for threads in [1, 3] {
            let results = together(&device(threads), 100, &mut (), |job, _, _| {
                if job == 1 { Err(Error::usage("no memory")) } else { Ok(job) }
            });
            assert_eq!(results.unwrap_err().to_string(), "no memory");
        }
    }

    #[test]
    fn all_stop_when_they_are_asked_to() {
        let mut watcher = Count(0, 1);
        let results = together(&device(2), 2, &mut watcher, |_, _, observer| {
            observer.event(Event::Phase("training"));
            while !observer.interrupted() {
                thread::yield_now();
            }
            Ok(())
        });
        assert!(results.unwrap().len() <= 2);
    }
}
