//! The `moa` command.
//!
//! What: the command line ([`cli`], one file for each command in [`cmd`]), the node that serves a
//! project ([`node`]), and the local socket between them ([`control`]). Only [`wire`] knows which
//! store and which worker are used. Absent by intent: any rule of how runs go; that is moa-core.
//! Start reading at [`cli`], then [`cmd::run`] and [`node`].

mod alerts;
mod audit;
mod backup;
mod channels;
mod cli;
mod cmd;
mod config;
mod control;
mod files;
mod hiding;
mod host;
mod jobs;
mod live;
mod logs;
mod memory;
mod metrics;
mod needed;
mod node;
mod place;
mod project;
mod refresh;
mod remote;
mod secrets;
mod service;
mod show;
#[cfg(test)]
mod soak;
mod table;
mod template;
mod top;
mod traces;
mod trial;
mod triggers;
mod tzdata;
mod ui;
mod wire;

use std::process::ExitCode;

use moa_view as view;
use moa_view::{exit, reader, text};

fn main() -> ExitCode {
    memory::keep_pages_small();
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with 0, mistakes to stderr with 2; a closed pipe is no mistake.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let context = cmd::Context::new(cli.global);
    let exit = tzdata::take_over().and_then(|()| cmd::dispatch(cli.command, &context));
    let exit = exit.unwrap_or_else(|failure| {
        context.ui.failure(&failure);
        failure.exit
    });
    context.ui.flush();
    exit.into()
}
