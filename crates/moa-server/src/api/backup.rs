//! A backup of the project: made by the node, and sent as one archive.
//!
//! All of it is made and checked before the answer begins, so what goes wrong is a problem document and
//! never half of an archive. It is sent from a file without a name: whoever goes away in the middle leaves
//! nothing behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use moa_view::node::Holds;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::App;
use crate::control::Archive;
use crate::error::{Code, Problem, Result};
use crate::extract::Json;
use crate::serve::stopped;

/// Where it is asked for.
pub const PATH: &str = "/api/v1/backup";
/// How long it may take to be made. Nothing limits how long it is read by who goes on reading.
pub const MADE_WITHIN: Duration = Duration::from_secs(3600);
/// Bytes read from the disk at once.
const PART_BYTES: u64 = 256 << 10;

/// What a backup is to hold beside the store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewBackup {
    /// Artifacts: without them outputs that were too large for the store will be missing.
    #[schema(default = true)]
    artifacts: bool,
    /// Attempt logs.
    #[schema(default = false)]
    logs: bool,
    /// Work folders of runs.
    #[schema(default = false)]
    work: bool,
    /// `moa.yaml`, workflows, agents and calendars.
    #[schema(default = true)]
    project: bool,
}

impl Default for NewBackup {
    fn default() -> Self {
        Self { artifacts: true, logs: false, work: false, project: true }
    }
}

/// Make a backup
///
/// The archive itself, as `moa backup FILE.tar` writes it and `moa restore` takes it: the store as it is at
/// one instant, the artifacts that it refers to and the project's files. It is complete and checked before the
/// answer begins, which for a large store takes its time. One is made and sent at a time. It holds neither
/// `.env` nor tokens nor sessions, and the secrets of the encrypted store sealed, without their key.
#[utoipa::path(
    post, path = "/api/v1/backup", tag = "state",
    request_body = Option<NewBackup>,
    responses(
        (status = 200, description = "The archive", body = String,
         content_type = "application/x-tar",
         headers(("content-disposition" = String, description = "That it is a file, and its name"))),
    ),
)]
pub async fn make(State(app): State<App>, body: Option<Json<NewBackup>>) -> Result<Response> {
    let NewBackup { artifacts, logs, work, project } = body.unwrap_or_default().0;
    let holds = Holds { artifacts, logs, work, project };
    let mut ending = app.ending();
    let archive = tokio::select! {
        made = app.control().backup(holds) => made?,
        () = stopped(&mut ending) => {
            let problem = Problem::new(Code::Unavailable, "the node is stopping");
            return Err(problem.hint("ask again when it has started"));
        }
    };
    Ok(answer(archive))
}

fn answer(archive: Archive) -> Response {
    // Its characters are plain: it can't end the text that it stands in.
    let name = format!("attachment; filename=\"{}\"", archive.name);
    let bytes = archive.bytes;
    let mut response = Response::new(content(archive));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// The bytes of an archive, read as they are sent.
fn content(archive: Archive) -> Body {
    Body::from_stream(stream::unfold(Some((archive, 0)), async |state| {
        let (archive, from) = state?;
        let read = tokio::task::spawn_blocking(move || {
            let part = part(&archive.file, from, archive.bytes);
            (part, archive)
        });
        let (part, archive) = match read.await {
            Ok((Ok(part), archive)) => (part, archive),
            Ok((Err(error), _)) => return Some((Err(error), None)),
            Err(error) => return Some((Err(io::Error::other(error)), None)),
        };
        let next = from + part.len() as u64;
        // Whoever has the last bytes may ask for the next backup.
        let rest = (next < archive.bytes).then_some((archive, next));
        Some((Ok(Bytes::from(part)), rest))
    }))
}

fn part(file: &File, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(PART_BYTES.min(bytes - from)).map_err(io::Error::other)?;
    let mut part = vec![0; length];
    file.read_exact_at(&mut part, from)?;
    Ok(part)
}
