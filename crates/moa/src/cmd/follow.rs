//! Following a run to its end, whatever happens to its node meanwhile.

use std::time::Duration;

use moa_core::ids::RunId;
use moa_core::machine::Run;
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::idle::Idle;
use super::up::Signals;
use crate::control::client::Hints;
use crate::exit::{Exit, Result};
use crate::live::{Mode, Screen};
use crate::place::{Outage, Place};
use crate::reader::Reader;

/// Time between two drawings of a tree at least.
const DRAW_EVERY: Duration = Duration::from_millis(80);
/// Reading the store takes at most one part of the time in so many.
const READ_SHARE: u32 = 5;
/// Time after which the store is read even when nobody hints at a change.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How long a run without a node is waited for before that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);

/// How following ended.
pub enum Followed {
    /// The run is over.
    Ended(Box<Run>),
    /// It is not over: Ctrl-C or SIGTERM ended the watching, or nobody reads what is shown.
    Left,
    /// It goes on, but the node that executed it was there for another run, and has gone with it.
    Alone,
}

/// A run that is followed.
#[derive(Clone, Copy)]
pub struct Watching<'a> {
    /// Its project.
    pub place: &'a Place,
    /// Its store.
    pub reader: &'a Reader,
    /// The run.
    pub run: RunId,
    /// Whether the node was there for another run when this one was asked for: then the caller goes
    /// on with it once that node has gone.
    pub take_over: bool,
}

/// Called whenever the run was read.
pub type Observer<'a> = dyn FnMut(&Run, &mut Screen<'_>) -> Result<()> + 'a;

/// An observer that does nothing.
pub fn no_observer(_run: &Run, _screen: &mut Screen<'_>) -> Result<()> {
    Ok(())
}

/// Follows a run until it is over, showing it on `screen`. Ctrl-C and SIGTERM end that, and not the run.
pub async fn follow(
    context: &Context,
    watching: Watching<'_>,
    screen: &mut Screen<'_>,
    observe: &mut Observer<'_>,
) -> Result<Followed> {
    let mut signals = Signals::new()?;
    // Whatever is waited for: a node elsewhere may take a request and not answer it.
    tokio::select! {
        followed = to_end(context, watching, screen, observe) => followed,
        () = signals.next() => Ok(Followed::Left),
    }
}

/// The same, whatever signals come. It may be dropped while it waits.
async fn to_end(
    context: &Context,
    watching: Watching<'_>,
    screen: &mut Screen<'_>,
    observe: &mut Observer<'_>,
) -> Result<Followed> {
    let Watching { place, reader, run: id, take_over } = watching;
    let mut source = Source::new(place, id, take_over).await?;
    let mut idle = Idle::default();
    let mut outage = Outage::default();
    loop {
        // Subscribed before read, so that nothing falls in between.
        let began = Instant::now();
        let run = match read(reader, id, screen).await {
            Err(failure) if outage.passes(place, &failure, &mut |text| screen.say(text)) => {
                tokio::time::sleep(DRAW_EVERY * 5).await;
                continue;
            }
            run => {
                outage.over(&mut |text| screen.say(text));
                run?
            }
        };
        let ended = run.row.status.is_terminal();
        let pause = match screen.mode() {
            Mode::Tree => DRAW_EVERY,
            Mode::Lines | Mode::Silent => Duration::ZERO,
        };
        source.pause = pause.max(READ_SHARE * began.elapsed());
        if ended {
            return Ok(Followed::Ended(Box::new(run)));
        }
        observe(&run, screen)?;
        if context.ui.closed() && screen.mode() != Mode::Silent {
            return Ok(Followed::Left);
        }
        if source.transient && take_over && source.gone.is_some() {
            return Ok(Followed::Alone);
        }
        match idle.look(watching, &run, source.transient, screen).await {
            // It is found out again once the node answers.
            Err(failure) if place.is_elsewhere() && failure.exit == Exit::Unavailable => {}
            looked => looked?,
        }
        source.changed(screen).await;
    }
}

/// Reads the run, and shows what is new.
async fn read(reader: &Reader, id: RunId, screen: &mut Screen<'_>) -> Result<Run> {
    let run = reader.run(id).await?;
    let version = screen.version;
    if run.version > version || screen.mode() == Mode::Tree {
        let mut news = match screen.mode() {
            Mode::Lines => reader.history(id, version).await?,
            _ => Vec::new(),
        };
        // What happened since the run was read is shown the next time.
        news.retain(|row| row.version <= run.version);
        screen.version = run.version;
        screen.show(&run, &news);
    }
    Ok(run)
}

/// Tells when the store should be read again: by hints of the node, or by time.
struct Source<'a> {
    place: &'a Place,
    run: RunId,
    hints: Option<Hints>,
    drawn: Instant,
    /// Time from there until the store is read again, at least.
    pause: Duration,
    gone: Option<Instant>,
    said: bool,
    /// Whether the last node that was there executes only what it is asked to.
    transient: bool,
}

impl<'a> Source<'a> {
    async fn new(place: &'a Place, run: RunId, transient: bool) -> Result<Self> {
        let drawn = Instant::now();
        let (gone, said) = (Some(drawn), false);
        let mut source =
            Self { place, run, hints: None, drawn, pause: Duration::ZERO, gone, said, transient };
        source.connect().await;
        Ok(source)
    }

    /// Subscribes to the run, if a node is there to ask.
    async fn connect(&mut self) {
        let Ok(Some(client)) = self.place.connect().await else { return };
        let transient = client.node.transient;
        if let Ok(hints) = client.subscribe(Some(self.run)).await {
            (self.hints, self.gone, self.transient) = (Some(hints), None, transient);
        }
    }

    async fn changed(&mut self, screen: &mut Screen<'_>) {
        let next = self.drawn + READ_EVERY;
        if let Some(hints) = &mut self.hints {
            let alive = tokio::select! {
                alive = hints.changed() => alive,
                () = sleep_until(next) => true,
            };
            if !alive {
                self.hints = None;
                self.gone = Some(Instant::now());
            }
        } else {
            // Elsewhere, it is the reading that says whether a node is there.
            let elsewhere = self.place.is_elsewhere();
            tokio::time::sleep(if elsewhere { READ_EVERY } else { DRAW_EVERY * 2 }).await;
            self.connect().await;
            match self.gone {
                _ if elsewhere => {}
                None if std::mem::take(&mut self.said) => {
                    screen.say("a node serves the project again");
                }
                Some(since) if !self.said && since.elapsed() > SAY_AFTER => {
                    self.said = true;
                    screen
                        .say("no node serves the project; the run goes on with the next `moa up`");
                }
                _ => {}
            }
        }
        sleep_until(self.drawn + self.pause).await;
        self.drawn = Instant::now();
    }
}
