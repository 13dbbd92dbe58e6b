//! The terminal: taken over, drawn on, and given back whatever happens.

use std::io::{self, Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moa_core::ids::RunId;
use moa_engine::handle::Change;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::{cursor, execute, terminal};
use tokio::sync::{mpsc, watch};

use super::data::{Overview, Slow, detail};
use super::draw::{Paint, draw};
use super::state::{State, Wish};
use crate::cmd::up::Signals;
use crate::exit::{Exit, Failure, Result};
use crate::place::Place;
use crate::view::now;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at what changes seldom.
const LOOK_WELL_EVERY: Duration = Duration::from_secs(5);
/// Ages on the screen grow, also when nothing else happens.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// How long the reader of keys waits before it looks whether it is needed.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// What comes from elsewhere than the keys.
enum News {
    Seen(Box<Overview>),
    Detail(RunId, Vec<String>),
    Gone(String),
    Said(String),
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    paused: bool,
    run: Option<RunId>,
    /// Grows when somebody wants it now.
    asked: u64,
}

/// A terminal that is taken over, and given back when this is dropped.
struct Taken(Terminal<CrosstermBackend<Stdout>>);

impl Taken {
    fn new() -> io::Result<Self> {
        // A message of a panic belongs on the terminal as it was.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            hook(info);
        }));
        terminal::enable_raw_mode()?;
        let take = || {
            execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
            Terminal::new(CrosstermBackend::new(stdout()))
        };
        take().map(Self).inspect_err(|_| give_back())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Nobody is left to be told.
    let _ = execute!(stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Shows the overview until somebody ends it.
pub async fn show(place: Place, color: bool) -> Result {
    let failed = |e: &io::Error| Failure::io("can't use the terminal", e);
    let mut signals = Signals::new()?;
    let mut taken = Taken::new().map_err(|e| failed(&e))?;
    let (sender, mut news) = mpsc::channel(16);
    let (wanted, asked) = watch::channel(Wanted::default());
    let looking = tokio::spawn(look(place.clone(), asked, sender.clone()));
    let mut keys = Keys::read();
    let mut state = State::default();
    let mut ticks = tokio::time::interval(DRAW_EVERY);
    let exit = loop {
        let paint = Paint::new(color);
        let drawn = taken.0.draw(|f| draw(&state, paint, f.area(), f.buffer_mut()));
        drawn.map_err(|e| failed(&e))?;
        let wish = tokio::select! {
            event = keys.receiver.recv() => match event {
                Some(Event::Key(key)) => state.key(key),
                // It is drawn anew in its new size.
                Some(_) => Wish::None,
                None => Wish::Quit,
            },
            Some(news) = news.recv() => {
                take_in(&mut state, news);
                Wish::None
            }
            _ = ticks.tick() => Wish::None,
            () = signals.next() => break Exit::Interrupted,
        };
        match wish {
            Wish::Quit => break Exit::Ok,
            Wish::Cancel(run) => {
                tokio::spawn(cancel(place.clone(), run, sender.clone()));
            }
            Wish::None | Wish::Look => {}
        }
        let run = state.looked_at();
        wanted.send_if_modified(|last| {
            let asked = last.asked + u64::from(matches!(wish, Wish::Look | Wish::Cancel(_)));
            let next = Wanted { paused: state.paused, run, asked };
            std::mem::replace(last, next) != next
        });
    };
    looking.abort();
    Ok(exit)
}

fn take_in(state: &mut State, news: News) {
    match news {
        News::Seen(data) => (state.data, state.gone) = (Some(*data), None),
        News::Detail(run, lines) if state.looked_at() == Some(run) => state.detail = lines,
        News::Detail(..) => {}
        News::Gone(why) => state.gone = Some(why),
        News::Said(text) => state.said = Some(text),
    }
}

/// Looks again and again, and at once when somebody wants it.
async fn look(place: Place, mut wanted: watch::Receiver<Wanted>, news: mpsc::Sender<News>) {
    let mut looker = Looker { place, news, slow: Slow::default(), looked: None };
    let mut asked = None;
    loop {
        let want = *wanted.borrow_and_update();
        if !want.paused || asked != Some(want.asked) {
            asked = Some(want.asked);
            if let Err(failure) = looker.look(want.run).await {
                looker.tell(News::Gone(failure.message)).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

struct Looker {
    place: Place,
    news: mpsc::Sender<News>,
    slow: Slow,
    /// When it was looked at what changes seldom.
    looked: Option<Instant>,
}

impl Looker {
    async fn look(&mut self, run: Option<RunId>) -> Result<()> {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_WELL_EVERY) {
            self.slow = Slow::gather(&self.place).await?;
            self.looked = Some(Instant::now());
        }
        let seen = Overview::gather(&self.place, &self.slow).await?;
        self.tell(News::Seen(Box::new(seen))).await;
        if let Some(id) = run {
            let run = self.place.require_reader()?.run(id).await?;
            self.tell(News::Detail(id, detail(&run, now()))).await;
        }
        Ok(())
    }

    async fn tell(&self, news: News) {
        // Nobody looks any more.
        let _ = self.news.send(news).await;
    }
}

async fn cancel(place: Place, run: RunId, news: mpsc::Sender<News>) {
    let said = match ask_cancel(&place, run).await {
        Ok(()) => format!("run {run} is being cancelled"),
        Err(failure) => failure.message,
    };
    // Nobody looks any more.
    let _ = news.send(News::Said(said)).await;
}

async fn ask_cancel(place: &Place, run: RunId) -> Result<()> {
    let client = place.connect().await?;
    let mut client = client.ok_or_else(|| {
        let text = "no node runs; `moa runs cancel` does it without one";
        Failure::refused(text)
    })?;
    client.change(run, Change::Cancel { reason: "asked for in moa top".into() }).await
}

/// Reads keys, on a thread of its own: it has to wait for them.
struct Keys {
    receiver: mpsc::Receiver<Event>,
    over: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let event = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(e) => Err(e),
                };
                // Without keys it can't be ended any more, so it ends.
                let Ok(event) = event else { return };
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Self { receiver, over }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
