//! `moa events`

use std::sync::Arc;
use std::time::Duration;

use moa_core::event::{Event, Published};
use moa_core::ids::RunId;
use moa_core::time::{Millis, Span};
use moa_ports::triggers::Posted;
use moa_ports::views::HistoryRow;
use serde_json::{Value as Json, json};

use super::up::Signals;
use super::{Context, params, runtime};
use crate::control::client::{Client, Hints};
use crate::exit::{Exit, Failure, Result};
use crate::hiding::Hiding;
use crate::host::{self, Asks};
use crate::place::{Outage, Place};
use crate::reader::Reader;
use crate::ui::{JsonArray, Style};
use crate::view::audit;
use crate::view::events::{
    CLOCK_MARGIN, Names, Told, before, published_fits, told, type_fits, type_of,
};
use crate::view::now;
use crate::view::published::{Fate, TRIGGERS_TOLD, fates};

/// Rows read at once.
const PAGE: usize = 1000;
/// Events of such a page, about: a commit may hold thousands.
const PAGE_EVENTS: usize = 10_000;
/// Time after which the store is read even when nobody hints at something new.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Look at what happened.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  moa events tail --follow
  moa events query --type 'step.failed' --after 1h
  moa events query --run last --json | jq '.[].type'
  moa events publish order.paid --data '{\"order\": 4711}'
  moa events query --type 'order.*' --after 1h       # what was published, too
  moa events show 48211                              # who heard of it, what it started")]
pub enum Command {
    /// Show the newest events
    Tail(TailArgs),
    /// Find events
    #[command(visible_alias = "list")]
    Query(QueryArgs),
    /// Show an event, and what became of it if somebody published it
    Show(ShowArgs),
    /// Publish an event to whoever waits for it, and to triggers
    Publish(PublishArgs),
}

/// Publish an event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa events publish order.paid
  moa events publish order.paid --data '{\"order\": 4711}' --key 4711
  moa events publish task.completed -p tier=2 -p name=build

It goes to runs that wait for an event of this type (`wait_for`) and to triggers (`on: {event: …}`). It
is published when this command ends with 0; with the same --key, once only. Where no node serves the
project it is recorded, and takes effect when `moa up` does.")]
pub struct PublishArgs {
    /// Its type
    event: String,
    /// What it carries: JSON, or else text
    #[arg(long, value_name = "JSON", conflicts_with_all = ["params", "file"])]
    data: Option<String>,
    #[command(flatten)]
    params: params::Args,
    /// The same key is the same event, however often it is published
    #[arg(long)]
    key: Option<String>,
    /// Where it comes from, for who looks at events: a name, a path, a URL
    #[arg(long)]
    source: Option<String>,
    /// What it is about, for who looks at events
    #[arg(long)]
    subject: Option<String>,
}

/// Show an event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa events show 48211          # the event number of one that was published
  moa events show 48211.3        # the id of any event
  moa events show 48211 --json | jq .fate

Of an event that somebody published it tells which triggers listened to it and what these made of it, how many
runs waited for it, and what might help when nobody did.")]
pub struct ShowArgs {
    /// Its number or its id
    event: String,
}

/// Show the newest events.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa events tail -n 50
  moa events tail --follow --json | jq -c '[.type, .subject]'

With --json, an array of CloudEvents; with --follow, one on each line.")]
pub struct TailArgs {
    /// Go on as events happen
    #[arg(long, short)]
    follow: bool,
    /// So many commits back
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u64,
    #[command(flatten)]
    filter: Filter,
}

/// Find events.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa events query --type '*.failed' --after 2h
  moa events query --run 5f2c --type step.started
  moa events query --since 7d --until 1d
  moa events query --after 48211 --limit 0 --json     # behind event number 48211

With --json, an array of CloudEvents.")]
pub struct QueryArgs {
    #[command(flatten)]
    filter: Filter,
    /// Behind this event number, after this instant (RFC 3339), or not older than this (2h)
    #[arg(long, value_name = "WHEN")]
    after: Option<String>,
    /// Since this instant (RFC 3339) or day (UTC), or not older than this (2h)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to this instant or the end of this day (UTC), or not newer than this
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// At most so many; 0 = all
    #[arg(long, short = 'n', default_value_t = 1000)]
    limit: usize,
}

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
struct Filter {
    /// Only of this type: step.failed, step.*, *.failed; may be given several times
    #[arg(long = "type", short, value_name = "TYPE")]
    types: Vec<String>,
    /// Only of this run
    #[arg(long, short, value_name = "RUN")]
    run: Option<String>,
    /// Only what was published, and comes from this source
    #[arg(long)]
    source: Option<String>,
    /// Only what was published with this key, or with this id as a CloudEvent
    #[arg(long)]
    key: Option<String>,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        match command {
            Command::Tail(args) => tail(args, &place, context).await,
            Command::Query(args) => query(args, &place, context).await,
            Command::Show(args) => show_one(args, &place, context).await,
            Command::Publish(args) => publish(args, &place, context).await,
        }
    });
    runtime.shutdown_background();
    exit
}

