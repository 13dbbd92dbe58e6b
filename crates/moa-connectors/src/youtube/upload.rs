//! The resumable upload: a session is begun with what the video is called, then its bytes follow in
//! chunks. After anything that goes wrong the session is asked what it has, and the upload goes on
//! from there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moa_ports::agent::{Task, TaskError};
use reqwest::Url;
use serde_json::{Value as Json, json};

use super::api::{Answer, Api, TIMEOUT};
use super::lookup;
use super::session::{self, Session};
use crate::beneath::existing_beneath;

/// What is sent at once, unless the params say otherwise. YouTube wants multiples of 256 KiB.
const CHUNK_KIB_DEFAULT: u64 = 8 << 10;
/// Limit on one chunk; the attempt's own limit holds as well.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Failures in a row without a byte of progress before the attempt gives up; the next one goes on.
const FAILURES_MAX: u32 = 4;
/// Sessions that one attempt begins: YouTube may forget one.
const SESSIONS_MAX: u32 = 2;
const THUMBNAIL_BYTES_MAX: u64 = 2 << 20;
/// Characters of all tags together, as YouTube counts them.
const TAGS_CHARS_MAX: usize = 500;

/// What the params ask for.
struct Upload {
    place: PathBuf,
    resource: Json,
    notify: bool,
    mime: &'static str,
    chunk: u64,
    thumbnail: Option<PathBuf>,
    tag: String,
    kept: PathBuf,
}

/// The file that is uploaded.
struct Video {
    file: Arc<File>,
    bytes: u64,
    hash: String,
}

/// How far an upload is.
enum Progress {
    /// The video is there.
    Done(Json),
    /// So many bytes have arrived.
    At(u64),
    /// The session is no longer known.
    Gone,
}

/// Uploads the video, unless it is there.
pub(super) async fn upload(api: &Api<'_>, task: &Task) -> Result<Json, TaskError> {
    let upload = Upload::new(api, task)?;
    let video = Video::open(&upload.place).await?;
    for _ in 0..SESSIONS_MAX {
        let (session, from) = match begin(api, &upload, &video).await? {
            Begun::Done(done) => return finish(api, &upload, &done, video.bytes, true).await,
            Begun::Session(session, from) => (session, from),
        };
        let sent = send(api, &upload, &video, &session, from).await?;
        if let Progress::Done(done) = sent {
            return finish(api, &upload, &done, video.bytes, from > 0).await;
        }
        api.log("the upload session is no longer known; a new one is begun");
        forget(&upload.kept)?;
    }
    Err(TaskError::Retryable("YouTube forgets the upload sessions that it gives".to_owned()))
}

