//! `moa agents grant`

use std::time::Duration;

use moa_core::ids::Name;
use moa_core::limit::{Usage, Usd};
use moa_engine::handle::GrantRequest;
use serde_json::json;

use crate::cmd::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::wire;

/// Add to the budget of an agent, until the day ends (or what its budget is per).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents grant writer --usd 5
  moa agents grant writer --tokens 100000
  moa agents grant writer --usd 5 --key ticket-4711    # once, however often it is asked for

Tasks that wait for its budget start at once. The next window of the calendar begins with what the
agent's file says. `moa limits writer` shows how the budget stands.")]
pub struct Args {
    /// The agent
    agent: Name,
    /// US dollars: 5, 0.25
    #[arg(long, value_name = "AMOUNT", required_unless_present = "tokens")]
    usd: Option<Usd>,
    /// Tokens
    #[arg(long, value_name = "NUMBER")]
    tokens: Option<u64>,
    /// The same key is the same grant, however often it is asked for
    #[arg(long)]
    key: Option<String>,
}

/// Grants it.
pub fn run(args: Args, context: &Context) -> Result {
    let Args { agent, usd, tokens, key } = args;
    let more = Usage { usd: usd.unwrap_or_default(), tokens: tokens.unwrap_or(0) };
    let more = more.meant().map_err(Failure::usage)?;
    if more.is_nothing() {
        return Err(Failure::usage("nothing would be granted").hint("write --usd 5, say"));
    }
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        // With a key of its own it may be asked for again, when a connection breaks.
        let key = key.unwrap_or_else(|| format!("{:016x}", wire::random_u64()));
        let request = GrantRequest { agent: agent.clone(), more, key: Some(key) };
        let asks = async |client: &mut Client| client.grant(request.clone()).await;
        let (host, ()) = host::ask(&place, Asks::Again, asks).await?;
        match context.ui.json {
            true => context.ui.json(&json!({"agent": agent, "granted": more})),
            false => context.ui.note(&format!("{agent} may spend {more} more")),
        }
        host.close(Duration::ZERO).await;
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}
