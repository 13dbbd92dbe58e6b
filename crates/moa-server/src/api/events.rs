//! Events: what happened, and what is told to runs and triggers.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use moa_core::ids::{Name, RunId};
use moa_ports::search::TEXT_CHARS_MAX;
use moa_ports::views::{KeptAsk, KeptEvent, KeptRow};
use moa_view::events::{Names, Patterns, Picked, Told, check_published, type_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::runs::find;
use super::runs::list::{limit, name};
use super::runs::start::idempotency_key;
use crate::App;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Query};
use crate::stream::mark::Mark;

/// Events of an answer.
const EVENTS_MAX: usize = 2000;
/// Commits looked at by one question at most.
const COMMITS_MAX: usize = 2000;
/// Bytes of events looked at by one question at most, about.
const BYTES_MAX: usize = 8 << 20;
/// Commits read at once.
const PART_ROWS: usize = 64;
/// Bytes of events read first, about, and the most that are read at once.
const PART_BYTES: usize = 32 << 10;
const PART_BYTES_MAX: usize = 2 << 20;
/// Events published by one request at most.
const BATCH_MAX: usize = 100;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only behind this one: an event number (`sequence`), or the `id` of an event; 0 = from the first
    /// that is kept. The newest when not given.
    #[serde(default)]
    after: Option<String>,
    /// Go on where an answer ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
    /// Only of these types, with commas: `step.failed,run.*`.
    #[serde(default)]
    types: Option<String>,
    /// Only of this run.
    #[serde(default)]
    run: Option<String>,
    /// Only of runs of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// Only of steps that are actions of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// Only those that hold all of these words, each of them in its type or in its data as JSON; small
    /// and capital letters are the same.
    #[serde(default)]
    q: Option<String>,
    /// The newest before this one, an event number or the `id` of an event, instead of the newest of
    /// all: what an answer calls `older`.
    #[serde(default)]
    before: Option<String>,
    /// At most so many, up to 2000; 200 when not given. An answer may hold fewer although there are
    /// more: of much that nobody asked for, only a part is looked at.
    #[serde(default)]
    limit: Option<usize>,
}

/// Events of commits.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// CloudEvents (1.0, JSON), in order. `sequence` is the event number of their commit.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// `cursor` of the next question; there is always one, since more may happen.
    next: String,
    /// The newest event number: there is nothing more when `next` is the same.
    newest: u64,
    /// `before` of the question for what is older than all that was looked at; null = there is nothing,
    /// or it was asked for what is behind something.
    older: Option<String>,
}

/// What somebody asks for, as it is written.
#[derive(Debug, Default, Clone, Copy)]
pub struct Asked<'a> {
    /// Types with commas.
    pub types: Option<&'a str>,
    /// A run, by its id or a part of it.
    pub run: Option<&'a str>,
    /// A workflow.
    pub workflow: Option<&'a str>,
    /// An agent.
    pub agent: Option<&'a str>,
    /// Words.
    pub q: Option<&'a str>,
}

/// What a filter asks for.
pub struct Wanted {
    patterns: Patterns,
    run: Option<RunId>,
    workflow: Option<Name>,
    agent: Option<Name>,
    /// Words, as they stand in JSON.
    words: Vec<String>,
}

impl Wanted {
    /// Reads a filter: types with commas, a run by its id or a part of it, names, words.
    ///
    /// # Errors
    /// There is no such run, something is not a name, or the words are very long.
    pub async fn read(app: &App, asked: Asked<'_>) -> Result<Self> {
        Ok(Self {
            patterns: Patterns::read(asked.types.unwrap_or_default()),
            run: match asked.run {
                Some(run) => Some(find(app, run).await?),
                None => None,
            },
            workflow: asked.workflow.map(name).transpose()?,
            agent: asked.agent.map(name).transpose()?,
            words: words(asked.q.unwrap_or_default())?,
        })
    }

    /// The run whose events are wanted; `None` = those of all.
    pub fn run(&self) -> Option<RunId> {
        self.run
    }

