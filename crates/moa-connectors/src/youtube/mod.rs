//! The built-in agent `youtube`: puts videos on a YouTube channel, by the YouTube Data API v3.
//!
//! *Actions*: `status` says whether there are credentials, and asks nobody. `upload` uploads a file
//! with its title, description, tags, privacy and thumbnail. `find` tells whether the upload of these
//! params has happened; it is the check of `upload`. `statistics` reads views, likes and comments.
//!
//! *Credentials* are the secrets `YOUTUBE_CLIENT_ID`, `YOUTUBE_CLIENT_SECRET` and
//! `YOUTUBE_REFRESH_TOKEN` (see `account`). They never leave this module but to Google.
//!
//! *Once*: each upload carries a tag made of its param `key`, or of the step's idempotency key. Before
//! an upload begins, the channel is asked for a video with that tag. The address of the upload session
//! is written to the run's folder before the first byte is sent, so a later attempt asks the session
//! what it has, and goes on from there; the session also knows an upload whose last answer was lost.
//!
//! *Quota*: YouTube charges about 1600 units for an upload, of 10,000 a day. When the day's are used
//! up, the attempt is rate limited until midnight in California, where YouTube's days begin.
//!
//! Absent: live streams, playlists, captions, comments; asking people for consent (a refresh token is
//! made once, by hand). It is tested against a server that behaves as documented, not against Google.

mod account;
mod api;
mod lookup;
mod refusal;
mod session;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::agent::{ActionSpec, AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::time::Span;
use moa_ports::agent::{Agent, Output, Secrets, Task, TaskCtx, TaskError};
use serde_json::{Value as Json, json};

use crate::http::HttpClient;

use account::{Account, Tokens};
use api::Api;

/// The id of the agent.
const ID: &str = "youtube";
/// Limit on an upload, where its step sets none.
const UPLOAD_TIMEOUT: Span = Span::minutes(120);

/// The agent.
pub(crate) struct YouTube {
    client: HttpClient,
    secrets: Arc<dyn Secrets>,
    tokens: Tokens,
}

impl YouTube {
    pub fn new(client: HttpClient, secrets: Arc<dyn Secrets>) -> Self {
        Self { client, secrets, tokens: Tokens::default() }
    }

    async fn act(&self, ctx: &TaskCtx, task: &Task) -> Result<Json, TaskError> {
        let prefix = account::prefix(&ctx.params)?;
        if task.action == "status" {
            return Ok(account::status(&*self.secrets, &prefix));
        }
        let account = Account::new(&*self.secrets, prefix)?;
        let api = Api { client: self.client.get()?, account: &account, tokens: &self.tokens, ctx };
        let result = match task.action.as_str() {
            "upload" => upload::upload(&api, task).await,
            "find" => upload::find(&api, task).await,
            "statistics" => lookup::statistics(&api).await,
            other => Err(TaskError::Permanent(format!(
                "agent `{ID}` has no action `{other}`; it has: find, statistics, status, upload"
            ))),
        };
        result.map_err(|error| account.clean(error))
    }
}

#[async_trait]
impl Agent for YouTube {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        let answer = tokio::select! {
            biased;
            () = ctx.cancelled.cancelled() => Err(TaskError::Cancelled),
            answer = self.act(&ctx, &task) => answer,
        };
        answer.map(|value| Output { value: Some(Arc::new(value)) })
    }
}

/// What the engine knows about the agent.
pub(crate) fn spec() -> Option<AgentSpec> {
    let actions = [
        ("find", find_spec()),
        ("statistics", statistics_spec()),
        ("status", status_spec()),
        ("upload", upload_spec()),
    ];
    Some(AgentSpec {
        id: Name::new(ID).ok()?,
        name: Some("Uploads to YouTube".to_owned()),
        description: Some(
            "Needs the secrets YOUTUBE_CLIENT_ID, YOUTUBE_CLIENT_SECRET and YOUTUBE_REFRESH_TOKEN."
                .to_owned(),
        ),
        tier: None,
        labels: BTreeMap::new(),
        actions: actions.map(|(name, spec)| (name.to_owned(), spec)).into(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: BTreeMap::new(),
        kind: AgentKind::Builtin(ID.to_owned()),
    })
}

/// Params that every action takes.
fn with_account(mut properties: Json, required: &[&str]) -> Json {
    properties["account"] = json!({"type": "string", "pattern": "^[A-Z][A-Z0-9_]{0,40}$"});
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

fn upload_params() -> Json {
    let text = json!({"type": "string"});
    with_account(
        json!({
            "file": {"type": "string", "minLength": 1},
            "title": {"type": "string", "minLength": 1, "maxLength": 100},
            "description": {"type": "string", "maxLength": 5000},
            "tags": {"type": "array", "items": text},
            "category": {"type": ["string", "integer"]},
            "language": text,
            "privacy": {"enum": ["private", "unlisted", "public"]},
            "made_for_kids": {"type": "boolean"},
            "notify_subscribers": {"type": "boolean"},
            "thumbnail": text,
            "key": {"type": "string", "minLength": 1, "maxLength": 512},
            "chunk_kib": {"type": "integer", "minimum": 256, "multipleOf": 256, "maximum": 262_144},
        }),
        &["file", "title"],
    )
}

fn upload_spec() -> ActionSpec {
    ActionSpec {
        description: Some("Uploads a video, resuming what an earlier attempt began.".to_owned()),
        params: Some(upload_params()),
        once: true,
        check: Some("find".to_owned()),
        timeout: Some(UPLOAD_TIMEOUT),
        ..ActionSpec::default()
    }
}

fn find_spec() -> ActionSpec {
    ActionSpec {
        description: Some("Tells whether an upload with these params has happened.".to_owned()),
        params: Some(upload_params()),
        ..ActionSpec::default()
    }
}

fn statistics_spec() -> ActionSpec {
    let ids = json!({"type": "array", "items": {"type": "string"}, "maxItems": 1000});
    ActionSpec {
        description: Some("Views, likes and comments of videos.".to_owned()),
        params: Some(with_account(
            json!({"ids": ids, "save_as": {"type": "string", "minLength": 1}}),
            &["ids"],
        )),
        ..ActionSpec::default()
    }
}

fn status_spec() -> ActionSpec {
    ActionSpec {
        description: Some("Tells whether there are credentials.".to_owned()),
        params: Some(with_account(json!({}), &[])),
        ..ActionSpec::default()
    }
}
