//! What every store must do, as plain library code: run it against each one.
//!
//! [`run_all`] takes a function that makes an empty store and runs every case on a fresh one; a
//! rule of [`crate::store`] or [`crate::views`] without a case here is a gap. What a store can't do
//! by nature it says through [`Fixture`], and the case is listed as skipped, never passed silently.
//! [`differential`] compares two stores over random operations. A failed case panics: this is code
//! for tests.

mod audit;
mod belonging;
mod bench;
pub mod build;
pub mod differential;
mod limits;
mod messages;
mod published;
mod reading;
mod retention;
mod runs;
mod sealed;
mod slots;
mod timers;
mod triggers;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

pub use bench::Bench;

use crate::store::{Error, Reply, Store};
use crate::views::Views;

/// A store to be tested, and what is particular about it.
pub trait Fixture {
    /// Its write side.
    fn store(&self) -> &dyn Store;
    /// Its read side.
    fn views(&self) -> &dyn Views;
    /// Whether there can be only one node: whoever registers last.
    fn exclusive(&self) -> bool;
    /// Closes it and opens it again, as a restart does. False when nothing would survive that.
    fn reopen(&mut self) -> bool;
}

/// One rule.
#[derive(Clone, Copy)]
pub struct Case {
    /// What holds.
    pub name: &'static str,
    /// Panics when it doesn't.
    pub run: fn(&mut Bench) -> Verdict,
}

/// How a case ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The rule holds.
    Passed,
    /// The rule says nothing about this store, and why.
    Skipped(&'static str),
}

/// The cases of a file: functions whose names are the rules.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        pub(super) const CASES: &[$crate::suite::Case] =
            &[$($crate::suite::Case { name: stringify!($rule), run: $rule }),*];
    };
}
use rules;

/// Every case.
pub fn cases() -> Vec<Case> {
    let all = [
        runs::CASES,
        limits::CASES,
        messages::CASES,
        slots::CASES,
        timers::CASES,
        belonging::CASES,
        triggers::CASES,
        published::CASES,
        reading::CASES,
        retention::CASES,
        audit::CASES,
        sealed::CASES,
    ];
    all.concat()
}

/// Runs every case on a fresh store. Answers what was skipped: case and reason.
///
/// # Panics
/// When a rule is broken; the name of the case is printed first.
pub fn run_all(factory: &dyn Fn() -> Box<dyn Fixture>) -> Vec<(&'static str, &'static str)> {
    let mut skipped = Vec::new();
    for case in cases() {
        // Printed by the test harness when the case fails.
        println!("case: {}", case.name);
        let mut bench = Bench::new(factory());
        match (case.run)(&mut bench) {
            Verdict::Passed => {}
            Verdict::Skipped(why) => skipped.push((case.name, why)),
        }
    }
    skipped
}

/// Calls a store and waits for its answer.
///
/// # Errors
/// The store's.
///
/// # Panics
/// When the store drops the reply without an answer.
pub fn answer<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T, Error> {
    let (send, receive) = mpsc::channel();
    call(Box::new(move |answer| {
        let _ = send.send(answer);
    }));
    receive.recv().expect("a store answers every call")
}

/// Waits for a future on this thread; for tests that have no runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
