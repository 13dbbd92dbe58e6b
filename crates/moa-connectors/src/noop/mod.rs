//! The built-in agent `noop`: gives back its params at once. For tests, benchmarks and placeholders.

use std::sync::Arc;

use async_trait::async_trait;
use moa_ports::agent::{Agent, Output, Task, TaskCtx, TaskError};

/// Does nothing.
pub(crate) struct Noop;

#[async_trait]
impl Agent for Noop {
    async fn run(&self, ctx: TaskCtx, _task: Arc<Task>) -> Result<Output, TaskError> {
        Ok(Output { value: Some(ctx.params).filter(|params| !params.is_null()) })
    }
}
