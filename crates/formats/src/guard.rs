//! Other people's parsers, kept from ending the program.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a third-party function; a panic inside becomes its message.
///
/// Whatever the call was changing is in an unknown state after a panic: drop it.
///
/// # Errors
/// The message of the panic.
///
/// ```
/// assert_eq!(ff_formats::guarded_call(|| 1 + 1), Ok(2));
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
