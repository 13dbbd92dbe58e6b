//! Channels over which notifications go, and whether they work.

use axum::extract::State;
use moa_view::node::ChannelLine;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agents::test::TestResult;
use super::paging::Part;
use super::runs::list::name;
use crate::App;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// What is said when nobody says what.
pub const MESSAGE: &str = "This is a test. Whoever reads it need do nothing.";
/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A channel.
#[derive(Debug, Serialize, ToSchema)]
pub struct Channel {
    /// Its name.
    channel: String,
    /// `file`, `slack`, `mail` or `webhook`.
    kind_of: String,
    /// Where it goes; secrets are named, not shown.
    to: String,
}

/// Channels.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelList {
    /// By name: those that the node has, which is what `notify.channels` said when it started.
    channels: Vec<Channel>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Channels over which notifications go
#[utoipa::path(
    get, path = "/api/v1/channels", tag = "notifications", params(Part),
    responses((status = 200, description = "By name", body = ChannelList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<ChannelList>> {
    let (all, next) = part.of(app.control().channels(), |line| line.channel.to_string())?;
    let item = |line: ChannelLine| {
        let ChannelLine { channel, kind_of, to } = line;
        Channel { channel: channel.to_string(), kind_of, to }
    };
    Ok(Json(ChannelList { channels: all.into_iter().map(item).collect(), next }))
}

/// What is to be said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// What to say: plain text, up to 4 KiB.
    #[serde(default)]
    message: Option<String>,
}

/// Try a channel
///
/// Sends a notification over it once, from the node, as `moa notify test` does; answers when it is known
/// what came of it. A failure is told, and not tried again.
#[utoipa::path(
    post, path = "/api/v1/channels/{channel}/test", tag = "notifications",
    params(("channel" = String, Path, description = "Its name")),
    request_body = Option<Say>,
    responses((status = 200, description = "What came of it, also when it failed", body = TestResult)),
)]
pub async fn test(
    State(app): State<App>,
    who: Identity,
    Path(channel): Path<String>,
    body: Option<Json<Say>>,
) -> Result<Json<TestResult>> {
    let channel = name(&channel)?;
    let message = body.and_then(|Json(say)| say.message).unwrap_or_else(|| MESSAGE.into());
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Problem::invalid(format!("a message has at most {MESSAGE_BYTES_MAX} bytes")));
    }
    // An expression could send any secret to whoever reads the channel.
    if message.contains("${{") {
        let problem = Problem::invalid("the message of a test is plain text, without expressions");
        return Err(problem.hint("leave `${{` out"));
    }
    let tried = app.control().test_channel(channel, message, who.cause()).await?;
    Ok(Json(TestResult::new("notify".into(), tried)))
}