/// Tells whether the upload has happened.
pub(super) async fn find(api: &Api<'_>, task: &Task) -> Result<Json, TaskError> {
    let upload = Upload::new(api, task)?;
    let video = Video::open(&upload.place).await?;
    let mut failures = 0;
    loop {
        let found = match kept(api, &upload, &video).await {
            Ok(Some((_, Progress::Done(done)))) => Ok(Some(done)),
            // The session knows best: not all bytes have come, so there is no video.
            Ok(Some((_, Progress::At(_)))) => Ok(None),
            Ok(_) => lookup::by_tag(api, &upload.tag).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(done)) => {
                let output = finish(api, &upload, &done, video.bytes, true).await?;
                return Ok(json!({"done": true, "output": output}));
            }
            Ok(None) => return Ok(json!({"done": false})),
            // A check that fails needs a person, so it is patient.
            Err(TaskError::Retryable(why)) if failures < FAILURES_MAX => {
                failures += 1;
                api.log(&why);
                pause(failures).await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Upload {
    fn new(api: &Api<'_>, task: &Task) -> Result<Self, TaskError> {
        let params = &api.ctx.params;
        let permanent = |why: String| TaskError::Permanent(why);
        let text = |name: &str| params[name].as_str();
        let project = &api.ctx.project_dir;
        let place = |file: &str| existing_beneath(project, Path::new(file)).map_err(permanent);
        let file = text("file").ok_or_else(|| permanent("an upload needs a `file`".to_owned()))?;
        let key = text("key").unwrap_or(&task.idempotency_key);
        let tag = format!("moa-{}", &blake3::hash(key.as_bytes()).to_hex()[..16]);
        let thumbnail = text("thumbnail").filter(|file| !file.is_empty()).map(place).transpose()?;
        Ok(Self {
            place: place(file)?,
            resource: resource(params, &tag).map_err(permanent)?,
            notify: params["notify_subscribers"].as_bool().unwrap_or(false),
            mime: mime(file),
            chunk: params["chunk_kib"].as_u64().unwrap_or(CHUNK_KIB_DEFAULT) * 1024,
            thumbnail,
            kept: session::path(&api.ctx.work_dir, &tag),
            tag,
        })
    }
}

/// What YouTube is told about the video.
fn resource(params: &Json, tag: &str) -> Result<Json, String> {
    let title = params["title"].as_str().unwrap_or_default();
    let description = params["description"].as_str().unwrap_or_default();
    for (name, text) in [("title", title), ("description", description)] {
        if text.contains(['<', '>']) {
            return Err(format!("YouTube takes no < and no > in a {name}"));
        }
    }
    if description.len() > 5000 {
        return Err("YouTube takes descriptions of 5000 bytes at most".to_owned());
    }
    let given = params["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut tags: Vec<&str> = given.iter().filter_map(Json::as_str).collect();
    tags.push(tag);
    // A tag with a space counts as if it stood in quotes.
    let length = |tag: &&str| tag.chars().count() + if tag.contains(' ') { 3 } else { 1 };
    if tags.iter().map(length).sum::<usize>() > TAGS_CHARS_MAX {
        return Err(format!("YouTube takes {TAGS_CHARS_MAX} characters of tags at most"));
    }
    let mut snippet = json!({"title": title, "description": description, "tags": tags});
    match &params["category"] {
        Json::String(category) => snippet["categoryId"] = category.as_str().into(),
        Json::Number(category) => snippet["categoryId"] = category.to_string().into(),
        _ => {}
    }
    if let Some(language) = params["language"].as_str() {
        snippet["defaultLanguage"] = language.into();
        snippet["defaultAudioLanguage"] = language.into();
    }
    let status = json!({
        "privacyStatus": params["privacy"].as_str().unwrap_or("private"),
        "selfDeclaredMadeForKids": params["made_for_kids"].as_bool().unwrap_or(false),
    });
    Ok(json!({"snippet": snippet, "status": status}))
}

fn mime(file: &str) -> &'static str {
    match file.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        _ => "application/octet-stream",
    }
}

impl Video {
    async fn open(place: &Path) -> Result<Self, TaskError> {
        let place = place.to_owned();
        let read = move || -> io::Result<Self> {
            let mut file = File::open(&place)?;
            let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
            let mut bytes = 0;
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => {
                        hasher.update(&buffer[..n]);
                        bytes += n as u64;
                    }
                }
            }
            let hash = hasher.finalize().to_hex().to_string();
            Ok(Self { file: Arc::new(file), bytes, hash })
        };
        let video =
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let video =
            video.map_err(|e| TaskError::Retryable(format!("the file can't be read: {e}")))?;
        match video.bytes {
            0 => Err(TaskError::Permanent("the file is empty".to_owned())),
            _ => Ok(video),
        }
    }

    async fn chunk(&self, from: u64, most: u64) -> Result<Vec<u8>, TaskError> {
        let length = usize::try_from(most.min(self.bytes - from)).unwrap_or(usize::MAX);
        let file = self.file.clone();
        let read = move || {
            let mut chunk = vec![0; length];
            file.read_exact_at(&mut chunk, from).map(|()| chunk)
        };
        let chunk =
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        chunk.map_err(|e| TaskError::Retryable(format!("the file can't be read any more: {e}")))
    }
}

enum Begun {
    Done(Json),
    Session(Session, u64),
}

/// A session to upload into, an earlier one if it is still known; or the video, if it is there.
async fn begin(api: &Api<'_>, upload: &Upload, video: &Video) -> Result<Begun, TaskError> {
    match kept(api, upload, video).await? {
        Some((_, Progress::Done(done))) => return Ok(Begun::Done(done)),
        Some((session, Progress::At(from))) => {
            api.log(&format!("goes on with byte {from} of {}", video.bytes));
            return Ok(Begun::Session(session, from));
        }
        Some((_, Progress::Gone)) => forget(&upload.kept)?,
        None => {}
    }
    if let Some(done) = lookup::by_tag(api, &upload.tag).await? {
        api.log("the video is there already");
        return Ok(Begun::Done(done));
    }
    let session = initiate(api, upload, video).await?;
    session::save(&upload.kept, &session).map_err(|e| {
        TaskError::Retryable(format!("the upload session can't be written down: {e}"))
    })?;
    Ok(Begun::Session(session, 0))
}

