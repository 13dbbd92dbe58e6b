//! The worker with real processes, files and servers.

mod harness;
mod leftovers;
mod process;
mod rogue;
mod worker;
