//! The simulator: nodes, agents and users over one faulty store, on virtual time.
//!
//! One to three node machines (`moa_engine::node`) run over one memory store, in a plain loop with
//! virtual time and one source of chance. The simulator is everything around them: the shell, the
//! connection to the store (late, out of order, failing, done but reported as failed), the worker
//! and the agents (slow, failing, lying), users who ask twice, processes that crash at every
//! boundary. The checker ([`check`]) judges every commit by rules of its own. What a seed does is
//! decided by the seed alone, so a failing seed is a whole bug report.
//!
//! Absent: threads, clocks, files, any real store or agent. Start reading at [`world`], then
//! `check`; `tests/it` says how to replay a seed.

mod agents;
mod calls;
mod calm;
pub mod check;
pub mod coverage;
mod faults;
pub mod ledger;
mod panics;
mod plans;
pub mod plant;
mod process;
pub mod random;
mod schemas;
pub mod swarm;
mod triggers;
mod users;
mod work;
pub mod world;

pub use plant::Plant;
pub use world::{Options, Report, simulate};