/// The session that was written down for this file, and how far it is.
async fn kept(
    api: &Api<'_>,
    upload: &Upload,
    video: &Video,
) -> Result<Option<(Session, Progress)>, TaskError> {
    let api_url = api.account.api_url.as_str();
    let fits = |s: &Session| s.hash == video.hash && s.bytes == video.bytes && s.api == api_url;
    let Some(session) = session::load(&upload.kept).filter(fits) else { return Ok(None) };
    let progress = ask(api, &session).await?;
    Ok(Some((session, progress)))
}

fn forget(kept: &Path) -> Result<(), TaskError> {
    session::forget(kept)
        .map_err(|e| TaskError::Retryable(format!("the upload session can't be forgotten: {e}")))
}

/// Begins a session. Without bytes there is no video yet, so this may be repeated.
async fn initiate(api: &Api<'_>, upload: &Upload, video: &Video) -> Result<Session, TaskError> {
    let query = [
        ("uploadType", "resumable"),
        ("part", "snippet,status"),
        ("notifySubscribers", if upload.notify { "true" } else { "false" }),
    ];
    let url = api.url("upload/youtube/v3/videos", &query)?;
    let body = upload.resource.to_string();
    let request = |client: &reqwest::Client| {
        client
            .post(url.clone())
            .timeout(TIMEOUT)
            .header("content-type", "application/json; charset=UTF-8")
            .header("x-upload-content-length", video.bytes)
            .header("x-upload-content-type", upload.mime)
            .body(body.clone())
    };
    let answer = api.send(request).await?;
    if answer.status != 200 {
        return Err(answer.refusal());
    }
    let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
    let uri = location.and_then(|text| Url::parse(text).ok());
    let Some(uri) = uri.filter(|uri| api.account.trusts(uri)) else {
        return Err(TaskError::Permanent(
            "YouTube gave no address to upload to, or one of somebody else".to_owned(),
        ));
    };
    Ok(Session {
        uri: uri.into(),
        hash: video.hash.clone(),
        bytes: video.bytes,
        api: api.account.api_url.to_string(),
    })
}

/// Sends the bytes from `from` on.
async fn send(
    api: &Api<'_>,
    upload: &Upload,
    video: &Video,
    session: &Session,
    mut from: u64,
) -> Result<Progress, TaskError> {
    let mut failures = 0;
    loop {
        let next = match put(api, upload, video, session, from).await {
            Err(TaskError::Retryable(why)) => {
                api.log(&format!("at byte {from} of {}: {why}", video.bytes));
                pause(failures).await;
                ask(api, session).await
            }
            other => other,
        };
        match next {
            Ok(Progress::At(at)) if at > from => {
                (from, failures) = (at, 0);
                continue;
            }
            // Nothing arrived, or less than was known to have arrived.
            Ok(Progress::At(at)) => from = at,
            Ok(over) => return Ok(over),
            Err(TaskError::Retryable(why)) => api.log(&why),
            Err(error) => return Err(error),
        }
        failures += 1;
        if failures > FAILURES_MAX {
            let bytes = video.bytes;
            let why = format!("the upload came no further than byte {from} of {bytes}");
            return Err(TaskError::Retryable(why));
        }
    }
}

/// Grows with each failure; the first one is answered at once.
async fn pause(failures: u32) {
    if failures > 0 {
        tokio::time::sleep(Duration::from_secs(1 << (failures - 1).min(4))).await;
    }
}

async fn put(
    api: &Api<'_>,
    upload: &Upload,
    video: &Video,
    session: &Session,
    from: u64,
) -> Result<Progress, TaskError> {
    let chunk = video.chunk(from, upload.chunk).await?;
    let last = from + chunk.len() as u64 - 1;
    let range = format!("bytes {from}-{last}/{}", video.bytes);
    let answer = api
        .send(|client| {
            client
                .put(&session.uri)
                .timeout(CHUNK_TIMEOUT)
                .header("content-type", upload.mime)
                .header("content-range", &range)
                .body(chunk.clone())
        })
        .await?;
    progress(&answer, video.bytes)
}

