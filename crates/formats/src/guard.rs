//! Protection against panics in third-party parsers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a third-party function and returns its panic, if any, as a message.
///
/// After a panic, anything the call was modifying is in an unknown state: drop it.
///
/// # Errors
/// The message of the panic.
///
/// ```
/// assert_eq!(ff_formats::guarded_call(|| 1 + 1), Ok(2));
/// assert_eq!(
///     ff_formats::guarded_call(|| -> () { panic!("bad header") }),
///     Err("bad header".into())
/// );
/// ```
pub fn guarded_call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| reason(panic.as_ref()).to_owned())
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::guarded_call;

    #[test]
    fn a_panic_becomes_its_message() {
        let fails = |text: &str| guarded_call(|| panic!("{text}"));
        assert_eq!(fails("out of range"), Err::<(), _>("out of range".into()));
        assert_eq!(guarded_call(|| panic!("fixed")), Err::<(), _>("fixed".into()));
    }
}
