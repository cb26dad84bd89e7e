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