/// Asks the session how far it is.
async fn ask(api: &Api<'_>, session: &Session) -> Result<Progress, TaskError> {
    let range = format!("bytes */{}", session.bytes);
    let answer = api
        .send(|client| {
            let request = client.put(&session.uri).timeout(TIMEOUT);
            request.header("content-range", &range).header("content-length", 0)
        })
        .await?;
    progress(&answer, session.bytes)
}

/// What a session's answer says.
fn progress(answer: &Answer, bytes: u64) -> Result<Progress, TaskError> {
    match answer.status {
        200 | 201 => Ok(Progress::Done(answer.json()?)),
        308 => {
            let range = answer.headers.get("range").and_then(|value| value.to_str().ok());
            Ok(Progress::At(range.and_then(arrived).unwrap_or(0).min(bytes)))
        }
        404 | 410 => Ok(Progress::Gone),
        _ => Err(answer.refusal()),
    }
}

/// How many bytes `bytes=0-N` stands for.
fn arrived(range: &str) -> Option<u64> {
    let last = range.trim().strip_prefix("bytes=")?.strip_prefix("0-")?;
    last.parse::<u64>().ok()?.checked_add(1)
}

/// The output of an upload that is done; sets the thumbnail first.
async fn finish(
    api: &Api<'_>,
    upload: &Upload,
    done: &Json,
    bytes: u64,
    resumed: bool,
) -> Result<Json, TaskError> {
    let Some(id) = done["id"].as_str() else {
        return Err(TaskError::Unknown("YouTube took the video and gave no id for it".to_owned()));
    };
    let thumbnail = match &upload.thumbnail {
        None => "none".to_owned(),
        // Channels that aren't verified may not have one: the video stands without it.
        Some(file) => match set_thumbnail(api, id, file).await {
            Ok(()) => "set".to_owned(),
            Err(error) => format!("not set: {error}"),
        },
    };
    api.log(&format!("video {id} is on YouTube; thumbnail: {thumbnail}"));
    Ok(json!({
        "video_id": id,
        "url": format!("https://www.youtube.com/watch?v={id}"),
        "privacy": done["status"]["privacyStatus"],
        "tag": upload.tag,
        "bytes": bytes,
        "resumed": resumed,
        "thumbnail": thumbnail,
    }))
}

async fn set_thumbnail(api: &Api<'_>, id: &str, file: &Path) -> Result<(), TaskError> {
    let retryable = |e: io::Error| TaskError::Retryable(e.to_string());
    if std::fs::metadata(file).map_err(retryable)?.len() > THUMBNAIL_BYTES_MAX {
        return Err(TaskError::Permanent("it has more than 2 MiB".to_owned()));
    }
    let picture = std::fs::read(file).map_err(retryable)?;
    let kind = match file.extension().and_then(|ending| ending.to_str()) {
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "image/png",
    };
    let query = [("videoId", id), ("uploadType", "media")];
    let url = api.url("upload/youtube/v3/thumbnails/set", &query)?;
    let request = |client: &reqwest::Client| {
        let request = client.post(url.clone()).timeout(TIMEOUT).header("content-type", kind);
        request.body(picture.clone())
    };
    api.send(request).await?.json().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_what_has_arrived() {
        assert_eq!(arrived("bytes=0-262143"), Some(262_144));
        assert_eq!(arrived("bytes=0-0"), Some(1));
        for odd in ["bytes=5-9", "0-9", "bytes=0-", "bytes=0-x", "bytes=0-18446744073709551615"] {
            assert_eq!(arrived(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_youtube_would_refuse_is_refused_before() {
        let ok = json!({"title": "t", "tags": ["a b"], "category": 27, "language": "en"});
        let made = resource(&ok, "moa-1").expect("it is fine");
        assert_eq!(made["snippet"]["tags"], json!(["a b", "moa-1"]));
        assert_eq!(made["snippet"]["categoryId"], "27");
        assert_eq!(made["status"]["privacyStatus"], "private");
        let bad = |params: Json| resource(&params, "moa-1").expect_err("it is refused");
        assert!(bad(json!({"title": "<b>"})).contains("title"));
        assert!(bad(json!({"title": "t", "description": "a > b"})).contains("description"));
        assert!(bad(json!({"title": "t", "tags": ["x".repeat(496)]})).contains("500"));
    }
}