    /// The events of a commit that may be wanted, none of them read: only [`Wanted::takes`] tells.
    ///
    /// # Errors
    /// The commit is damaged.
    pub fn may_take<'a>(&self, row: &'a KeptRow) -> Result<Vec<KeptEvent<'a>>> {
        if !self.has(row.run, &row.workflow) {
            return Ok(Vec::new());
        }
        Ok(self.patterns.of(row)?)
    }

    /// Whether an event that may be wanted is.
    pub fn takes(&self, event: &Told<'_>) -> bool {
        let is_ours = self.agent.as_ref().is_none_or(|wanted| event.agent == Some(wanted));
        let small = || event.cloud_event()["data"].to_string().to_lowercase();
        is_ours && (self.words.is_empty() || self.has_words(type_of(event.event), &small()))
    }

    /// Whether only a look at an event tells that it is wanted.
    pub fn looks(&self) -> bool {
        self.agent.is_some() || !self.words.is_empty()
    }

    /// Whether all words are in a type or in data in small letters.
    fn has_words(&self, kind: &str, data: &str) -> bool {
        self.words.iter().all(|word| kind.contains(word.as_str()) || data.contains(word.as_str()))
    }

    /// Whether a commit may hold what is wanted.
    pub fn has(&self, run: RunId, workflow: &Name) -> bool {
        self.run.is_none_or(|wanted| wanted == run)
            && self.workflow.as_ref().is_none_or(|wanted| wanted == workflow)
    }

    /// Whether an event of such a commit is wanted; `small` are its data in small letters.
    pub fn has_event<'a>(
        &self,
        kind: &str,
        agent: Option<&Name>,
        small: impl FnOnce() -> &'a str,
    ) -> bool {
        self.patterns.fit(kind)
            && self.agent.as_ref().is_none_or(|wanted| agent == Some(wanted))
            && (self.words.is_empty() || self.has_words(kind, small()))
    }

    /// Events of a commit that are wanted and on the side of a mark, with their places in it, in order;
    /// and whether there are more than `room`. Those next to the mark are taken.
    /// Nothing is read of a commit but what is told of it.
    async fn of(
        &self,
        app: &App,
        names: &mut Names,
        row: &KeptRow,
        side: Side,
        room: usize,
    ) -> Result<(Vec<(usize, Value)>, bool)> {
        let mut fit = self.may_take(row)?;
        fit.retain(|event| side.has(row.seq, event.index));
        // Whose action a step is, only its name tells.
        let mut more = false;
        if !self.looks() {
            more = cut(&mut fit, room, side);
        }
        if fit.is_empty() {
            return Ok((Vec::new(), false));
        }
        let picked = Picked::read(app.reader(), names, row, &fit).await?;
        let mut told: Vec<Told<'_>> = picked.told().filter(|event| self.takes(event)).collect();
        more |= cut(&mut told, room, side);
        Ok((told.iter().map(|event| (event.index, event.cloud_event())).collect(), more))
    }
}

/// The words of a text, as they stand in JSON in small letters.
fn words(text: &str) -> Result<Vec<String>> {
    if text.chars().count() > TEXT_CHARS_MAX {
        let text = format!("`q` has at most {TEXT_CHARS_MAX} characters");
        return Err(Problem::invalid(text));
    }
    let word = |word: &str| {
        let json = Value::from(word.to_lowercase()).to_string();
        json[1..json.len() - 1].to_owned()
    };
    Ok(text.split_whitespace().map(word).collect())
}

/// On which side of a mark events are.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// What is behind it, the oldest first.
    Behind(Mark),
    /// What is older, the newest first.
    Before(Mark),
}

impl Side {
    fn has(self, seq: u64, index: usize) -> bool {
        match self {
            Self::Behind(mark) => mark.passes(seq, index),
            Self::Before(mark) => mark.is_behind(seq, index),
        }
    }
}

