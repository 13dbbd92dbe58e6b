//! Attempts outside of any run: `moa agents test`, and the same over the API.
//!
//! Such an attempt is a real one: what the agent does is done. It is in no history; the limits of the
//! agent don't hold it back, and it uses nothing of them. What it left in the project's state is
//! removed when it has been read.

use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::expr::{Scope, Value};
use moa_core::ids::{Name, RunId};
use moa_core::template::{Rendered, Template};
use moa_core::time::Span;
use moa_core::trace::TraceContext;
use moa_ports::agent::Task;
use serde_json::{Map, Value as Json};

use crate::exit::{Failure, Result};
use crate::view::now;
use crate::wire;

/// Refuses an action that the agent does not have.
///
/// # Errors
/// It declares actions, and this is none of them.
pub fn check_action(spec: &AgentSpec, action: &str) -> Result<()> {
    if spec.actions.is_empty() || spec.actions.contains_key(action) {
        return Ok(());
    }
    let actions: Vec<&str> = spec.actions.keys().map(String::as_str).collect();
    let failure = Failure::not_found(format!("agent {} has no action {action}", spec.id));
    Err(failure.hint(format!("it has: {}", actions.join(", "))))
}

struct Nothing;

impl Scope for Nothing {
    fn lookup(&self, _name: &str) -> Option<Value> {
        None
    }
}

/// The task of such an attempt. In its params `${{ secrets.NAME }}` is known, and nothing else.
///
/// # Errors
/// A param asks for something else.
pub fn task(agent: Name, action: String, params: Json, timeout: Option<Span>) -> Result<Task> {
    let now = now();
    let random = u128::from(wire::random_u64()) << 64 | u128::from(wire::random_u64());
    let run = RunId::v7(now.0.unsigned_abs(), random);
    let rendered = |value: Json| {
        let wrong = |e: moa_core::expr::Error| {
            Failure::usage(format!("a param can't be evaluated: {e}"))
                .hint("only ${{ secrets.NAME }} is known here")
        };
        Template::compile(&value, true).and_then(|t| t.render(&Nothing)).map_err(wrong)
    };
    Ok(Task {
        run,
        trace: TraceContext::of(run),
        workflow: Name::new("agent-test").expect("these are letters and a hyphen"),
        inst: 0,
        step: "test".into(),
        iteration: String::new(),
        attempt: 1,
        agent,
        action,
        params: Arc::new(rendered(params)?),
        env: Arc::new(Rendered { value: Json::Object(Map::new()), secrets: Vec::new() }),
        inputs: Arc::new(Json::Object(Map::new())),
        timeout,
        idempotency_key: format!("{run}/test"),
        once: false,
        leased_at: now,
    })
}
