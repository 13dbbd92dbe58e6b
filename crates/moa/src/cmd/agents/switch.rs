//! `moa agents pause`, `resume` and `drain`

use std::time::Duration;

use moa_core::ids::Name;
use moa_core::time::Span;
use moa_view::node::PausedAgent;
use serde_json::json;

use crate::audit;
use crate::cmd::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::view::now;

/// Time between two looks whether attempts still run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Let an agent take no new task.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents pause mailer --reason 'the provider is down'

Attempts that run go on; its tasks wait, also after a restart, until `moa agents resume`.")]
pub struct PauseArgs {
    /// The agent
    agent: Name,
    /// Why, for people
    #[arg(long, default_value = "")]
    reason: String,
}

/// Let an agent take tasks again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents resume mailer")]
pub struct ResumeArgs {
    /// The agent
    agent: Name,
}

/// Let an agent take no new task, and wait until nothing of it runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents drain mailer --timeout 10m && ./update-mailer && moa agents resume mailer

Exit codes: 0 nothing of it runs, 1 something still does")]
pub struct DrainArgs {
    /// The agent
    agent: Name,
    /// Why, for people
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait at most so long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
}

/// Pauses an agent.
pub fn pause(args: PauseArgs, context: &Context) -> Result {
    let wish = Wish { agent: args.agent, paused: Some(paused(args.reason)) };
    wish.ask(context, ["is paused", "is paused already"], async |_| Ok(Exit::Ok))
}

/// Lets an agent go on.
pub fn resume(args: ResumeArgs, context: &Context) -> Result {
    let wish = Wish { agent: args.agent, paused: None };
    wish.ask(context, ["takes tasks again", "is not paused"], async |_| Ok(Exit::Ok))
}

/// Pauses an agent, and waits for what runs.
pub fn drain(args: DrainArgs, context: &Context) -> Result {
    let DrainArgs { agent, reason, timeout } = args;
    let wish = Wish { agent: agent.clone(), paused: Some(paused(reason)) };
    let words = ["takes no new task", "takes no new task already"];
    wish.ask(context, words, async |client| {
        let deadline = timeout.map(|span| now().after(span));
        loop {
            let status = client.status().await?;
            let running = status.engine.running.get(&agent).copied().unwrap_or(0);
            if running == 0 {
                context.ui.note(&format!("nothing of {agent} runs"));
                return Ok(Exit::Ok);
            }
            if deadline.is_some_and(|deadline| now() >= deadline) {
                let attempts = crate::text::plural(running as usize, "attempt");
                let text = format!("{attempts} of {agent} still run");
                return Err(Failure::new(Exit::Failed, text)
                    .hint(format!("it stays paused; `moa agents resume {agent}` lets it go on")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

fn paused(reason: String) -> PausedAgent {
    PausedAgent { at: now(), by: audit::this_user().who, reason }
}

/// What is wanted of an agent.
struct Wish {
    agent: Name,
    paused: Option<PausedAgent>,
}

impl Wish {
    /// Asks a node, or does it without one; then `after`. `words`: that it was done, and that it was so.
    fn ask(
        self,
        context: &Context,
        words: [&str; 2],
        after: impl AsyncFn(&mut Client) -> Result,
    ) -> Result {
        let place = context.place()?;
        let runtime = runtime()?;
        let exit = runtime.block_on(async {
            let asks = async |client: &mut Client| {
                let changed = client.switch_agent(self.agent.clone(), self.paused.clone()).await?;
                let (agent, paused) = (&self.agent, self.paused.is_some());
                if context.ui.json {
                    let document = json!({"agent": agent, "paused": paused, "changed": changed});
                    context.ui.json(&document);
                } else {
                    let said = words[usize::from(!changed)];
                    context.ui.note(&format!("{agent} {said}"));
                }
                after(client).await
            };
            let (host, exit) = host::ask(&place, Asks::Again, asks).await?;
            host.close(Duration::ZERO).await;
            Ok(exit)
        });
        runtime.shutdown_background();
        exit
    }
}