/// Leaves so many at the end where they are read from; answers whether some had to go.
fn cut<T>(all: &mut Vec<T>, room: usize, side: Side) -> bool {
    let over = all.len().saturating_sub(room);
    match side {
        Side::Before(_) => drop(all.drain(..over)),
        Side::Behind(_) => all.truncate(room),
    }
    over > 0
}

/// The history, read in parts: small ones first, since most look at its newest end alone.
pub struct Parts {
    ask: KeptAsk,
    commits: usize,
    bytes: usize,
}

impl Parts {
    /// Of all runs, or of one; no further than up to so many commits and bytes, about.
    pub fn new(run: Option<RunId>, newest_first: bool, commits: usize, bytes: usize) -> Self {
        let (behind, upto) = (0, u64::MAX);
        let ask = KeptAsk { run, behind, upto, newest_first, rows: PART_ROWS, bytes: PART_BYTES };
        Self { ask, commits, bytes }
    }

    /// The next part: behind an event number, or up to one when the newest come first; `None` =
    /// enough was read.
    pub async fn next(&mut self, app: &App, from: u64) -> Result<Option<Vec<KeptRow>>> {
        if self.commits == 0 || self.bytes == 0 {
            return Ok(None);
        }
        match self.ask.newest_first {
            true => self.ask.upto = from,
            false => self.ask.behind = from,
        }
        let rows = app.reader().views.kept(&self.ask).await?;
        let bytes = rows.iter().map(|row| row.events.len()).sum();
        self.commits = self.commits.saturating_sub(rows.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        self.ask.bytes = (self.ask.bytes * 4).min(PART_BYTES_MAX);
        Ok(Some(rows))
    }
}

/// What happened in all runs
///
/// In order of event numbers; an answer goes on where the one before ended, without a gap.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", params(Filter),
    responses((status = 200, description = "What happened, in order", body = EventPage)),
)]
pub async fn query(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Json<EventPage>> {
    let limit = limit(filter.limit, 200, EVENTS_MAX)?;
    let Filter { after, cursor, types, run, workflow, agent, q, before, .. } = &filter;
    let asked = Asked {
        types: types.as_deref(),
        run: run.as_deref(),
        workflow: workflow.as_deref(),
        agent: agent.as_deref(),
        q: q.as_deref(),
    };
    if before.is_some() && after.is_some() {
        return Err(Problem::invalid(
            "ask either for what is before an event, or for what is after one",
        ));
    }
    let wanted = Wanted::read(&app, asked).await?;
    let newest = app.reader().views.last_event().await?;
    let mut older = None;
    let (events, next) = match cursor.as_ref().or(after.as_ref()) {
        Some(after) => {
            let mark = Mark::read(after)?.within(newest);
            behind(&app, &wanted, mark, newest, limit).await?
        }
        None => {
            let end = Mark::behind(newest.saturating_add(1));
            let before = before.as_deref().map(Mark::read).transpose()?;
            let before = before.filter(|before| before.seq <= newest).unwrap_or(end);
            let (events, rest) = latest(&app, &wanted, before, limit).await?;
            older = rest.map(|mark| mark.to_string());
            (events, before.back())
        }
    };
    Ok(Json(EventPage { events, next: next.to_string(), newest, older }))
}

/// Events behind a mark, and the mark behind them.
async fn behind(
    app: &App,
    wanted: &Wanted,
    mut mark: Mark,
    newest: u64,
    limit: usize,
) -> Result<(Vec<Value>, Mark)> {
    let (mut names, mut events) = (Names::default(), Vec::new());
    let mut parts = Parts::new(wanted.run, false, COMMITS_MAX, BYTES_MAX);
    while let Some(rows) = parts.next(app, mark.read_from()).await? {
        if rows.last().is_none_or(|row| row.seq <= mark.seq && mark.index.is_none()) {
            // Of one run: what else was committed by then is not wanted.
            let looked = if wanted.run.is_some() { newest.max(mark.seq) } else { mark.seq };
            return Ok((events, if looked > mark.seq { Mark::behind(looked) } else { mark }));
        }
        for row in &rows {
            let room = limit - events.len();
            let (found, more) = wanted.of(app, &mut names, row, Side::Behind(mark), room).await?;
            if let Some((index, _)) = found.last().filter(|_| more) {
                mark = Mark { seq: row.seq, index: Some(*index) };
            } else if row.seq >= mark.seq {
                mark = Mark::behind(row.seq);
            }
            events.extend(found.into_iter().map(|(_, event)| event));
            if more || events.len() == limit {
                return Ok((events, mark));
            }
        }
    }
    Ok((events, mark))
}

/// The newest events before a mark, oldest first, and before which mark nothing was looked at; `None` =
/// there is nothing more.
async fn latest(
    app: &App,
    wanted: &Wanted,
    mut before: Mark,
    limit: usize,
) -> Result<(Vec<Value>, Option<Mark>)> {
    let mut names = Names::default();
    // Newest first, until they are turned round.
    let mut events = Vec::new();
    let mut parts = Parts::new(wanted.run, true, COMMITS_MAX, BYTES_MAX);
    'parts: while events.len() < limit
        && let Some(rows) = parts.next(app, before.back().seq).await?
    {
        if rows.is_empty() {
            before = Mark::behind(0);
            break;
        }
        for row in &rows {
            let (room, side) = (limit - events.len(), Side::Before(before));
            let (found, more) = wanted.of(app, &mut names, row, side, room).await?;
            // What has no room of its commit is in the next answer.
            let first = found.first().filter(|_| more).map(|(index, _)| *index);
            before = Mark { seq: row.seq, index: first };
            events.extend(found.into_iter().rev().map(|(_, event)| event));
            if more || events.len() == limit {
                break 'parts;
            }
        }
    }
    events.reverse();
    Ok((events, (before.back().seq > 0).then_some(before)))
}

/// An event to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// What it carries.
    #[serde(default)]
    data: Value,
    /// The same key is the same event.
    #[serde(default)]
    key: Option<String>,
}

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// How many were sent.
    events: usize,
    /// How many of them are new; others had been published before.
    new: usize,
}

