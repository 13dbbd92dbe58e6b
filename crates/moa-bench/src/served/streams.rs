//! B14: a thousand listeners that are told of a thousand events a second, and as busy a machine without
//! them.

use std::time::Duration;

use anyhow::Result;
use rustix::thread::CpuSet;

use super::busy::Busy;
use super::halves::Halves;
use super::listeners::{Kind, Listeners, Open};
use super::node::Served;
use super::phase::{Phase, phase};
use super::runtime;
use crate::options::Options;
use crate::report::Figure;

/// How often it is measured without listeners and with them, in turns: disks have better and worse
/// moments.
const ROUNDS: usize = 6;
/// Seconds of each.
const SPAN_SECS: usize = 5;

/// What is let pass before and after listeners.
const CALM: Duration = Duration::from_secs(1);

/// What there is beside the starts of runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Sockets,
    /// Who listens to server-sent events.
    Sent,
    /// Nobody, but other processors are as busy as with WebSockets.
    BusyElsewhere,
    /// Nobody, but those and the node's own are.
    BusyEverywhere,
}

/// One after another, in every round.
const TURNS: [Beside; 5] =
    [Beside::Nothing, Beside::Sockets, Beside::Sent, Beside::BusyElsewhere, Beside::BusyEverywhere];

impl Beside {
    /// What figures call it.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "without",
            Self::Sockets => "with",
            Self::Sent => "with_sse",
            Self::BusyElsewhere => "busy_elsewhere",
            Self::BusyEverywhere => "busy_everywhere",
        }
    }
}

/// What is there for the time of a phase.
#[derive(Default)]
struct Held {
    _open: Open,
    _busy: Vec<Busy>,
}

impl Held {
    fn of(open: Open) -> Self {
        Self { _open: open, ..Self::default() }
    }

    fn busy(busy: Vec<Busy>) -> Self {
        Self { _busy: busy, ..Self::default() }
    }
}

/// What was measured, by [`Beside`].
#[derive(Default)]
struct Phases([Phase; TURNS.len()]);

impl Phases {
    fn of(&mut self, beside: Beside) -> &mut Phase {
        &mut self.0[beside as usize]
    }

    /// Of how many processors more this bench and the node took all than without anybody.
    fn more(&self, beside: Beside) -> [f64; 2] {
        let [with, without] = [beside, Beside::Nothing].map(|of| self.0[of as usize].busy());
        [with[0] - without[0], with[1] - without[1]]
    }
}

/// Starts of runs with and without listeners, and what the listeners get.
pub fn fan_out(options: &Options) -> Result<Figure> {
    let halves = Halves::take();
    let second = halves.as_ref().map(|halves| halves.second);
    let node = Served::start(options, "b14")?;
    let mut fan = Fan {
        operator: node.tokens("operator", 1)?.remove(0),
        count: options.size(1000, 100),
        span: Duration::from_secs(options.size(SPAN_SECS, 1) as u64),
        listeners: Listeners::new(&node, second)?,
        second,
        phases: Phases::default(),
        memory: 0.0,
        node,
    };
    runtime()?.block_on(fan.rounds(options.size(ROUNDS, 1)))?;
    let told = fan.listeners.end();
    fan.node.stop()?;
    Ok(figure(fan.phases, told, fan.count, fan.memory))
}

/// A node, who may listen to it, and what has been measured.
struct Fan {
    node: Served,
    operator: String,
    listeners: Listeners,
    /// How many listen.
    count: usize,
    /// Their processors.
    second: Option<CpuSet>,
    /// How long each phase takes.
    span: Duration,
    phases: Phases,
    /// Bytes that the node took more with WebSockets, at most.
    memory: f64,
}

impl Fan {
    async fn rounds(&mut self, rounds: usize) -> Result<()> {
        // What is slow only in the first seconds of a node is nobody's.
        phase(&self.node, &self.operator, self.span).await?;
        for round in 0..rounds {
            let mut order = TURNS;
            // Each comes now before another one and now behind it.
            if round % 2 == 1 {
                order.reverse();
            }
            for beside in order {
                self.turn(beside).await?;
            }
        }
        Ok(())
    }

    async fn turn(&mut self, beside: Beside) -> Result<()> {
        let before = self.node.resident_bytes()?;
        let held = self.hold(beside).await?;
        let figures = phase(&self.node, &self.operator, self.span).await?;
        if beside == Beside::Sockets {
            self.memory = self.memory.max(self.node.resident_bytes()? - before);
        }
        drop(held);
        phase(&self.node, &self.operator, CALM).await?;
        self.phases.of(beside).add(figures);
        Ok(())
    }

    async fn hold(&self, beside: Beside) -> Result<Held> {
        let [elsewhere, here] = self.phases.more(Beside::Sockets);
        let as_listeners = || Busy::as_listeners(self.second, elsewhere);
        Ok(match beside {
            Beside::Nothing => Held::default(),
            Beside::Sockets => Held::of(self.listeners.open(Kind::Socket, self.count).await?),
            Beside::Sent => Held::of(self.listeners.open(Kind::Sent, self.count).await?),
            Beside::BusyElsewhere => Held::busy(vec![as_listeners()]),
            Beside::BusyEverywhere => Held::busy(vec![as_listeners(), Busy::as_telling(here)]),
        })
    }
}

/// What all of that says.
fn figure(mut phases: Phases, told: [f64; 2], count: usize, memory: f64) -> Figure {
    let took = |beside: Beside| phases.0[beside as usize].took;
    let aim = "1,000 × events/s; starts as while as many processors are busy without listeners";
    let mut figure = Figure::new(told[0] / took(Beside::Sockets), "messages/s", aim);
    figure.note("sse_messages_per_s", told[1] / took(Beside::Sent));
    figure.note("sockets", count as f64);
    let sockets = phases.of(Beside::Sockets);
    figure.note("events_per_s", sockets.events / sockets.took);
    for beside in TURNS {
        let name = beside.name();
        let share = phases.more(beside)[0] * 100.0;
        figure.note(&format!("bench_cpu_percent_{name}"), share);
        phases.of(beside).note(&mut figure, name);
    }
    figure.note("memory_kb_a_socket", memory / 1e3 / count as f64);
    figure
}
