//! What has to be at hand before an attempt starts: params and environment with secrets filled in,
//! the log, the deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use moa_core::agent::AgentKind;
use moa_core::expr::{Scope, Value};
use moa_core::step::{ErrorKind, StepError};
use moa_core::template::{Rendered, SecretSlot, Template};
use moa_core::time::{Millis, Span};
use moa_ports::agent::{CancellationToken, Secrets, Task, TaskCtx};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::agents::Entry;
use crate::log::{LogWriter, log_path};
use crate::redact::{Redactor, SECRET_BYTES_MIN};
use crate::worker::Shared;

/// Limit on an attempt when neither its step, nor its action, nor its agent sets one.
pub const ATTEMPT_TIMEOUT_DEFAULT: Span = Span::minutes(60);

type Texts = BTreeMap<String, String>;

/// An attempt that can be started.
pub(crate) struct Prepared {
    pub ctx: TaskCtx,
    pub limit: Span,
    pub log: Arc<LogWriter>,
    pub redactor: Arc<Redactor>,
}

/// Makes everything ready that an attempt of `task` needs.
///
/// # Errors
/// The step's error: an unknown action, params that break their schema, a secret that isn't there.
pub(crate) fn prepare(
    shared: &Shared,
    entry: &Entry,
    task: &Task,
    cancelled: CancellationToken,
) -> Result<Prepared, StepError> {
    let permanent = |why: String| StepError::new(ErrorKind::Permanent, why);
    let action = entry.action(&task.action).map_err(permanent)?;
    let mut filler = Filler { secrets: &*shared.secrets, used: Vec::new() };
    let params = match &task.params.value {
        Json::Null => shared.null.clone(),
        _ => Arc::new(filler.fill(&task.params).map_err(permanent)?),
    };
    let (env, headers) = texts(shared, entry, task, &params, &mut filler)?;
    let redactor = match filler.used.is_empty() {
        true => shared.no_secrets.clone(),
        false => Arc::new(Redactor::new(filler.used.iter().map(|secret| secret.as_str()))),
    };
    entry
        .check_params(&task.action, &params)
        .map_err(|why| permanent(redactor.text(&why).into_owned()))?;
    let limit = task
        .timeout
        .or(action.and_then(|action| action.timeout))
        .or(entry.spec.timeout)
        .unwrap_or(ATTEMPT_TIMEOUT_DEFAULT);
    let path = log_path(&shared.state_dir, task.run, &task.step, &task.iteration, task.attempt);
    let log =
        Arc::new(LogWriter::new(path, redactor.clone(), shared.secrets.clone(), shared.log_shape));
    let ctx = TaskCtx {
        spec: entry.spec.clone(),
        cancelled,
        deadline: Some(now().after(limit)),
        timeout: Some(limit),
        log: log.clone(),
        params,
        env,
        headers,
        project_dir: shared.project_dir.clone(),
        work_dir: shared.state_dir.join("work").join(task.run.to_string()),
        traced: shared.traced,
    };
    Ok(Prepared { ctx, limit, log, redactor })
}

/// The wall clock.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Environment (the agent's own, then the step's) and headers.
fn texts(
    shared: &Shared,
    entry: &Entry,
    task: &Task,
    params: &Arc<Json>,
    filler: &mut Filler,
) -> Result<(Arc<Texts>, Arc<Texts>), StepError> {
    let no_headers = BTreeMap::new();
    let headers = match &entry.spec.kind {
        AgentKind::Http(http) => &http.headers,
        _ => &no_headers,
    };
    let own = &entry.spec.env;
    let step_has_none = task.env.value.as_object().is_none_or(|map| map.is_empty());
    if own.is_empty() && headers.is_empty() && step_has_none {
        return Ok((shared.no_texts.clone(), shared.no_texts.clone()));
    }
    let scope = AgentScope { params, task };
    let mut env = filler.render("environment variable", own, &scope)?;
    let step = filler.fill(&task.env).map_err(|why| StepError::new(ErrorKind::Permanent, why))?;
    if let Json::Object(map) = step {
        env.extend(map.into_iter().map(|(name, value)| (name, text_of(value))));
    }
    Ok((Arc::new(env), Arc::new(filler.render("header", headers, &scope)?)))
}

/// Puts secrets where they belong, and remembers which were used.
struct Filler<'a> {
    secrets: &'a dyn Secrets,
    used: Vec<Zeroizing<String>>,
}

impl Filler<'_> {
    fn fill(&mut self, rendered: &Rendered) -> Result<Json, String> {
        let mut value = rendered.value.clone();
        // Last to first, so that an insertion doesn't move the places of those still to come.
        for SecretSlot { pointer, at, name } in rendered.secrets.iter().rev() {
            let found = self.secrets.get(name);
            let secret = found.ok_or_else(|| match self.secrets.fault(name) {
                Some(why) => format!("the secret `{name}` can't be used: {why}"),
                None => format!(
                    "there is no secret `{name}`; set it where the project's secrets are set"
                ),
            })?;
            if secret.len() < SECRET_BYTES_MIN {
                let text = format!("the secret `{name}` can't be used: it has fewer than");
                return Err(format!("{text} {SECRET_BYTES_MIN} bytes, and can't be redacted"));
            }
            match value.pointer_mut(pointer) {
                Some(Json::String(text)) if text.is_char_boundary(*at) => {
                    text.insert_str(*at, &secret);
                }
                _ => return Err(format!("the secret `{name}` has no place at {pointer:?}")),
            }
            self.used.push(secret);
        }
        Ok(value)
    }

    fn render(
        &mut self,
        what: &str,
        templates: &BTreeMap<String, Template>,
        scope: &AgentScope,
    ) -> Result<Texts, StepError> {
        let mut texts = BTreeMap::new();
        for (name, template) in templates {
            let rendered = template.render(scope).map_err(|e| {
                StepError::new(ErrorKind::Expression, format!("{what} `{name}`: {e}"))
            })?;
            let value = self.fill(&rendered).map_err(|why| {
                StepError::new(ErrorKind::Permanent, format!("{what} `{name}`: {why}"))
            })?;
            texts.insert(name.clone(), text_of(value));
        }
        Ok(texts)
    }
}

/// A value as text: texts as they are, null as nothing, all else as JSON.
pub(crate) fn text_of(value: Json) -> String {
    match value {
        Json::String(text) => text,
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// What an agent's own templates may speak of.
struct AgentScope<'a> {
    params: &'a Arc<Json>,
    task: &'a Task,
}

impl Scope for AgentScope<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "params" => Some(Value::from_json(self.params.clone())),
            "run" => Some(Value::from_json(Arc::new(json!({
                "id": self.task.run,
                "workflow": self.task.workflow,
            })))),
            _ => None,
        }
    }
}
