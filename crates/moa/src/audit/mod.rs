//! The audit log of a node: who is at the other end of the socket, what each request does, and where
//! the newest entry is noted outside of the store.

pub mod anchor;
mod subject;
pub mod verify;

pub use subject::Subject;

use std::fs;
use std::sync::Arc;

use moa_core::event::Published;
use moa_core::ids::Name;
use moa_core::limit::BudgetUsed;
use moa_core::trigger::TriggerCommand;
use moa_engine::audit::{Actor, Audit, Came, Deed, Options, Writing};
use moa_engine::handle::{Change, ForkFrom, GrantRequest, Started};
use moa_ports::store::Store;
use moa_ports::views::Views;
use moa_server::auth::tokens::{Kind, New};
use moa_spec::Source;
use serde_json::{Value as Json, json};

use crate::control::protocol::{Reply, Request, RuleRequest};
use crate::exit::Result;
use crate::project::Layout;
use crate::secrets::SecretStore;
use crate::view;

/// Starts to write the audit log of a project.
pub fn start(layout: &Layout, store: Arc<dyn Store>, secrets: SecretStore) -> (Audit, Writing) {
    let state = layout.state();
    Audit::start(Options {
        store,
        clock: Arc::new(view::now),
        redact: Arc::new(move |value| secrets.redact(value)),
        told: Arc::new(move |head| anchor::note(&state, head)),
    })
}

/// A user of this machine, by what the kernel says of the other end of a socket.
pub fn peer(uid: u32, pid: Option<i32>) -> Actor {
    let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    Actor { who: user(uid), from: format!("socket{pid}") }
}

/// The user of this process, on the command line.
pub fn this_user() -> Actor {
    let pid = std::process::id();
    Actor { who: user(rustix::process::getuid().as_raw()), from: format!("cli (pid {pid})") }
}

/// A user by number, and by name where `/etc/passwd` has one.
fn user(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    match name {
        Some(name) => format!("unix:{uid} ({name})"),
        None => format!("unix:{uid}"),
    }
}

/// What a request is going to do; `None` = it changes nothing.
pub async fn deed(request: &Request, views: &dyn Views) -> Result<Option<Deed>> {
    Ok(Some(match request {
        Request::Hello { .. }
        | Request::Status
        | Request::Refresh
        | Request::Fleet
        | Request::Worked { .. }
        | Request::Jobs
        | Request::Secrets
        | Request::Subscribe { .. } => return Ok(None),
        Request::Start(start) => Deed::new("run.start", start.workflow.as_str()).asked(json!({
            "version": start.version,
            "params": start.params,
            "texts": start.texts,
            "key": start.idempotency_key,
            "cause": start.cause,
        })),
        Request::Fork(fork) => {
            let action = match fork.from {
                ForkFrom::Failed => "run.retry",
                ForkFrom::Step(_) | ForkFrom::Start => "run.fork",
            };
            Deed::new(action, fork.run.to_string())
                .asked(json!({"run": fork.run, "from": fork.from, "params": fork.params}))
        }
        Request::Change { run, change } => {
            Deed::new(action_of(change), run.to_string()).asked(json!(change))
        }
        Request::Trigger { trigger, command } => {
            let row = views.trigger(*trigger).await?;
            let name = row.as_ref().map_or_else(|| trigger.to_string(), |row| row.spec.title());
            Deed::new(action_of_trigger(command), name).asked(json!(command))
        }
        Request::Publish { event } => published(event),
        Request::Agent { agent, paused: Some(paused) } => {
            Deed::new("agent.pause", agent.as_str()).asked(json!({"reason": paused.reason}))
        }
        Request::Agent { agent, paused: None } => Deed::new("agent.resume", agent.as_str()),
        Request::Grant(GrantRequest { agent, more, .. }) => {
            Deed::new("agent.grant", agent.as_str())
                .asked(json!(more))
                .before(granted(views, agent).await?)
        }
        Request::Delete { workflow, keep_open_runs } => {
            let asked = json!({"keep_open_runs": keep_open_runs});
            Deed::new("workflow.delete", workflow.as_str()).asked(asked)
        }
        Request::EnableWebhook { webhook } => Deed::new("webhook.enable", webhook.as_str()),
        Request::Serve { run } => Deed::new("run.serve", run.to_string()),
        Request::Acknowledge { key, by, note } => {
            Deed::new("alert.acknowledge", key).asked(json!({"by": by, "note": note}))
        }
        Request::Resolve { key, by, note } => {
            Deed::new("alert.resolve", key).asked(json!({"by": by, "note": note}))
        }
        Request::RunJob { name } => Deed::new("job.run", name),
        Request::SetSecret { name, .. } => Deed::new("secret.set", name),
        Request::DeleteSecret { name } => Deed::new("secret.delete", name),
        Request::Rule(rule) => of_rule(rule),
        Request::SignIn { role, .. } => Deed::new("sign_in.link", "").asked(json!({"role": role})),
        Request::MakeToken { new } => of_token(new),
        Request::EndToken { id, sign_out } => {
            Deed::new(if *sign_out { "sign_out" } else { "token.revoke" }, id)
        }
        Request::RotateKey => Deed::new("secret.rotate_key", ""),
    }))
}

/// What was granted of an agent's budget in the window that it says: that may be over, and all of this
/// one is left then.
async fn granted(views: &dyn Views, agent: &Name) -> Result<Json> {
    let state = views.limits().await?.into_iter().find(|row| row.agent == *agent);
    let budget = state.and_then(|row| row.state.budget);
    let of = |used: BudgetUsed| json!({"since": used.window.to_string(), "granted": used.granted});
    Ok(budget.map(of).unwrap_or_default())
}

