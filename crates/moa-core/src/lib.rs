//! The pure heart of moa.
//!
//! What: the workflow model ([`workflow`]), the run machine ([`machine`]) that executes one run,
//! the expression language ([`expr`]), retry and queue policies. Why a crate of its own: everything
//! here is a function of its arguments, so it can be simulated, replayed and tested by the million.
//! Absent by intent: I/O, clocks, randomness, threads, async. Time is always an argument.
//! Start reading at [`machine`].

pub mod agent;
pub mod alert;
pub mod committee;
pub mod event;
pub mod expr;
pub mod fair;
pub mod ids;
pub mod limit;
pub mod limits;
pub mod machine;
pub mod policy;
pub mod publish;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod step;
pub mod target;
pub mod template;
pub mod time;
pub mod trace;
pub mod trigger;
pub mod workflow;