async fn publish(args: PublishArgs, place: &Place, context: &Context) -> Result {
    let data = match &args.data {
        Some(text) => params::json_or_text(text, "--data", "{\"amount\": 7}")?,
        None => {
            let (mut data, texts) = args.params.read()?;
            let free = |(name, text): (String, String)| (name, moa_spec::free_param(&text));
            data.extend(texts.into_iter().map(free));
            Json::Object(data)
        }
    };
    let asks = if args.key.is_some() { Asks::Again } else { Asks::Once };
    let event = Published {
        event: args.event.clone(),
        key: args.key,
        source: args.source,
        subject: args.subject,
        data: Arc::new(data),
        ..Published::default()
    };
    let publish = async |client: &mut Client| client.publish(event.clone()).await;
    let (host, Posted { seq, new }) = host::ask(place, asks, publish).await?;
    let served = host.is_lasting();
    host.close(Duration::ZERO).await;
    if context.ui.json {
        context.ui.json(&json!({"type": args.event, "new": new, "served": served, "event": seq}));
    } else {
        let what = if new { "is published" } else { "was published before" };
        let number = seq.map_or_else(String::new, |seq| format!(" as event {seq}"));
        context.ui.note(&format!("{} {what}{number}", crate::text::safe_line(&args.event)));
        if !served {
            context.ui.hint(host::RECORDED);
        }
    }
    Ok(Exit::Ok)
}

struct Printer<'a> {
    context: &'a Context,
    reader: Reader,
    hiding: Hiding,
    names: Names,
    types: Vec<String>,
    run: Option<RunId>,
    source: Option<String>,
    key: Option<String>,
    /// Not older than this, and not newer.
    time: (Option<Millis>, Option<Millis>),
    left: usize,
    /// An array is written, in parts; `None` = a JSON document a line, or text.
    array: Option<JsonArray<'a>>,
}

impl<'a> Printer<'a> {
    async fn new(
        context: &'a Context,
        place: &Place,
        reader: Reader,
        filter: Filter,
    ) -> Result<Self> {
        let run = match &filter.run {
            Some(run) => Some(reader.find(run).await?),
            None => None,
        };
        let names = Names::default();
        let left = usize::MAX;
        Ok(Self {
            context,
            reader,
            hiding: Hiding::of(place),
            names,
            types: filter.types,
            run,
            source: filter.source,
            key: filter.key,
            time: (None, None),
            left,
            array: None,
        })
    }

    /// Prints what is behind an event number, up to a limit; answers whether there may be more.
    async fn print_behind(&mut self, after: &mut u64) -> Result<bool> {
        let rows = self.reader.views.events(*after, PAGE, PAGE_EVENTS).await?;
        let more = !rows.is_empty();
        for row in rows {
            let seq = row.seq;
            self.print(row).await?;
            *after = seq;
        }
        Ok(more)
    }

    /// Whether that is a time that is asked for.
    fn is_then(&self, at: Millis) -> bool {
        let (since, until) = self.time;
        since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until)
    }

    /// Whether an event is asked for, run and time aside.
    fn wants(&self, event: &Event) -> bool {
        let kind = type_of(event);
        let fits = |pattern: &String| match event {
            Event::EventPublished(_) => published_fits(kind, pattern),
            _ => type_fits(kind, pattern),
        };
        let said = match event {
            Event::EventPublished(said) => {
                let is = |said: &Option<String>, wanted: &String| said.as_ref() == Some(wanted);
                self.source.as_ref().is_none_or(|wanted| is(&said.source, wanted))
                    && self
                        .key
                        .as_ref()
                        .is_none_or(|wanted| is(&said.key, wanted) || is(&said.id, wanted))
            }
            _ => self.source.is_none() && self.key.is_none(),
        };
        said && (self.types.is_empty() || self.types.iter().any(fits))
    }

    async fn print(&mut self, mut row: HistoryRow) -> Result<()> {
        // Nothing in it is newer than its commit.
        let is_old = self.time.0.is_some_and(|since| row.at < since);
        if is_old || self.run.is_some_and(|run| run != row.run) {
            return Ok(());
        }
        // Before it is looked at: else who looks for parts of a secret finds it.
        self.hiding.in_row(&mut row, &self.context.ui);
        if !row.events.iter().any(|event| self.wants(event)) {
            return Ok(());
        }
        let (workflow, steps) = self.names.of(&self.reader, &row).await?;
        let wanted = |event: &Told<'_>| self.is_then(event.at) && self.wants(event.event);
        let events: Vec<_> = told(&row, &workflow, &steps).filter(wanted).collect();
        for event in events {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            match &mut self.array {
                Some(array) => array.push(&event.cloud_event()),
                None => show(self.context, &event),
            }
        }
        Ok(())
    }
}

