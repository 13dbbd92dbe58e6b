//! B13 to B16: the real binary with its server, asked as browsers and programs ask it.

mod browser;
mod busy;
mod client;
mod halves;
mod listeners;
mod load;
mod node;
mod pages;
mod phase;
mod reads;
mod streams;

pub use self::browser::open as dashboard_open;
pub use self::pages::times as pages;
pub use self::reads::under_load as reads;
pub use self::streams::fan_out;

use anyhow::Result;
use tokio::runtime::Runtime;

/// Items of a run that keeps the engine busy.
const WIDE: u32 = 2000;
/// The workflows of these benches.
const WORKFLOWS: [(&str, &str); 2] =
    [("wide", include_str!("wide.yaml")), ("small", include_str!("small.yaml"))];

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}
