//! Following a run to its end, whatever happens to its node meanwhile.

use std::time::Duration;

use moa_core::ids::RunId;
use moa_core::machine::Run;
use moa_engine::handle::Change;
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::up::Signals;
use crate::control::client::{Client, Hints};
use crate::exit::Result;
use crate::project::Layout;
use crate::reader::Reader;
use crate::view::live::{Mode, Screen};

/// Time between two drawings at least.
const DRAW_EVERY: Duration = Duration::from_millis(80);
/// Time after which the store is read even when nobody hints at a change.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How long a run without a node is waited for before that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);

/// What Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInterrupt {
    /// Stop watching; the run goes on.
    Leave,
    /// Cancel the run; a second one terminates it, a third one leaves.
    Cancel,
}

/// How following ended.
pub enum Followed {
    /// The run is over. Whether Ctrl-C or SIGTERM had asked for that.
    Ended(Box<Run>, bool),
    /// It was left as it is.
    Left,
}

/// A run that is followed.
#[derive(Clone, Copy)]
pub struct Watching<'a> {
    /// Its project.
    pub layout: &'a Layout,
    /// Its store.
    pub reader: &'a Reader,
    /// The run.
    pub run: RunId,
}

/// Called whenever the run was read.
pub type Observer<'a> = dyn FnMut(&Run, &mut Screen<'_>) -> Result<()> + 'a;

/// An observer that does nothing.
pub fn no_observer(_run: &Run, _screen: &mut Screen<'_>) -> Result<()> {
    Ok(())
}

/// Follows a run until it is over, showing it on `screen`.
pub async fn follow(
    context: &Context,
    watching: Watching<'_>,
    screen: &mut Screen<'_>,
    on_interrupt: OnInterrupt,
    observe: &mut Observer<'_>,
) -> Result<Followed> {
    let Watching { layout, reader, run: id } = watching;
    let mut signals = Signals::new()?;
    let mut source = Source::new(layout, id).await?;
    let mut version = 0;
    let mut interrupts = 0;
    loop {
        // Subscribed before read, so that nothing falls in between.
        let run = reader.run(id).await?;
        let ended = run.row.status.is_terminal();
        if run.version > version || screen.mode() == Mode::Tree {
            let mut news = match screen.mode() {
                Mode::Lines => reader.history(id, version).await?,
                _ => Vec::new(),
            };
            // What happened since the run was read is shown the next time.
            news.retain(|row| row.version <= run.version);
            version = run.version;
            screen.show(&run, &news);
        }
        if ended {
            return Ok(Followed::Ended(Box::new(run), interrupts > 0));
        }
        observe(&run, screen)?;
        if context.ui.closed() && screen.mode() != Mode::Silent {
            return Ok(Followed::Left);
        }
        tokio::select! {
            () = source.changed(screen) => {}
            terminate = signals.which() => {
                interrupts += 1;
                if on_interrupt == OnInterrupt::Leave || terminate || interrupts > 2 {
                    return Ok(Followed::Left);
                }
                interrupt(layout, id, interrupts, screen).await?;
            }
        }
    }
}

async fn interrupt(layout: &Layout, id: RunId, count: u32, screen: &mut Screen<'_>) -> Result<()> {
    let reason = "Ctrl-C".to_owned();
    let (change, words) = match count {
        1 => (Change::Cancel { reason }, "cancelling; Ctrl-C again ends it at once"),
        _ => (Change::Terminate { reason }, "ending it; Ctrl-C again leaves it as it is"),
    };
    screen.say(words);
    if let Some(mut client) = Client::connect(&layout.state()).await?
        && let Err(failure) = client.change(id, change).await
    {
        // Most likely it has ended meanwhile.
        screen.say(&failure.message);
    }
    Ok(())
}

/// Tells when the store should be read again: by hints of the node, or by time.
struct Source<'a> {
    layout: &'a Layout,
    run: RunId,
    hints: Option<Hints>,
    drawn: Instant,
    gone: Option<Instant>,
    said: bool,
}

impl<'a> Source<'a> {
    async fn new(layout: &'a Layout, run: RunId) -> Result<Self> {
        let hints = connect(layout, run).await;
        let gone = hints.is_none().then(Instant::now);
        Ok(Self { layout, run, hints, drawn: Instant::now(), gone, said: false })
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
            tokio::time::sleep(DRAW_EVERY * 2).await;
            self.hints = connect(self.layout, self.run).await;
            match (&self.hints, self.gone) {
                (Some(_), _) => {
                    if std::mem::take(&mut self.said) {
                        screen.say("a node serves the project again");
                    }
                    self.gone = None;
                }
                (None, Some(since)) if !self.said && since.elapsed() > SAY_AFTER => {
                    self.said = true;
                    screen
                        .say("no node serves the project; the run goes on with the next `moa up`");
                }
                _ => {}
            }
        }
        sleep_until(self.drawn + DRAW_EVERY).await;
        self.drawn = Instant::now();
    }
}

/// Subscribes to a run; `None` when no node is there to ask.
async fn connect(layout: &Layout, run: RunId) -> Option<Hints> {
    let client = Client::connect(&layout.state()).await.ok().flatten()?;
    client.subscribe(Some(run)).await.ok()
}
