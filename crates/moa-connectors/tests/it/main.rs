//! The worker with real processes, files and servers.

mod harness;
mod http;
mod leftovers;
mod mail;
mod notify;
mod posts;
mod process;
mod rogue;
mod smtp_server;
mod usage;
mod worker;
mod youtube;
mod youtube_server;