fn show(context: &Context, event: &Told<'_>) {
    let ui = &context.ui;
    if ui.json {
        return ui.json_line(&event.cloud_event());
    }
    let (run, workflow) = match event.published() {
        Some(said) => ("-".to_owned(), said.source.clone().unwrap_or_else(|| "published".into())),
        None if ui.out_tty() => (event.run.short(), event.workflow.to_string()),
        None => (event.run.to_string(), event.workflow.to_string()),
    };
    let fields = [
        event.seq.to_string(),
        event.at.to_string(),
        run,
        crate::text::safe_line(&workflow).into_owned(),
        crate::text::safe_line(type_of(event.event)).into_owned(),
        event.step.unwrap_or_default().to_owned(),
        crate::text::safe_line(&event.remark()).into_owned(),
    ];
    if !ui.out_tty() {
        return ui.line(&fields.join("\t"));
    }
    let [seq, at, run, workflow, kind, step, remark] = fields;
    let time = ui.paint(Style::Dim, at.get(11..23).unwrap_or(&at));
    let run = ui.paint(Style::Dim, &run);
    let line = format!("{seq:>7} {time} {run} {workflow} {kind} {step} {remark}");
    ui.line(line.trim_end());
}

async fn tail(args: TailArgs, place: &Place, context: &Context) -> Result {
    let mut signals = Signals::new()?;
    // Whatever is waited for: a node elsewhere may take a request and not answer it.
    tokio::select! {
        shown = show_newest(args, place, context) => shown,
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

async fn show_newest(args: TailArgs, place: &Place, context: &Context) -> Result {
    let mut hints = subscribe(place).await;
    let Some(reader) = wait_for_store(&args, place).await? else { return Ok(nothing(context)) };
    let mut printer = Printer::new(context, place, reader.clone(), args.filter).await?;
    printer.array = (context.ui.json && !args.follow).then(|| JsonArray::new(&context.ui));
    let last = reader.views.last_event().await?;
    let mut after = last.saturating_sub(args.lines);
    let mut say = |text: &str| context.ui.note(text);
    let mut outage = Outage::default();
    loop {
        let more = match printer.print_behind(&mut after).await {
            Err(failure) if args.follow && outage.passes(place, &failure, &mut say) => false,
            more => {
                outage.over(&mut say);
                more?
            }
        };
        context.ui.flush();
        if context.ui.closed() {
            return Ok(Exit::Ok);
        }
        if more {
            continue;
        }
        if !args.follow {
            return Ok(Exit::Ok);
        }
        if !changed(&mut hints).await {
            hints = subscribe(place).await;
        }
    }
}

/// The store; with `--follow` it may still be made.
async fn wait_for_store(args: &TailArgs, place: &Place) -> Result<Option<Reader>> {
    loop {
        if let Some(reader) = place.open_reader()? {
            return Ok(Some(reader));
        }
        if !args.follow {
            return Ok(None);
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

async fn subscribe(place: &Place) -> Option<Hints> {
    let client = place.connect().await.ok().flatten()?;
    client.subscribe(None).await.ok()
}

/// Waits for something new; false when the node is gone, or none was there.
async fn changed(hints: &mut Option<Hints>) -> bool {
    match hints {
        Some(hints) => tokio::select! {
            alive = hints.changed() => alive,
            () = tokio::time::sleep(READ_EVERY) => true,
        },
        None => {
            tokio::time::sleep(READ_EVERY).await;
            false
        }
    }
}

/// Nothing has happened yet.
fn nothing(context: &Context) -> Exit {
    if context.ui.json {
        drop(JsonArray::new(&context.ui));
    }
    Exit::Ok
}

async fn query(args: QueryArgs, place: &Place, context: &Context) -> Result {
    let Some(reader) = place.open_reader()? else { return Ok(nothing(context)) };
    let mut printer = Printer::new(context, place, reader.clone(), args.filter).await?;
    printer.array = context.ui.json.then(|| JsonArray::new(&context.ui));
    if args.limit > 0 {
        printer.left = args.limit;
    }
    let now = now();
    let mut after = 0;
    printer.time.0 = args.since.as_deref().map(|text| audit::when(text, now)).transpose()?;
    printer.time.1 = args.until.as_deref().map(|text| audit::until(text, now)).transpose()?;
    match args.after.as_deref().map(when).transpose()? {
        Some(When::Number(number)) => after = number,
        // Whichever of the two is later.
        Some(When::At(at)) => printer.time.0 = printer.time.0.max(Some(at)),
        None => {}
    }
    if let Some(run) = printer.run {
        for row in reader.history(run, 0).await?.into_iter().filter(|row| row.seq > after) {
            printer.print(row).await?;
        }
        return Ok(Exit::Ok);
    }
    let mut last = u64::MAX;
    if let Some(since) = printer.time.0 {
        after = after.max(before(&reader, since).await?);
    }
    if let Some(until) = printer.time.1 {
        last = before(&reader, until).await?.saturating_add(2 * CLOCK_MARGIN);
    }
    while printer.left > 0 && after < last && !context.ui.closed() {
        if !printer.print_behind(&mut after).await? {
            break;
        }
    }
    if printer.left == 0 {
        context.ui.hint(&format!("there may be more: --after {after}, or --limit 0"));
    }
    Ok(Exit::Ok)
}

/// An event, and what became of it.
async fn show_one(args: ShowArgs, place: &Place, context: &Context) -> Result {
    let (seq, index) = match args.event.split_once('.') {
        Some((seq, index)) => (seq.parse::<u64>().ok(), index.parse::<usize>().ok()),
        None => (args.event.parse().ok(), Some(0)),
    };
    let (Some(seq), Some(index)) = (seq, index) else {
        let text = format!("{:?} is neither an event number nor the id of an event", args.event);
        return Err(Failure::usage(text).hint("write 4711 or 4711.2"));
    };
    let none = || {
        Failure::not_found(format!("there is no event {}, or it is not kept any more", args.event))
            .hint("moa events query lists events with their numbers")
    };
    let reader = place.open_reader()?.ok_or_else(none)?;
    let rows = reader.views.events(seq.saturating_sub(1), 1, 1).await?;
    let mut row = rows.into_iter().next().filter(|row| row.seq == seq).ok_or_else(none)?;
    let kind = row.events.first().map(|event| type_of(event).to_owned()).unwrap_or_default();
    let mut hiding = Hiding::of(place);
    hiding.in_row(&mut row, &context.ui);
    let (workflow, steps) = Names::default().of(&reader, &row).await?;
    let all: Vec<Told<'_>> = told(&row, &workflow, &steps).collect();
    let event = all.iter().find(|event| event.index == index).ok_or_else(none)?;
    let mut fate = match event.published() {
        Some(_) => fates(&reader, &[(seq, &kind)], TRIGGERS_TOLD).await?.remove(&seq),
        None => None,
    };
    if let Some(fate) = &mut fate {
        hiding.in_fate(fate, &context.ui);
    }
    if context.ui.json {
        context.ui.json(&json!({"event": event.cloud_event(), "fate": fate}));
        return Ok(Exit::Ok);
    }
    for (name, value) in event.cloud_event().as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        context.ui.line(&format!("{name:<16} {}", crate::text::safe_line(&text)));
    }
    if let Some(fate) = fate {
        show_fate(context, &fate);
    }
    Ok(Exit::Ok)
}

fn show_fate(context: &Context, fate: &Fate) {
    let ui = &context.ui;
    for listener in &fate.triggers {
        let run = listener.run.map_or_else(String::new, |run| format!(" run {run}"));
        let result = listener.result.map_or_else(String::new, |end| format!(" ({})", end.as_str()));
        let why = listener.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let line = format!("{} {}{run}{result}{why}", listener.trigger, listener.outcome);
        ui.line(&format!("{:<16} {}", "trigger", crate::text::safe_line(&line)));
    }
    if fate.more_triggers > 0 {
        ui.line(&format!("{:<16} … and {} more", "trigger", fate.more_triggers));
    }
    if fate.runs > 0 {
        ui.line(&format!("{:<16} {} had waited for it", "runs", fate.runs));
        for run in &fate.first_runs {
            ui.line(&format!("{:<16} {run}", ""));
        }
    }
    if let Some(hint) = &fate.hint {
        ui.line(&format!("{:<16} nothing listened to this", "heard by"));
        ui.hint(&crate::text::safe_line(hint));
    }
}

enum When {
    Number(u64),
    At(Millis),
}

fn when(text: &str) -> Result<When> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(When::Number(number));
    }
    if let Ok(span) = text.parse::<Span>() {
        let ago = i64::try_from(span.0).unwrap_or(i64::MAX);
        return Ok(When::At(Millis(now().0.saturating_sub(ago))));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(When::At(Millis(at.as_millisecond()))),
        Err(_) => Err(Failure::usage(format!("{text:?} is no event number, instant or duration"))
            .hint("write 4711, 2026-11-21T08:00:00Z or 2h")),
    }
}
