//! Independent pieces of work on all threads: which thread does which never shows in a result.

use std::sync::{Mutex, PoisonError};

/// Threads at most: some of the work needs memory of its own on each.
const MAX_THREADS: usize = 8;

/// What becomes of each item, in the order of the items.
pub fn map<I, T>(items: I, of: impl Fn(I::Item) -> T + Sync) -> Vec<T>
where
    I: ExactSizeIterator + Send,
    T: Send,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(items.len());
    if threads <= 1 {
        return items.map(of).collect();
    }
    let count = items.len();
    let items = Mutex::new(items.enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((i, item)) = item else { return done };
            done.push((i, of(item)));
        }
    };
    let mut found: Vec<(usize, T)> = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        found.extend(work());
        for helper in helpers {
            match helper.join() {
                Ok(done) => found.extend(done),
                // A helper that panicked panics here too, as it would have without threads.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    found.sort_unstable_by_key(|(i, _)| *i);
    found.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for count in [0, 1, 2, 1000] {
            let found = map(0..count, |i: usize| i * i);
            assert_eq!(found, (0..count).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
