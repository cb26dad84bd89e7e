//! `strftime_now`.

use jiff::fmt::strtime::format;
use minijinja::{Error, ErrorKind};

/// The local time, as Python's `datetime.now().strftime(pattern)` writes it.
pub(super) fn strftime_now(pattern: &str) -> Result<String, Error> {
    let failed = |e: jiff::Error| {
        let message = format!("strftime_now({pattern:?}): {e}");
        Error::new(ErrorKind::InvalidOperation, message)
    };
    format(pattern, &now()).map_err(failed)
}

#[cfg(not(test))]
fn now() -> jiff::Zoned {
    jiff::Zoned::now()
}

/// The time of `scripts/chat_templates.py`.
#[cfg(test)]
fn now() -> jiff::Zoned {
    let time = jiff::civil::date(2026, 1, 2).at(13, 4, 5, 0);
    time.to_zoned(jiff::tz::TimeZone::UTC).unwrap()
}
