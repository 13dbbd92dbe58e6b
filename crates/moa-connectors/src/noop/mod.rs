//! The built-in agent `noop`: gives back its params at once, null when there are none. For tests,
//! benchmarks and placeholders.

use std::sync::Arc;

use async_trait::async_trait;
use moa_ports::agent::{Agent, Output, Task, TaskCtx, TaskError};

/// Does nothing.
pub(crate) struct Noop;

#[async_trait]
impl Agent for Noop {
    async fn run(&self, ctx: TaskCtx, _task: Arc<Task>) -> Result<Output, TaskError> {
        let empty = ctx.params.as_object().is_none_or(|params| params.is_empty());
        Ok(Output { value: (!empty).then_some(ctx.params) })
    }
}
