//! Ctrl-C: the first one requests a stop, the second one exits.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::failure::{Failure, INTERRUPTED};

static ASKED: AtomicU8 = AtomicU8::new(0);

/// Makes the first Ctrl-C (or SIGTERM) print `message` and set [`asked`]; the second one exits.
pub(crate) fn listen(message: &'static str) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if ASKED.fetch_add(1, Ordering::SeqCst) == 0 {
            // The line starts with a return, so that it covers the terminal's own ^C.
            let _ = writeln!(std::io::stderr().lock(), "\r{message}");
        } else {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .map_err(|error| Failure::failed(format!("cannot listen for Ctrl-C: {error}")))
}

/// Whether a stop was requested.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}

/// Ctrl-C between answers.
#[cfg(feature = "language")]
pub(crate) mod answers {
    use super::{ASKED, Failure, INTERRUPTED, Ordering, Write};
    use std::sync::atomic::AtomicBool;

    /// Whether there is something to stop short of the program.
    static ANSWERING: AtomicBool = AtomicBool::new(false);

    /// Makes Ctrl-C set [`asked`](super::asked) while there is an answer to stop, and otherwise
    /// print `message` once and then exit.
    pub(crate) fn listen_between(message: &'static str) -> Result<(), Failure> {
        ctrlc::set_handler(move || {
            let before = ASKED.fetch_add(1, Ordering::SeqCst);
            if ANSWERING.load(Ordering::SeqCst) && before == 0 {
                return;
            }
            if before == 0 {
                let _ = writeln!(std::io::stderr().lock(), "\r{message}");
            } else {
                std::process::exit(i32::from(INTERRUPTED));
            }
        })
        .map_err(|error| Failure::failed(format!("cannot listen for Ctrl-C: {error}")))
    }

    /// Says whether an answer is being written.
    pub(crate) fn answering(yes: bool) {
        ANSWERING.store(yes, Ordering::SeqCst);
    }

    /// Forgets requests that were met.
    pub(crate) fn forget() {
        ASKED.store(0, Ordering::SeqCst);
    }
}
