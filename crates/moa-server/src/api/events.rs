//! Events: what happened, in runs and on the bus.

use axum::extract::State;
use moa_core::ids::{Name, RunId};
use moa_core::machine::BUS;
use moa_ports::search::TEXT_CHARS_MAX;
use moa_ports::views::{KeptAsk, KeptEvent, KeptRow};
use moa_view::compare::Hide;
use moa_view::events::{CLOCK_MARGIN, Names, Patterns, Picked, Told, before, hide_in, type_of};
use moa_view::published::{Fate, TRIGGERS_TOLD, fates};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::runs::find;
use super::runs::list::{limit, name};
use super::window::Window;
use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};
use crate::stream::commit;
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
    /// Only events that were published, and come from this source.
    #[serde(default)]
    source: Option<String>,
    /// Only the event that was published with this key, or as a CloudEvent with this id.
    #[serde(default)]
    key: Option<String>,
    /// Only since this instant, a day, or so long ago: `2h`, counted from the first page on.
    #[serde(default)]
    since: Option<String>,
    /// Only up to this instant, to the end of a day, or to so long before the first page.
    #[serde(default)]
    until: Option<String>,
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
    /// The newest event number: there is nothing more when `next` is the same, or stays as it was.
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
    /// Where a published event comes from.
    pub source: Option<&'a str>,
    /// The key of a published event, or its own id.
    pub key: Option<&'a str>,
    /// Of which time.
    pub window: Window,
}

/// What a filter asks for.
pub struct Wanted {
    patterns: Patterns,
    run: Option<RunId>,
    workflow: Option<Name>,
    agent: Option<Name>,
    /// Words, as they stand in JSON.
    words: Vec<String>,
    source: Option<String>,
    key: Option<String>,
    window: Window,
    /// Takes secrets out of what is looked through: else who looks for parts of one finds it.
    hide: Option<Box<Hide>>,
}

impl Wanted {
    /// Reads a filter: types with commas, a run by its id or a part of it, names, words.
    ///
    /// # Errors
    /// There is no such run, something is not a name, or the words are very long.
    pub async fn read(app: &App, asked: Asked<'_>) -> Result<Self> {
        let patterns = Patterns::read(asked.types.unwrap_or_default());
        let only_published =
            patterns.only_published() || asked.source.is_some() || asked.key.is_some();
        let looks_into = asked.q.is_some() || asked.source.is_some() || asked.key.is_some();
        Ok(Self {
            hide: match looks_into {
                true => Some(app.control().redactor().await?),
                false => None,
            },
            patterns,
            run: match asked.run {
                Some(run) => Some(find(app, run).await?),
                None => only_published.then_some(BUS),
            },
            workflow: asked.workflow.map(name).transpose()?,
            agent: asked.agent.map(name).transpose()?,
            words: words(asked.q.unwrap_or_default())?,
            source: asked.source.map(str::to_owned),
            key: asked.key.map(str::to_owned),
            window: asked.window,
        })
    }