/// An event of people.
fn published(event: &Published) -> Deed {
    let Published { event, key, source, subject, data, .. } = event;
    let mut asked = json!({"data": data, "key": key});
    for (name, said) in [("source", source), ("subject", subject)] {
        if let Some(said) = said {
            asked[name] = said.as_str().into();
        }
    }
    Deed::new("event.publish", event.as_str()).asked(asked)
}

/// A change of a rule.
fn of_rule(rule: &RuleRequest) -> Deed {
    match rule {
        RuleRequest::Put { path, text, replace, .. } => {
            let object = rule_of(rule).map_or_else(|| path.clone(), |name| name.to_string());
            Deed::new("rule.put", object).asked(json!({"text": text, "replace": replace}))
        }
        RuleRequest::Switch { name, on } => {
            Deed::new("rule.switch", name.as_str()).asked(json!({"on": on}))
        }
        RuleRequest::Delete { name, .. } => Deed::new("rule.delete", name.as_str()),
    }
}

/// Which rule it is, if that can be told.
fn rule_of(rule: &RuleRequest) -> Option<Name> {
    match rule {
        RuleRequest::Put { name: None, path, text, .. } => named(path, text),
        RuleRequest::Put { name, .. } => name.clone(),
        RuleRequest::Switch { name, .. } | RuleRequest::Delete { name, .. } => Some(name.clone()),
    }
}

/// The name that the text of a rule says, if it says one.
fn named(path: &str, text: &str) -> Option<Name> {
    let (document, _) = moa_spec::document(&Source::new(path.to_owned(), text.to_owned()));
    Name::new(document?.get("name")?.as_str()?).ok()
}

/// A token, or a session of a browser.
fn of_token(new: &New) -> Deed {
    let action = match new.kind {
        Kind::Token => "token.create",
        Kind::Session => "sign_in",
    };
    let expires_at = new.expires_at.map(|at| at.to_string());
    let mut asked = json!({"role": new.role, "expires_at": expires_at});
    if !new.scopes.is_empty() {
        asked["scopes"] = json!(new.scopes);
    }
    Deed::new(action, &new.name).asked(asked)
}

fn action_of(change: &Change) -> &'static str {
    match change {
        Change::Signal { .. } => "run.signal",
        Change::Event { .. } => "run.event",
        Change::Pause => "run.pause",
        Change::Resume => "run.resume",
        Change::Cancel { .. } => "run.cancel",
        Change::Terminate { .. } => "run.terminate",
    }
}

fn action_of_trigger(command: &TriggerCommand) -> &'static str {
    match command {
        TriggerCommand::Pause { .. } => "trigger.pause",
        TriggerCommand::Resume => "trigger.resume",
        TriggerCommand::Start { .. } => "trigger.start",
        TriggerCommand::Backfill(_) => "trigger.backfill",
        TriggerCommand::CancelBackfill { .. } => "trigger.cancel_backfill",
    }
}

/// What came of a request, by its reply and by how its subject is then.
pub fn came(result: &Result<(Reply, Option<Json>)>) -> Came {
    let (reply, then) = match result {
        Ok((reply, then)) => (reply, then.clone()),
        Err(failure) => return Came::Refused(failure.message.clone()),
    };
    let (object, after) = match reply {
        Reply::Started { outcome: Started::New { run }, .. } | Reply::Forked { run } => {
            (Some(run.to_string()), None)
        }
        Reply::Started { outcome: Started::Existing { run }, .. } => {
            (Some(run.to_string()), Some(json!({"existed": true})))
        }
        Reply::Started { outcome: Started::Skipped, .. } => (None, Some(json!({"skipped": true}))),
        Reply::Triggered { answer } => (None, Some(json!(answer))),
        Reply::Deleted { open_runs } => (None, Some(json!({"open_runs": open_runs}))),
        Reply::AgentSwitched { changed } | Reply::WebhookEnabled { changed } => {
            (None, Some(json!({"changed": changed})))
        }
        Reply::Published(posted) => (None, Some(json!({"new": posted.new, "event": posted.seq}))),
        Reply::Link { name, .. } => (Some(name.clone()), None),
        Reply::TokenMade { entry, .. } => (Some(format!("{} ({})", entry.id, entry.name)), None),
        Reply::TokenEnded { entry } => {
            (Some(format!("{} ({})", entry.id, entry.name)), Some(json!({"role": entry.role})))
        }
        Reply::Rule(done) if done.differs => {
            return Came::Refused("the rule is not what it was taken for".into());
        }
        Reply::Rule(done) => {
            let after = json!({"changed": done.changed, "created": done.created});
            (Some(done.name.to_string()), Some(after))
        }
        Reply::SecretSet { version, .. } => (None, Some(json!({"version": version}))),
        Reply::Rotated(rotated) => (None, Some(json!(rotated))),
        Reply::Jobs { jobs } => (None, Some(json!(jobs))),
        _ => (None, None),
    };
    Came::Done { object, after: both(after, then) }
}

/// What is said of the same thing by two.
fn both(one: Option<Json>, other: Option<Json>) -> Option<Json> {
    match (one, other) {
        (Some(Json::Object(mut one)), Some(Json::Object(other))) => {
            one.extend(other);
            Some(Json::Object(one))
        }
        (one, other) => one.or(other),
    }
}
