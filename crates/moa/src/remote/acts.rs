//! What changes something on a node elsewhere.

use std::sync::Arc;

use moa_core::event::Published;
use moa_core::ids::{Name, RunId};
use moa_core::machine::Outcome;
use moa_core::schedule::Reprocess;
use moa_core::step::StepError;
use moa_core::time::Span;
use moa_core::trigger::{BackfillRequest, TriggerAnswer, TriggerCommand, TriggerId};
use moa_core::workflow::Priority;
use moa_engine::handle::{Change, ForkFrom, ForkRequest, GrantRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_ports::triggers::{Posted, TriggerRow};
use moa_server::auth::role::Role;
use moa_server::auth::scope::Scope;
use moa_view::backfill::Preview;
use moa_view::node::{ChannelLine, NodeStatus, PausedAgent, StartRun};
use moa_view::rows::Ask;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use zeroize::Zeroizing;

use super::project::percent_encoded;
use super::{Call, Remote, answer};
use crate::cmd::context::Me;
use crate::cmd::token::Line as TokenLine;
use crate::exit::{Failure, Result};
use crate::text;

#[derive(Deserialize)]
struct MadeToken {
    id: String,
    token: Zeroizing<String>,
    expires_at: Option<String>,
}

/// A link that signs a browser in.
#[derive(Deserialize)]
struct MadeLink {
    path: String,
}

/// What became of a start.
#[derive(Debug, Deserialize)]
struct StartedRun {
    run: Option<RunId>,
    outcome: String,
    warning: Option<String>,
}

/// A trigger or agent after a switch.
#[derive(Debug, Deserialize)]
struct Switched {
    changed: bool,
}

/// A file that is deleted.
#[derive(Debug, Deserialize)]
struct Deleted {
    open_runs: usize,
}

/// What became of events.
#[derive(Debug, Deserialize)]
struct Answered {
    new: usize,
    #[serde(default)]
    sequences: Vec<Option<u64>>,
}

/// A backfill that has begun.
#[derive(Debug, Deserialize)]
struct Begun {
    number: u32,
}

/// A key that is nobody else's: with it, a request may be sent again.
fn new_key() -> String {
    format!("cli-{:016x}{:016x}", crate::wire::random_u64(), crate::wire::random_u64())
}

fn priority_of(priority: Option<Priority>) -> Json {
    priority.map_or(Json::Null, |priority| json!(priority))
}

/// A test of an agent, as the node tells it.
#[derive(Debug, Deserialize)]
pub struct Tried {
    test: TriedTest,
    output: Option<Json>,
    again_after_ms: Option<u64>,
    /// The end of what the attempt wrote.
    pub log: String,
    /// Whether it wrote more before that.
    pub log_cut: bool,
}

#[derive(Debug, Deserialize)]
struct TriedTest {
    took_ms: u64,
    error: Option<StepError>,
}

impl Tried {
    /// What came of the attempt, and how long it took.
    pub fn outcome(self) -> (Outcome, Span) {
        let outcome = match (self.test.error, self.again_after_ms) {
            (None, _) => Outcome::Succeeded { output: self.output.map(Arc::new) },
            (Some(error), None) => Outcome::Failed { error },
            (Some(error), Some(after)) => Outcome::RateLimited { error, after: Span(after) },
        };
        (outcome, Span(self.test.took_ms))
    }
}

impl Remote {
    /// Has an agent make one attempt outside of any run; asked once, since what it does is done.
    pub async fn test_agent(
        &self,
        agent: &str,
        action: &str,
        params: Map<String, Json>,
        timeout: Option<Span>,
    ) -> Result<Tried> {
        let path = format!("/api/v1/agents/{}/test", percent_encoded(agent));
        let timeout = timeout.map(|span| span.to_string());
        let body = json!({"action": action, "params": params, "timeout": timeout});
        self.json(Call::post(&path, Some(body))).await
    }

    /// The channels over which its notifications go.
    pub async fn channels(&self) -> Result<Vec<ChannelLine>> {
        self.list("/api/v1/channels", "channels").await
    }

    /// Has the node send a notification; asked once, since what is sent is sent.
    pub async fn test_channel(&self, channel: &Name, message: &str) -> Result<Tried> {
        let path = format!("/api/v1/channels/{channel}/test");
        self.json(Call::post(&path, Some(json!({"message": message})))).await
    }

    /// A link that signs a browser in, once, at the address by which this command reaches the node.
    pub async fn sign_in_link(&self, role: Option<Role>) -> Result<String> {
        let path = "/api/v1/sign-in-links";
        let body = role.map(|role| json!({"role": role}));
        let made: MadeLink = self.json(Call::post(path, body)).await?;
        // What a node says may not lead a browser to another one.
        let code = made
            .path
            .strip_prefix("/sign-in?code=")
            .filter(|code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let wrong = || Failure::refused(format!("{} answers with no link of its own", self.url()));
        let code = code.ok_or_else(wrong)?;
        Ok(format!("{}/sign-in?code={code}", self.url()))
    }

    /// Starts a run, once, however often the connection breaks; also answers diagnostics when a
    /// broken edit was passed over.
    pub async fn start(&self, start: StartRun) -> Result<(Started, Option<String>)> {
        let StartRun { workflow, version, params, texts, idempotency_key, priority, .. } = start;
        let texts: Map<String, Json> = texts.into_iter().map(|(n, t)| (n, t.into())).collect();
        let body = json!({
            "workflow": workflow, "version": version, "params": params, "texts": texts,
            "priority": priority_of(priority),
        });
        let call = Call::post("/api/v1/runs", Some(body));
        let started: StartedRun =
            self.json(call.keyed(idempotency_key.unwrap_or_else(new_key))).await?;
        let outcome = match (started.outcome.as_str(), started.run) {
            ("existing", Some(run)) => Started::Existing { run },
            (_, Some(run)) => Started::New { run },
            (_, None) => Started::Skipped,
        };
        Ok((outcome, started.warning.map(|warning| text::safe(&warning).into_owned())))
    }

    /// Repeats a run in part.
    pub async fn fork(&self, fork: ForkRequest) -> Result<RunId> {
        let ForkRequest { run, from, params, idempotency_key, .. } = fork;
        let (path, body) = match (from, params) {
            (ForkFrom::Failed, None) => ("retry", None),
            (ForkFrom::Step(step), None) => ("rerun", Some(json!({"from": step}))),
            (ForkFrom::Step(step), Some(params)) => {
                ("fork", Some(json!({"from": step, "params": params})))
            }
            (ForkFrom::Start, params) => {
                ("fork", Some(json!({"params": params.unwrap_or_else(|| json!({}))})))
            }
            (ForkFrom::Failed, Some(_)) => {
                return Err(Failure::usage("a retry takes the params of the first run"));
            }
        };
        let path = format!("/api/v1/runs/{run}/{path}");
        let key = idempotency_key.unwrap_or_else(new_key);
        let started: StartedRun = self.json(Call::post(&path, body).keyed(key)).await?;
        started.run.ok_or_else(|| Failure::refused("no run was started"))
    }

    /// Changes a run.
    pub async fn change(&self, run: RunId, change: Change) -> Result<()> {
        let (act, body) = match change {
            Change::Pause => ("pause", None),
            Change::Resume => ("resume", None),
            Change::Cancel { reason } => ("cancel", Some(json!({"reason": reason}))),
            Change::Terminate { reason } => ("terminate", Some(json!({"reason": reason}))),
            Change::Signal { name, key, payload } => {
                let key = key.unwrap_or_else(new_key);
                ("signal", Some(json!({"name": name, "key": key, "payload": payload})))
            }
            Change::Event { .. } => {
                return Err(Failure::refused("a node elsewhere takes no event for one run alone"));
            }
        };
        let path = format!("/api/v1/runs/{run}/{act}");
        let call = Call::post(&path, body);
        // The same signal has the same key; a run can't be paused or resumed twice over.
        let call = if matches!(act, "signal") { call.repeatable() } else { call };
        self.json::<Json>(call).await.map(drop)
    }

    /// Does something with a trigger.
    pub async fn trigger(&self, id: TriggerId, command: TriggerCommand) -> Result<TriggerAnswer> {
        let at = |act: &str| format!("/api/v1/triggers/{id}/{act}");
        match command {
            TriggerCommand::Pause { reason, .. } => {
                self.switch(&at("pause"), Some(json!({"reason": reason}))).await
            }
            TriggerCommand::Resume => self.switch(&at("resume"), None).await,
            TriggerCommand::CancelBackfill { number } => {
                self.switch(&at("backfill/cancel"), Some(json!({"number": number}))).await
            }
            TriggerCommand::Start { key, params, overlap, priority, .. } => {
                let mut body = json!({"overlap": overlap, "priority": priority_of(priority)});
                if let Some(params) = params {
                    body["params"] = (*params).clone();
                }
                self.json(Call::post(&at("start"), Some(body)).keyed(key)).await.map(
                    |decided: Decided| TriggerAnswer::Decided {
                        outcome: decided.outcome,
                        run: decided.run,
                        reason: decided.reason,
                    },
                )
            }
            TriggerCommand::Backfill(request) => {
                let body = json!({
                    "from": request.from.to_string(), "to": request.to.to_string(),
                    "reverse": request.reverse, "at_once": request.at_once,
                    "reprocess": request.reprocess, "forgotten": request.forgotten,
                    "priority": priority_of(request.priority),
                });
                let path = at("backfill");
                let call = Call::post(&path, Some(body)).keyed(request.key);
                let begun: Begun = self.json(call).await?;
                self.backfill(id, begun.number).await
            }
        }
    }

    /// What a backfill would do.
    pub async fn preview_backfill(
        &self,
        id: TriggerId,
        request: &BackfillRequest,
    ) -> Result<Preview> {
        let path = format!("/api/v1/triggers/{id}/backfill");
        let reprocess = match request.reprocess {
            Reprocess::None => "none",
            Reprocess::Failed => "failed",
            Reprocess::All => "all",
        };
        let query = vec![
            ("from", request.from.to_string()),
            ("to", request.to.to_string()),
            ("reverse", request.reverse.to_string()),
            ("reprocess", reprocess.to_owned()),
            ("forgotten", request.forgotten.to_string()),
        ];
        let (slots, mut head) = self.list_of::<Json>(&path, &query, "slots").await?;
        head["slots"] = slots.into();
        serde_json::from_value(head).map_err(|e| answer::not_understood(self, &path, &e))
    }

    async fn switch(&self, path: &str, body: Option<Json>) -> Result<TriggerAnswer> {
        let switched: Switched = self.json(Call::post(path, body).repeatable()).await?;
        Ok(if switched.changed { TriggerAnswer::Done } else { TriggerAnswer::Unchanged })
    }

    async fn backfill(&self, id: TriggerId, number: u32) -> Result<TriggerAnswer> {
        let row: Option<TriggerRow> = self.ask(Ask::Trigger(id)).await?;
        let backfills = row.map(|row| row.state.backfills).unwrap_or_default();
        let found = backfills.into_iter().find(|backfill| backfill.number == number);
        let gone = || Failure::refused(format!("backfill {number} has begun, and is over"));
        Ok(TriggerAnswer::Backfill(found.ok_or_else(gone)?))
    }

    /// Publishes an event; answers its number, and whether it is new.
    pub async fn publish(&self, event: Published) -> Result<Posted> {
        let Published { event, key, source, subject, data, .. } = event;
        let key = key.unwrap_or_else(new_key);
        let mut body = json!({"type": event, "data": data, "key": key});
        for (name, said) in [("source", source), ("subject", subject)] {
            if let Some(said) = said {
                body[name] = said.into();
            }
        }
        let call = Call::post("/api/v1/events", Some(body)).repeatable();
        let answered: Answered = self.json(call).await?;
        let seq = answered.sequences.first().copied().flatten();
        Ok(Posted { seq, new: answered.new > 0 })
    }

    /// Lets an agent take no new task, or take them again; answers whether it was otherwise before.
    pub async fn switch_agent(&self, agent: &Name, paused: Option<PausedAgent>) -> Result<bool> {
        let (act, body) = match paused {
            Some(paused) => ("pause", Some(json!({"reason": paused.reason}))),
            None => ("resume", None),
        };
        let path = format!("/api/v1/agents/{agent}/{act}");
        let switched: Switched = self.json(Call::post(&path, body).repeatable()).await?;
        Ok(switched.changed)
    }

    /// Adds to the budget of an agent.
    pub async fn grant(&self, request: GrantRequest) -> Result<()> {
        let GrantRequest { agent, more, key } = request;
        let path = format!("/api/v1/agents/{agent}/grant");
        let call = Call::post(&path, Some(json!(more))).keyed(key.unwrap_or_else(new_key));
        let _: Json = self.json(call).await?;
        Ok(())
    }

    /// Deletes the file of a workflow; answers how many runs of it have not ended.
    pub async fn delete_workflow(&self, workflow: &Name, keep_open_runs: bool) -> Result<usize> {
        let path = format!("/api/v1/workflows/{workflow}");
        let query = vec![("keep_open_runs", keep_open_runs.to_string())];
        let method = Method::DELETE;
        let call = Call { method, query, if_match: Some("*"), again: false, ..Call::get(&path) };
        let deleted: Deleted = self.json(call).await?;
        Ok(deleted.open_runs)
    }

    /// What the node is doing.
    pub async fn status(&self) -> Result<NodeStatus> {
        self.ask(Ask::Status).await
    }

    /// Who we are to it.
    pub async fn me(&self) -> Result<Me> {
        self.json(Call::get("/api/v1/me")).await
    }

    /// Its tokens and sessions.
    pub async fn tokens(&self) -> Result<Vec<TokenLine>> {
        self.list("/api/v1/tokens", "tokens").await
    }

    /// Makes a token; answers it with its secret.
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        scopes: Vec<Scope>,
        expires: Option<Span>,
    ) -> Result<(TokenLine, Zeroizing<String>)> {
        let expires = expires.map(|span| span.to_string());
        let body = match scopes.is_empty() {
            // A node of before scopes knows no such field; with it, it refuses, which is safe.
            true => json!({"name": name, "role": role, "expires_in": expires}),
            false => {
                json!({"name": name, "role": role, "scopes": scopes, "expires_in": expires})
            }
        };
        let made: MadeToken = self.json(Call::post("/api/v1/tokens", Some(body))).await?;
        // Nothing more is asked: whatever failed then would lose the secret.
        Ok((TokenLine::made(made.id, name, (role, &scopes), made.expires_at), made.token))
    }

    /// Ends a token or session.
    pub async fn revoke_token(&self, id: &str) -> Result<()> {
        let path = format!("/api/v1/tokens/{}", percent_encoded(id));
        let call = Call { method: Method::DELETE, again: false, ..Call::get(&path) };
        self.call(call).await.map(drop)
    }

    /// What is known of its jobs.
    pub async fn jobs(&self) -> Result<Vec<JobStatus>> {
        self.ask(Ask::Jobs).await
    }

    /// Does a job out of turn; answers when it is done.
    pub async fn run_job(&self, name: &str) -> Result<JobStatus> {
        let path = format!("/api/v1/jobs/{}/run", percent_encoded(name));
        self.json::<Json>(Call::post(&path, None)).await?;
        let job = self.jobs().await?.into_iter().find(|job| job.name == name);
        job.ok_or_else(|| Failure::not_found(format!("there is no job {name}")))
    }
}

/// What became of a start of a trigger.
#[derive(Debug, Deserialize)]
struct Decided {
    outcome: moa_core::trigger::Outcome,
    run: Option<RunId>,
    reason: Option<String>,
}