/// Publish events
///
/// To runs that wait for them, and to triggers. Either as a document (`application/json`), or as
/// CloudEvents 1.0: structured (`application/cloudevents+json`), as a batch
/// (`application/cloudevents-batch+json`), or binary (headers `ce-type`, `ce-source`, `ce-id`). The
/// source and id of a CloudEvent are its key: the same one is published once. `Idempotency-Key` is the
/// key of a document that has none. Answers when all are durable.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same event")),
    request_body(content = NewEvent, content_type = "application/json"),
    responses((status = 200, description = "They are published", body = Published)),
)]
pub async fn publish(
    State(app): State<App>,
    who: Identity,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Published>> {
    let mut events = read(&headers, &body)?;
    // All of them, before the first one is published.
    for event in &events {
        who.must_reach(Resource::Events, Some(&event.kind))?;
        check_published(&event.kind).map_err(Problem::invalid)?;
    }
    if let (Some(key), [only]) = (idempotency_key(&headers)?, events.as_mut_slice()) {
        only.key.get_or_insert(key);
    }
    let mut new = 0;
    let count = events.len();
    for NewEvent { kind, data, key } in events {
        new += usize::from(app.control().publish(kind, data, key).await?);
    }
    Ok(Json(Published { events: count, new }))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<NewEvent>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if headers.contains_key("ce-specversion") {
        return Ok(vec![binary(headers, kind, body)?]);
    }
    match kind.to_ascii_lowercase().as_str() {
        "application/json" => Ok(vec![json(body)?]),
        "application/cloudevents+json" => Ok(vec![structured(json(body)?)?]),
        "application/cloudevents-batch+json" => {
            let events: Vec<CloudEvent> = json(body)?;
            if events.len() > BATCH_MAX {
                let text = format!("a batch has at most {BATCH_MAX} events");
                return Err(Problem::new(Code::TooLarge, text));
            }
            events.into_iter().map(structured).collect()
        }
        _ => Err(Problem::new(Code::UnsupportedMediaType, format!("{kind:?} is no event"))
            .hint("send application/json or application/cloudevents+json")),
    }
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Problem::invalid(format!("the event is wrong: {e}")))
}