    /// The event numbers between which all is that is wanted: behind the first, and up to the second.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn range(&self, app: &App) -> Result<(u64, u64)> {
        let low = match self.window.since {
            Some(since) => before(app.reader(), since).await?,
            None => 0,
        };
        let high = match self.window.until {
            Some(until) => before(app.reader(), until).await?.saturating_add(2 * CLOCK_MARGIN),
            None => u64::MAX,
        };
        Ok((low, high))
    }

    /// The run whose events are wanted, or the bus; `None` = those of all.
    pub fn run(&self) -> Option<RunId> {
        self.run
    }

    /// The events of a commit that may be wanted, none of them read: only [`Wanted::takes`] tells.
    ///
    /// # Errors
    /// The commit is damaged.
    pub fn may_take<'a>(&self, row: &'a KeptRow) -> Result<Vec<KeptEvent<'a>>> {
        if !self.has(row.run, row.workflow.as_ref()) {
            return Ok(Vec::new());
        }
        Ok(self.patterns.of(row)?)
    }

    /// Whether an event that may be wanted is.
    pub fn takes(&self, event: &Told<'_>) -> bool {
        let is_ours = self.agent.as_ref().is_none_or(|wanted| event.agent == Some(wanted));
        let Window { since, until, .. } = self.window;
        let is_then = since.is_none_or(|since| event.at >= since)
            && until.is_none_or(|until| event.at <= until);
        if !is_ours || !is_then {
            return false;
        }
        let Some(hide) = &self.hide else { return true };
        let mut document = event.cloud_event();
        if event.published().is_none() {
            let small = || document["data"].to_string().to_lowercase();
            return self.source.is_none()
                && self.key.is_none()
                && (self.words.is_empty() || self.has_words(type_of(event.event), &small()));
        }
        hide_in(&mut document, &**hide);
        let kind = document["type"].as_str().unwrap_or_default();
        // Source, subject and key are looked through, too.
        self.is_said(&document)
            && (self.words.is_empty() || self.has_words(kind, &document.to_string().to_lowercase()))
    }

    /// Whether it is what is wanted that stands beside the data of an event that somebody published.
    fn is_said(&self, document: &Value) -> bool {
        let is = |name: &str, wanted: &String| document[name].as_str() == Some(wanted.as_str());
        self.source.as_ref().is_none_or(|wanted| is("source", wanted))
            && self.key.as_ref().is_none_or(|wanted| is("key", wanted) || is("originalid", wanted))
    }

    /// Whether only a look at an event tells that it is wanted.
    pub fn looks(&self) -> bool {
        self.agent.is_some()
            || !self.words.is_empty()
            || self.source.is_some()
            || self.key.is_some()
            || self.window.since.is_some()
            || self.window.until.is_some()
    }

    /// Whether all words are in a type or in data in small letters.
    fn has_words(&self, kind: &str, data: &str) -> bool {
        self.words.iter().all(|word| kind.contains(word.as_str()) || data.contains(word.as_str()))
    }

    /// Whether a commit may hold what is wanted.
    pub fn has(&self, run: RunId, workflow: Option<&Name>) -> bool {
        let is_of = |wanted: &Name| run != BUS && workflow == Some(wanted);
        self.run.is_none_or(|wanted| wanted == run) && self.workflow.as_ref().is_none_or(is_of)
    }

    /// Whether an event of such a commit is wanted.
    pub fn has_event(&self, event: &commit::Told) -> bool {
        let fits = match event.published {
            true => self.patterns.fit_published(&event.kind),
            false => self.patterns.fit(&event.kind),
        };
        fits && self.agent.as_ref().is_none_or(|wanted| event.agent.as_ref() == Some(wanted))
            && (self.words.is_empty() || self.has_words(&event.kind, event.small()))
            && (self.source.is_none() && self.key.is_none() || self.is_said_in(event))
    }

    /// Whether it is what is wanted that stands beside the data of an event.
    fn is_said_in(&self, event: &commit::Told) -> bool {
        let Some(told) = event.published.then(|| serde_json::from_str::<Value>(&event.text).ok())
        else {
            return false;
        };
        self.is_said(&told.unwrap_or_default())
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
    let Filter { source, key, since, until, .. } = &filter;
    // A cursor says of which time the first page was.
    let behind_this = cursor.as_ref().or(after.as_ref());
    let place = behind_this.or(before.as_ref()).map(String::as_str);
    let (window, place) = Window::read(since.as_deref(), until.as_deref(), place)?;
    let asked = Asked {
        types: types.as_deref(),
        run: run.as_deref(),
        workflow: workflow.as_deref(),
        agent: agent.as_deref(),
        q: q.as_deref(),
        source: source.as_deref(),
        key: key.as_deref(),
        window,
    };
    if before.is_some() && after.is_some() {
        return Err(Problem::invalid(
            "ask either for what is before an event, or for what is after one",
        ));
    }
    let wanted = Wanted::read(&app, asked).await?;
    let newest = app.reader().views.last_event().await?;
    let range = wanted.range(&app).await?;
    let mut older = None;
    let place = place.map(Mark::read).transpose()?;
    let (events, next) = match place.filter(|_| behind_this.is_some()) {
        Some(mark) => {
            let mark = mark.within(newest);
            behind(&app, &wanted, mark, (range, newest), limit).await?
        }
        None => {
            let end = Mark::behind(newest.saturating_add(1));
            let before = place.filter(|before| before.seq <= newest).unwrap_or(end);
            let (events, rest) = latest(&app, &wanted, before, range, limit).await?;
            older = rest.map(|mark| window.cursor(mark));
            (events, before.back())
        }
    };
    let events = hidden(&app, events).await?;
    Ok(Json(EventPage { events, next: window.cursor(next), newest, older }))
}

/// Events as everybody may see them: what people have published may hold secrets.
///
/// # Errors
/// They can't be looked through.
pub async fn hidden(app: &App, mut events: Vec<Value>) -> Result<Vec<Value>> {
    if events.iter().any(is_published) {
        let hide = app.control().redactor().await?;
        events.iter_mut().filter(|event| is_published(event)).for_each(|e| hide_in(e, &*hide));
    }
    Ok(events)
}

