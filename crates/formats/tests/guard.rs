//! What is printed about panics; alone in its process, since the hook belongs to all of it.

use std::panic::{catch_unwind, set_hook};
use std::sync::atomic::{AtomicUsize, Ordering};

use ff_formats::guarded_call;

static HEARD: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_guarded_panic_is_not_heard_and_others_are() {
    set_hook(Box::new(|_| {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }));
    for _ in 0..3 {
        assert_eq!(guarded_call(|| -> () { panic!("bad header") }), Err("bad header".into()));
    }
    let inner = || guarded_call(|| guarded_call(|| -> () { panic!("inner") }));
    assert_eq!(inner(), Ok(Err("inner".into())));
    assert_eq!(HEARD.load(Ordering::Relaxed), 0);
    assert!(catch_unwind(|| panic!("ours")).is_err());
    assert!(std::thread::spawn(|| panic!("elsewhere")).join().is_err());
    assert_eq!(HEARD.load(Ordering::Relaxed), 2);
}
