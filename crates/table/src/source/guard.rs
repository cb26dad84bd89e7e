//! Other people's parsers, kept from ending the program.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{DataError, Result};

/// Runs a third-party parser; a panic inside becomes an error about the file.
pub(super) fn guarded<T>(path: &Path, what: &str, parse: impl FnOnce() -> Result<T>) -> Result<T> {
    // Nothing that the closure touched is used after a panic: the reader is dropped with the error.
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|panic| {
        Err(DataError::format(
            path,
            format!("the {what} reader gave up: {}", reason(panic.as_ref())),
            "The file is likely cut or damaged: copy or write it again.",
        ))
    })
}

/// Runs a third-party function; a panic inside becomes its message.
pub(crate) fn guarded_call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| reason(panic.as_ref()).to_owned())
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}
