//! The environment of a program: little of moa's own, then the agent's and the step's, then `MOA_*`.
//!
//! Inherited are only `PATH`, `HOME`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `USER` and `SHELL`: what else
//! moa was started with (credentials above all) is nobody's business. Agents find in it:
//! `MOA_RUN_ID`, `MOA_WORKFLOW`, `MOA_STEP`, `MOA_ITERATION`, `MOA_ATTEMPT`, `MOA_AGENT`,
//! `MOA_ACTION`, `MOA_IDEMPOTENCY_KEY`, `MOA_DEADLINE` (RFC 3339), `MOA_OUTPUT` (a file for the
//! result), `MOA_USAGE` (a file for what it has spent), `MOA_PROJECT` and `MOA_WORK_DIR` (folders of the project and of the run), `MOA_NODE` and
//! `MOA_STORE_ID` (whose process this is), and `MOA_PARAM_<NAME>` for each param that is a text, a
//! number, a boolean or null, unless it is long or holds a NUL. Where there are traces, also
//! `TRACEPARENT`, unless the agent or the step has one of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use moa_ports::agent::{Task, TaskCtx};
use serde_json::Value as Json;

use super::{Processes, usage};

/// Environment variables of a program.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// Where programs are looked for when `PATH` isn't set.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Bytes of one param that is given as a variable. The system takes 128 KiB at most.
const PARAM_BYTES_MAX: usize = 32 << 10;
/// Bytes of all of them. The system takes some MiB of arguments and environment.
const PARAMS_BYTES_MAX: usize = 256 << 10;

/// What every program gets of moa's own environment, as it was when moa started.
pub(super) struct Inherited(Environment);

impl Inherited {
    pub fn new() -> Self {
        const NAMES: [&str; 7] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "SHELL"];
        let wanted = |name: &OsStr| {
            NAMES.iter().any(|n| name == *n) || name.as_encoded_bytes().starts_with(b"LC_")
        };
        let mut own: Environment = std::env::vars_os().filter(|(name, _)| wanted(name)).collect();
        own.entry("PATH".into()).or_insert_with(|| PATH_DEFAULT.into());
        Self(own)
    }
}

impl Processes {
    /// The environment of one attempt.
    ///
    /// # Errors
    /// A name or a value that no environment can hold.
    pub(super) fn environment(
        &self,
        ctx: &TaskCtx,
        task: &Task,
        output: &Path,
    ) -> Result<Environment, String> {
        let mut all = self.inherited.0.clone();
        for (name, value) in &*ctx.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("{name:?} can't be the name of an environment variable"));
            }
            if value.contains('\0') {
                return Err(format!("the environment variable `{name}` holds a NUL character"));
            }
            all.insert(name.into(), value.into());
        }
        add_params(&ctx.params, &mut all);
        for (name, value) in self.identity(task) {
            all.insert(name.into(), value.into());
        }
        let mut add = |name: &str, value: &OsStr| all.insert(name.into(), value.to_owned());
        add("MOA_WORKFLOW", task.workflow.as_str().as_ref());
        add("MOA_AGENT", task.agent.as_str().as_ref());
        add("MOA_ACTION", task.action.as_ref());
        add("MOA_IDEMPOTENCY_KEY", task.idempotency_key.as_ref());
        if let Some(deadline) = ctx.deadline {
            add("MOA_DEADLINE", deadline.to_string().as_ref());
        }
        add("MOA_OUTPUT", output.as_os_str());
        add("MOA_USAGE", usage::path(output).as_os_str());
        add("MOA_PROJECT", ctx.project_dir.as_os_str());
        add("MOA_WORK_DIR", ctx.work_dir.as_os_str());
        if let Some(parent) = ctx.traced.and_then(|share| task.trace_parent(share)) {
            all.entry("TRACEPARENT".into()).or_insert_with(|| parent.into());
        }
        Ok(all)
    }

    /// The variables by which a process is known to belong to an attempt of this node.
    pub(super) fn identity(&self, task: &Task) -> [(&'static str, String); 6] {
        [
            ("MOA_STORE_ID", self.store_id.clone()),
            ("MOA_NODE", self.node.clone()),
            ("MOA_RUN_ID", task.run.to_string()),
            ("MOA_STEP", task.step.clone()),
            ("MOA_ITERATION", task.iteration.clone()),
            ("MOA_ATTEMPT", task.attempt.to_string()),
        ]
    }
}

fn add_params(params: &Json, all: &mut Environment) {
    let mut room = PARAMS_BYTES_MAX;
    for (name, value) in params.as_object().into_iter().flatten() {
        let text = match value {
            Json::String(text) => text.clone(),
            Json::Number(_) | Json::Bool(_) => value.to_string(),
            Json::Null => String::new(),
            Json::Array(_) | Json::Object(_) => continue,
        };
        if text.len() > PARAM_BYTES_MAX.min(room) || text.contains('\0') {
            continue;
        }
        room -= text.len();
        let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().map(legal).collect();
        all.entry(format!("MOA_PARAM_{name}").into()).or_insert_with(|| text.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn params_become_variables_when_they_can() {
        let params = json!({
            "dry-run": true, "n": 1.5, "name": "a b", "no": null, "list": [1], "nul": "a\u{0}b",
            "long": "x".repeat(PARAM_BYTES_MAX + 1), "dry_run": "second",
        });
        let mut all = Environment::new();
        add_params(&params, &mut all);
        let shown: Vec<_> = all
            .iter()
            .map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()))
            .collect();
        let expected =
            ["MOA_PARAM_DRY_RUN=true", "MOA_PARAM_N=1.5", "MOA_PARAM_NAME=a b", "MOA_PARAM_NO="];
        assert_eq!(shown, expected);
    }
}
