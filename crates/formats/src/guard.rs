//! Protection against panics in third-party parsers.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// The guarded calls that this thread is in.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Calls a third-party function and returns its panic, if any, as a message.
///
/// Nothing is printed about such a panic: the first call puts a hook before the program's own,
/// which hears of all others. Work that the function gives to other threads is not covered.
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
    HOOK.call_once(|| {
        // A thread that is panicking may not change the hook.
        if !std::thread::panicking() {
            let others = take_hook();
            set_hook(Box::new(move |panic| {
                if GUARDED.get() == 0 {
                    others(panic);
                }
            }));
        }
    });
    GUARDED.set(GUARDED.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(GUARDED.get() - 1);
    result.map_err(|panic| reason(panic.as_ref()).to_owned())
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