fn is_published(event: &Value) -> bool {
    event.get("runversion").is_none()
}

/// Events behind a mark, and the mark behind them.
async fn behind(
    app: &App,
    wanted: &Wanted,
    mut mark: Mark,
    ((low, high), newest): ((u64, u64), u64),
    limit: usize,
) -> Result<(Vec<Value>, Mark)> {
    if mark.seq < low {
        mark = Mark::behind(low);
    }
    let (mut names, mut events) = (Names::default(), Vec::new());
    let mut parts = Parts::new(wanted.run, false, COMMITS_MAX, BYTES_MAX);
    while let Some(rows) = parts.next(app, mark.read_from()).await? {
        if rows.last().is_none_or(|row| row.seq <= mark.seq && mark.index.is_none()) {
            // Of one run: what else was committed by then is not wanted.
            let looked = if wanted.run.is_some() { newest.max(mark.seq) } else { mark.seq };
            return Ok((events, if looked > mark.seq { Mark::behind(looked) } else { mark }));
        }
        for row in &rows {
            if row.seq > high {
                // It stays as it is from then on, whatever happens.
                let is_at_end = mark.seq > high;
                let end = Mark::behind(newest.max(mark.seq));
                return Ok((events, if is_at_end { mark } else { end }));
            }
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
    (low, high): (u64, u64),
    limit: usize,
) -> Result<(Vec<Value>, Option<Mark>)> {
    let mut names = Names::default();
    if before.seq > high {
        before = Mark::behind(high);
    }
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
            if row.seq <= low {
                before = Mark::behind(0);
                break 'parts;
            }
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

/// One event, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneEvent {
    /// The event, a CloudEvent (1.0, JSON).
    #[schema(value_type = Object)]
    event: Value,
    /// Of an event that was published: who has heard of it, what it started, or what might help; null =
    /// it happened in a run.
    #[schema(value_type = Option<EventFate>)]
    fate: Option<Value>,
}

/// Who has heard of a published event.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct EventFate {
    /// The triggers that listened to its type as it was published; the first 50.
    triggers: Vec<EventListener>,
    /// How many more there were.
    more_triggers: usize,
    /// How many runs waited for it and got it.
    runs: u64,
    /// The first of them.
    first_runs: Vec<String>,
    /// Of one that nobody has heard of: what might help.
    hint: Option<String>,
}

/// A trigger that was told of an event.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct EventListener {
    /// The trigger.
    trigger: String,
    /// `started`, `filtered`, `skipped_paused` ..., as in its history; `pending` until it has looked at it.
    outcome: String,
    /// Why.
    reason: Option<String>,
    /// The run that it started, or that the event shares.
    run: Option<String>,
    /// How that ended.
    result: Option<String>,
}

/// One event
///
/// With what became of it, if somebody has published it.
#[utoipa::path(
    get, path = "/api/v1/events/{event}", tag = "events",
    params(("event" = String, Path, description = "Its `id`, or the event number of one that was published")),
    responses((status = 200, description = "The event", body = OneEvent)),
)]
pub async fn get(State(app): State<App>, Path(event): Path<String>) -> Result<Json<OneEvent>> {
    let Mark { seq, index } = Mark::read(&event)?;
    let none =
        || Problem::not_found(format!("there is no event {event}, or it is not kept any more"));
    let (behind, upto) = (seq.saturating_sub(1), seq);
    let bytes = PART_BYTES_MAX;
    let ask = KeptAsk { run: None, behind, upto, newest_first: false, rows: 1, bytes };
    let row = app.reader().views.kept(&ask).await?.pop().ok_or_else(none)?;
    let all = row.timed()?;
    let index = index.or_else(|| (all.len() == 1).then(|| all[0].index));
    let found: Vec<_> = all.into_iter().filter(|event| Some(event.index) == index).collect();
    let picked = Picked::read(app.reader(), &mut Names::default(), &row, &found).await?;
    let told = picked.told().next().ok_or_else(none)?;
    let mut fate = None;
    if let Some(published) = told.published() {
        let mut found = fates(app.reader(), &[(seq, &published.event)], TRIGGERS_TOLD).await?;
        let found = found.remove(&seq).map(|fate| json_of(&fate));
        fate = Some(app.control().redact(found.unwrap_or_default()).await);
    }
    let event = hidden(&app, vec![told.cloud_event()]).await?.pop().unwrap_or_default();
    Ok(Json(OneEvent { event, fate: fate.filter(|fate| !fate.is_null()) }))
}

fn json_of(fate: &Fate) -> Value {
    serde_json::to_value(fate).unwrap_or_default()
}
