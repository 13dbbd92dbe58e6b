//! The document that says what an attempt is asked to do: standard input of a process, body of a
//! request.

use moa_ports::agent::{Task, TaskCtx};
use serde::Serialize;
use serde_json::Value as Json;

/// What an agent is told. `docs/agents` is the contract; fields are only ever added.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    run: String,
    workflow: &'a str,
    step: &'a str,
    iteration: &'a str,
    attempt: u32,
    agent: &'a str,
    action: &'a str,
    params: &'a Json,
    inputs: &'a Json,
    /// RFC 3339.
    deadline: Option<String>,
    idempotency_key: &'a str,
}

impl<'a> Document<'a> {
    pub fn new(ctx: &'a TaskCtx, task: &'a Task) -> Self {
        Self {
            run: task.run.to_string(),
            workflow: task.workflow.as_str(),
            step: &task.step,
            iteration: &task.iteration,
            attempt: task.attempt,
            agent: task.agent.as_str(),
            action: &task.action,
            params: &ctx.params,
            inputs: &task.inputs,
            deadline: ctx.deadline.map(|at| at.to_string()),
            idempotency_key: &task.idempotency_key,
        }
    }

    /// The document as JSON, ended by a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Invariant: texts and JSON values only, so writing to memory can't fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}
