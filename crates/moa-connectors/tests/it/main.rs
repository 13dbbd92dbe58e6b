//! The worker with real processes, files and servers.

mod harness;
mod http;
mod leftovers;
mod notify;
mod process;
mod rogue;
mod worker;
mod youtube;
mod youtube_server;
