//! Catches panics of the simulated nodes, also those that a node survives: each is a finding.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of this thread are kept, not printed, as long as it lives.
pub struct Catching(());

impl Drop for Catching {
    fn drop(&mut self) {
        CATCHING.set(false);
    }
}

/// Starts to keep the panics of this thread.
pub fn catch() -> Catching {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                LAST.set(Some(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
    LAST.set(None);
    CATCHING.set(true);
    Catching(())
}

/// The last panic since the last call.
pub fn take() -> Option<String> {
    LAST.take()
}