/// A CloudEvent in its JSON form. Attributes that moa has no use for are passed over.
#[derive(Debug, Deserialize)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    data_base64: Option<String>,
}

fn structured(event: CloudEvent) -> Result<NewEvent> {
    let CloudEvent { specversion, id, source, kind, data, data_base64 } = event;
    if data_base64.is_some() {
        return Err(Problem::invalid("data_base64: an event of moa carries JSON"));
    }
    checked(&specversion, &id, &source, kind, data)
}

fn checked(version: &str, id: &str, source: &str, kind: String, data: Value) -> Result<NewEvent> {
    if version != "1.0" {
        let text = format!("specversion {version:?} is not known; 1.0 is");
        return Err(Problem::invalid(text));
    }
    if id.is_empty() || source.is_empty() || kind.is_empty() {
        return Err(Problem::invalid("id, source and type must not be empty"));
    }
    // The length keeps apart what only together are equal, and a CloudEvent from a plain key.
    Ok(NewEvent { kind, data, key: Some(format!("cloudevent {}:{source} {id}", source.len())) })
}

fn binary(headers: &HeaderMap, kind: &str, body: &[u8]) -> Result<NewEvent> {
    let get = |name: &str| -> Result<String> {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.map(unescaped);
        value.ok_or_else(|| Problem::invalid(format!("the header {name} is missing, or no text")))
    };
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json");
    let data = match (body.is_empty(), is_json) {
        (true, _) => Value::Null,
        (false, true) => json(body)?,
        (false, false) => match std::str::from_utf8(body) {
            Ok(text) => text.into(),
            Err(_) => return Err(Problem::invalid("the event carries neither JSON nor text")),
        },
    };
    let (version, id, source) = (get("ce-specversion")?, get("ce-id")?, get("ce-source")?);
    checked(&version, &id, &source, get("ce-type")?, data)
}

/// The value of a header of a CloudEvent: what isn't printable ASCII is percent-encoded there.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn event(headers: &[(&'static str, &'static str)], body: &str) -> Result<Vec<NewEvent>> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        read(&pairs.collect(), body.as_bytes())
    }

    #[test]
    fn cloud_events_come_in_three_forms_and_have_one_key() {
        let structured = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid",
            "subject":"x","data":{"n":1}}"#;
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "%2Fshop"),
            ("ce-type", "order.paid"),
            ("content-type", "application/json"),
        ];
        let batch = format!("[{structured}]");
        let batched = [("content-type", "application/cloudevents-batch+json; charset=utf-8")];
        for read in [
            event(&[("content-type", "application/cloudevents+json")], structured),
            event(&binary, r#"{"n":1}"#),
            event(&batched, &batch),
        ] {
            let read = read.expect("it is an event");
            assert_eq!(read.len(), 1);
            assert_eq!(read[0].kind, "order.paid");
            assert_eq!(read[0].key.as_deref(), Some("cloudevent 5:/shop 7"));
            assert_eq!(read[0].data["n"], 1);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let ce = [("content-type", "application/cloudevents+json")];
        for (headers, body) in [
            (&ce[..], r#"{"specversion":"0.3","id":"7","source":"/s","type":"t"}"#),
            (&ce[..], r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#),
            (&ce[..], r#"{"specversion":"1.0","id":"7","type":"t"}"#),
            (
                &ce[..],
                r#"{"specversion":"1.0","id":"7","source":"/","type":"t","data_base64":"AA"}"#,
            ),
            (&[("ce-specversion", "1.0")][..], "{}"),
            (&[("content-type", "application/json")][..], r#"{"type":1}"#),
            (&[("content-type", "text/plain")][..], "hello"),
            (&[][..], ""),
        ] {
            assert!(event(headers, body).is_err(), "{body}");
        }
    }
}
