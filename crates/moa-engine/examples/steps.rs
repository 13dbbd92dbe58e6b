//! What the engine alone costs a step: many concurrent runs of ten steps over the store in memory,
//! with a worker that ends every attempt at once. Prints steps a second.
//!
//! `cargo run --release -p moa-engine --example steps [RUNS] [AT_ONCE]`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::Usage;
use moa_core::machine::Outcome;
use moa_core::time::Millis;
use moa_engine::Engine;
use moa_engine::handle::{Options, Serves, StartRequest};
use moa_ports::agent::{Completion, Completions, Task, Worker};
use moa_ports::memory::MemoryStore;
use moa_ports::store::{Store, WorkflowVersion};
use moa_spec::OutputSchemas;
use serde_json::json;

struct AtOnce(Arc<dyn Completions>);

impl Worker for AtOnce {
    fn start(&self, task: Task) {
        let Task { run, inst, attempt, .. } = task;
        let outcome = Outcome::Succeeded { output: None };
        self.0.complete(Completion { run, inst, attempt, outcome, usage: Usage::NONE });
    }
    fn stop(&self, _: RunId, _: u32, _: u32, _: bool) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let (runs, at_once) = (args.next().unwrap_or(50_000), args.next().unwrap_or(4_000));
    let text: String =
        (0..10).map(|n| format!("  - {{id: s{n}, agent: noop, action: x}}\n")).collect();
    let source = moa_spec::Source { path: "w.yaml".into(), text: format!("steps:\n{text}") };
    let (workflow, _) = moa_spec::parse_workflow(&source, &Name::new("w")?);
    let plan = moa_spec::compile(&workflow.ok_or("the workflow is wrong")?);
    let store = MemoryStore::single();
    let version = WorkflowVersion {
        workflow: plan.workflow.clone(),
        hash: plan.hash,
        version: None,
        source: String::new(),
        plan: serde_json::to_string(&plan)?,
        created_at: Millis(0),
    };
    store.put_workflow(Millis(0), version, Box::new(|_| ()));
    let kind = AgentKind::Builtin("noop".into());
    let spec: AgentSpec = serde_json::from_value(json!({ "id": "noop", "kind": kind }))?;
    let agents = BTreeMap::from([(spec.id.clone(), Arc::new(spec))]);
    let schemas = Arc::new(OutputSchemas);
    let options = Options {
        node: NodeId(1),
        max_running: 64,
        serves: Serves::Everything,
        triggers: None,
        left: Default::default(),
    };
    let handle =
        Engine::start(options, Arc::new(store), agents, schemas, |ends| Arc::new(AtOnce(ends)))?;
    let mut events = handle.subscribe();
    let request = StartRequest {
        workflow: plan.workflow.clone(),
        version: Some(plan.hash.to_string()),
        params: json!({}),
        idempotency_key: None,
        priority: None,
        trace: None,
        cause: String::new(),
    };
    let begun = Instant::now();
    let mut left = runs;
    while left > 0 {
        let starts = (0..at_once.min(left)).map(|_| handle.start_run(request.clone()));
        let starts: Vec<_> = starts.map(Box::pin).collect();
        for start in starts {
            start.await?;
        }
        left -= at_once.min(left);
    }
    let _ = events.try_recv();
    drop(events);
    while handle.status().await.runs_cached > 0 {
        tokio::task::yield_now().await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.0} steps/s ({runs} runs of 10, {seconds:.2} s)", runs as f64 * 10.0 / seconds);
    Ok(())
}
