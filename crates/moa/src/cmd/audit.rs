//! `moa audit`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moa_ports::audit::{Act, Phase};
use moa_ports::views::Views;
use moa_view::audit::{self, Listed};
use serde_json::json;

use super::{Context, runtime};
use crate::audit::{anchor, verify};
use crate::exit::{Exit, Failure, Result};
use crate::node;
use crate::place::Place;
use crate::project::{self, Layout};
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;
use crate::wire;

/// See who changed what, and whether that record is whole.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
See who changed what, and whether that record is whole. Every act that changes something (a start, a
cancel, a decision, a paused schedule, a secret, a restore) is in the audit log before it is done, with
who, from where and when; the entries are a chain of hashes in the project's database.")]
#[command(after_help = "\
Examples:
  moa audit list
  moa audit list --since 2h --action 'secret.*'
  moa audit verify")]
pub enum Command {
    /// List acts, the newest first
    List(ListArgs),
    /// Check that no entry was changed, removed or put elsewhere
    Verify(VerifyArgs),
}

/// List acts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa audit list
  moa audit list --since 2025-12-11T00:00:00Z --json
  moa audit list --action 'run.*' --who ann -n 0
  moa audit list --outcome refused --since 7d --until 1d
  moa audit list --object API_TOKEN

An act of which it isn't known what came (`asked`) was begun when moa was ended, or goes on just now.")]
pub struct ListArgs {
    /// Since this instant (RFC 3339), or not older than this (2h)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to this instant or the end of this day (UTC), or not newer than this
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only acts like this: run.start, run.*, secret.*
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only of those whose name holds this text
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Only what was done to something whose name holds this text
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// Only with this outcome: done, refused, or asked
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// At most so many; 0 = all
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

/// Check the audit log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa audit verify
  moa audit verify --anchor /mnt/elsewhere/audit_20251211.jsonl
  moa audit verify --json | jq .findings

Found is every entry that was changed, removed or put elsewhere. Whether entries were taken off the end,
or the whole log was made anew, is told by its anchors: .moa/audit.head, the files audit_*.jsonl beside
the health reports, and those that you name. Keep copies where nobody who can write here can.
Exit codes: 0 it is whole, 1 it is not")]
pub struct VerifyArgs {
    /// Another file of anchors; may be given several times
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
}

impl ListArgs {
    fn filter(&self) -> Result<audit::Filter> {
        let now = now();
        Ok(audit::Filter {
            since: self.since.as_deref().map(|text| audit::when(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| audit::until(text, now)).transpose()?,
            action: self.action.clone(),
            who: self.who.clone(),
            object: self.object.clone(),
            outcome: self.outcome.as_deref().map(audit::outcome).transpose()?,
            limit: if self.limit == 0 { usize::MAX } else { self.limit },
            ..audit::Filter::default()
        })
    }
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let place = context.place()?;
    let views: Option<Arc<dyn Views>> = match &place {
        Place::Here(layout) => wire::open_views(layout)?,
        Place::There(remote) => Some(Arc::new(remote.clone())),
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        match command {
            Command::List(args) => {
                let acts = match &views {
                    Some(views) => audit::list(&**views, &args.filter()?).await?.acts,
                    None => Vec::new(),
                };
                list(&acts, context);
                Ok(Exit::Ok)
            }
            Command::Verify(args) => check(&place, views.as_deref(), &args, context).await,
        }
    })
}

fn list(acts: &[Listed], context: &Context) {
    if context.ui.json {
        context.ui.json(&acts.iter().map(Listed::document).collect::<Vec<_>>());
        return;
    }
    let mut table = Table::new(&["NO", "WHEN", "WHO", "FROM", "ACTION", "OBJECT", "OUTCOME"]);
    for listed in acts {
        let Listed { head, asked, ended } = listed;
        let at = Cell::pair(text::relative(asked.at, now()), asked.at.to_string());
        let outcome = match ended {
            Some(Act { phase: Phase::Done, .. }) => Cell::new("done").style(Style::Green),
            Some(act) => {
                let why = act.error.as_deref().unwrap_or_default();
                Cell::new(format!("refused: {why}")).style(Style::Red)
            }
            None => Cell::new(asked.phase.as_str()).style(Style::Yellow),
        };
        let [who, from] = [&asked.who, &asked.from].map(Cell::new);
        let action = asked.action.as_str().into();
        let (seq, object) = (head.seq.to_string().into(), listed.object().into());
        table.row(vec![seq, at, who, from, action, object, outcome]);
    }
    table.print(&context.ui, "nobody has changed anything yet");
}

async fn check(
    place: &Place,
    views: Option<&dyn Views>,
    args: &VerifyArgs,
    context: &Context,
) -> Result {
    let named = args.anchor.iter().map(|path| (path.display().to_string(), anchor::read(path)));
    // Those of a node elsewhere are on its machine; whoever keeps copies of them can name those.
    let mut anchors = match place {
        Place::Here(layout) => anchor::all(&layout.root, &layout.state(), &folder(layout)?),
        Place::There(_) => Vec::new(),
    };
    anchors.extend(named);
    let verdict = verify::log(views, anchors).await?;
    if context.ui.json {
        context.ui.json(&json!({
            "whole": verdict.findings.is_empty(),
            "entries": verdict.entries,
            "head": verdict.head,
            "anchors": verdict.anchors,
            "findings": verdict.findings,
            "notes": verdict.notes,
        }));
    } else {
        verdict.findings.iter().for_each(|finding| context.ui.line(finding));
        verdict.notes.iter().for_each(|note| context.ui.note(note));
    }
    let entries = match verdict.entries {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    };
    if !verdict.findings.is_empty() {
        let found = text::plural(verdict.findings.len(), "finding");
        let text = format!("the audit log is not as it was written: {found} in {entries}");
        return Err(Failure::new(Exit::Failed, text)
            .hint("compare it with a backup, and see who can write to the project's folder"));
    }
    if !context.ui.json {
        let anchors = text::plural(verdict.anchors, "anchor");
        let head = verdict.head.map_or(String::new(), |head| format!(", up to {}", head.hash));
        context.ui.line(&format!("the audit log is whole: {entries}, {anchors}{head}"));
    }
    Ok(Exit::Ok)
}

/// The folder of the health reports.
fn folder(layout: &Layout) -> Result<PathBuf> {
    let loaded = project::load(layout, None)?;
    let config = node::read_config(layout, &loaded.project)?;
    Ok(Path::new(&config.settings.health.folder).to_owned())
}
