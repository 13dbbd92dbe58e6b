//! Trying an agent: one attempt outside of any run.

use axum::extract::State;
use moa_core::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::find;
use crate::App;
use crate::auth::Identity;
use crate::control::{AgentTest, AgentTried, LastTest};
use crate::error::{Problem, Result};
use crate::extract::{Json, Path};

/// What an agent is to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTest {
    /// The action; the only one that the agent has, when not given.
    #[serde(default)]
    pub action: Option<String>,
    /// The params of the action; `${{ secrets.NAME }}` is known in them.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// A limit on the attempt: `10s`. 30 seconds at most, which it is when neither this nor the agent
    /// says less.
    #[serde(default)]
    pub timeout: Option<String>,
}

/// What came of the newest test of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestItem {
    /// When it began.
    at: String,
    /// Who asked for it.
    by: String,
    /// What the agent was to do.
    action: String,
    /// `succeeded` or `failed`.
    status: &'static str,
    /// How long it took, in milliseconds.
    took_ms: u64,
    /// Why it failed: `kind` and `message`.
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
}

impl From<&LastTest> for TestItem {
    fn from(test: &LastTest) -> Self {
        Self {
            at: test.at.to_string(),
            by: test.by.clone(),
            action: test.action.clone(),
            status: if test.succeeded { "succeeded" } else { "failed" },
            took_ms: test.took.0,
            error: test.error.as_ref().map(|e| serde_json::to_value(e).unwrap_or_default()),
        }
    }
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestResult {
    /// The agent.
    agent: String,
    /// What came of it.
    test: TestItem,
    /// What the agent answered; null = nothing, or it failed.
    #[schema(value_type = Value)]
    output: Option<Value>,
    /// After how many milliseconds it wants to be asked again, when it was asked too often.
    again_after_ms: Option<u64>,
    /// The end of what it wrote, up to 64 KiB.
    log: String,
    /// Whether it wrote more before that.
    log_cut: bool,
}

impl TestResult {
    /// What came of a test of an agent.
    pub fn new(agent: String, tried: AgentTried) -> Self {
        let AgentTried { last, output, again_after, log, log_cut } = tried;
        let again_after_ms = again_after.map(|after| after.0);
        Self { agent, test: (&last).into(), output, again_after_ms, log, log_cut }
    }
}

/// The test that a request asks for.
///
/// # Errors
/// It names no action, and the agent has several; or its timeout is none.
pub async fn asked(app: &App, who: &Identity, agent: &str, new: NewTest) -> Result<AgentTest> {
    let spec = find(app, agent).await?;
    let timeout = new.timeout.as_deref().map(str::parse::<Span>).transpose();
    let timeout = timeout.map_err(|e| Problem::invalid(format!("timeout: {e}")))?;
    let action = new.action.or_else(|| match spec.actions.len() {
        1 => spec.actions.keys().next().cloned(),
        _ => None,
    });
    let action = action.ok_or_else(|| {
        let names: Vec<&str> = spec.actions.keys().map(String::as_str).collect();
        let problem = Problem::invalid("which action? Send `action`");
        if names.is_empty() {
            problem
        } else {
            problem.hint(format!("it has: {}", names.join(", ")))
        }
    })?;
    Ok(AgentTest { agent: spec.id.clone(), action, params: new.params, timeout, by: who.cause() })
}

/// Test an agent
///
/// Has it make one attempt of an action outside of any run, as `moa agents test` does, also while it
/// is paused; answers when that has ended. It is a real attempt: what the agent does is done. It uses
/// nothing of the agent's limits, is in no history, and is in the audit log. What came of the newest
/// test is part of `…/health`.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/test", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    request_body = NewTest,
    responses((status = 200, description = "What came of it, also when it failed", body = TestResult)),
)]
pub async fn test(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    Json(new): Json<NewTest>,
) -> Result<Json<TestResult>> {
    let asked = asked(&app, &who, &agent, new).await?;
    Ok(Json(TestResult::new(agent, app.control().test_agent(asked).await?)))
}
