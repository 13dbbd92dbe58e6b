//! The step tree of a run: one line for each step, with what is inside it below.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::machine::Run;
use moa_core::run::StepRow;
use moa_core::step::{SkipReason, StepStatus, WaitReason};
use moa_core::time::{Millis, Span};
use moa_core::workflow::BodyIx;

use crate::paint::{Style, paint};
use crate::text;
use crate::{deed, sign};

/// Siblings shown before the rest is summed up.
const SIBLINGS_MAX: usize = 24;
/// Columns of the middle column.
const DEED_COLUMNS_MAX: usize = 36;

/// How a tree is shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The instant that ages are counted to.
    pub now: Millis,
    /// Whether nothing is summed up.
    pub all: bool,
    /// Whether colours are used.
    pub color: bool,
    /// Columns of the terminal; `usize::MAX` = don't cut.
    pub columns: usize,
}

/// One line of a tree.
struct Line {
    /// The lines of the tree itself.
    lead: String,
    sign: (&'static str, Style),
    name: String,
    deed: String,
    detail: String,
}

/// The lines of a run's step tree.
pub fn lines(run: &Run, look: Look) -> Vec<String> {
    let tree = Tree::new(run, look);
    let mut lines = Vec::new();
    tree.scope(0, "", &mut lines);
    for (body, base) in &run.row.extra.open_bodies {
        lines.push(Line::title(tree.body_title(*body)));
        tree.scope(*base, "", &mut lines);
    }
    layout(&lines, look)
}

struct Tree<'a> {
    run: &'a Run,
    look: Look,
    /// Steps without a parent, by the first instance of their scope.
    tops: BTreeMap<InstIx, Vec<InstIx>>,
    children: BTreeMap<InstIx, Vec<InstIx>>,
    /// First instances of the scopes that a step owns, by iteration.
    owned: BTreeMap<InstIx, Vec<InstIx>>,
}

impl<'a> Tree<'a> {
    fn new(run: &'a Run, look: Look) -> Self {
        let mut tree = Self {
            run,
            look,
            tops: BTreeMap::new(),
            children: BTreeMap::new(),
            owned: BTreeMap::new(),
        };
        let plan = run.graph.plan();
        for row in run.steps() {
            let step = plan.step(row.plan);
            let start = plan.bodies[usize::from(step.body)].start;
            let base = row.inst - (row.plan - start);
            match step.parent {
                Some(parent) => {
                    let parent = base + (parent - start);
                    tree.children.entry(parent).or_default().push(row.inst);
                }
                None => tree.tops.entry(base).or_default().push(row.inst),
            }
            if let Some(owner) = row.owner.filter(|_| base == row.inst) {
                tree.owned.entry(owner).or_default().push(base);
            }
        }
        tree
    }

    fn body_title(&self, body: BodyIx) -> &'static str {
        let plan = self.run.graph.plan();
        if plan.finally == Some(body) { "finally" } else { "on_failure" }
    }

    fn row(&self, inst: InstIx) -> Option<&StepRow> {
        self.run.step(inst)
    }

    fn scope(&self, base: InstIx, lead: &str, lines: &mut Vec<Line>) {
        let tops = self.tops.get(&base).map_or(&[][..], Vec::as_slice);
        self.siblings(tops.iter().map(|inst| Entry::Step(*inst)).collect(), lead, lines);
    }

    fn step(&self, inst: InstIx, lead: &str, below: &str, lines: &mut Vec<Line>) {
        let Some(row) = self.row(inst) else { return };
        let step = self.run.graph.plan().step(row.plan);
        lines.push(Line {
            lead: lead.into(),
            sign: sign(row.status),
            name: self.run.step_name(inst),
            deed: deed(step),
            detail: detail(row, self.look.now),
        });
        let mut inside: Vec<Entry> = Vec::new();
        let children = self.children.get(&inst).map_or(&[][..], Vec::as_slice);
        inside.extend(children.iter().map(|inst| Entry::Step(*inst)));
        for base in self.owned.get(&inst).map_or(&[][..], Vec::as_slice) {
            let tops = self.tops.get(base).map_or(&[][..], Vec::as_slice);
            match tops {
                // An iteration of one step needs no line of its own.
                [only] => inside.push(Entry::Step(*only)),
                _ => inside.push(Entry::Iteration(*base)),
            }
        }
        self.siblings(inside, below, lines);
    }

    fn siblings(&self, entries: Vec<Entry>, lead: &str, lines: &mut Vec<Line>) {
        let (shown, rest) = self.select(entries);
        let count = shown.len() + usize::from(!rest.is_empty());
        for (i, entry) in shown.iter().enumerate() {
            let last = i + 1 == count;
            let at = format!("{lead}{}", if last { "└─ " } else { "├─ " });
            let below = format!("{lead}{}", if last { "   " } else { "│  " });
            match entry {
                Entry::Step(inst) => self.step(*inst, &at, &below, lines),
                Entry::Iteration(base) => {
                    let iteration = self.row(*base).map_or(0, |row| row.iteration);
                    let mut line = Line::title("");
                    line.lead = at;
                    line.name = format!("[{iteration}]");
                    line.sign = sign(self.worst(*base));
                    lines.push(line);
                    self.scope(*base, &below, lines);
                }
            }
        }
        if !rest.is_empty() {
            let mut line = Line::title("");
            line.lead = format!("{lead}└─ ");
            line.name = self.sum_up(&rest);
            lines.push(line);
        }
    }

    /// What is shown of a long list: what failed, runs or waits first, then the others in order.
    fn select(&self, entries: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
        if self.look.all || entries.len() <= SIBLINGS_MAX {
            return (entries, Vec::new());
        }
        let rank = |entry: &Entry| match self.status(entry) {
            StepStatus::Failed => 0,
            StepStatus::Running => 1,
            StepStatus::Waiting | StepStatus::Cancelled => 2,
            StepStatus::Ready => 3,
            StepStatus::Succeeded => 4,
            StepStatus::Pending | StepStatus::Skipped => 5,
        };
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|i| (rank(&entries[*i]), *i));
        let keep: std::collections::BTreeSet<usize> =
            order.into_iter().take(SIBLINGS_MAX).collect();
        let (mut shown, mut rest) = (Vec::new(), Vec::new());
        for (i, entry) in entries.into_iter().enumerate() {
            if keep.contains(&i) { shown.push(entry) } else { rest.push(entry) }
        }
        (shown, rest)
    }

    fn sum_up(&self, rest: &[Entry]) -> String {
        let mut counts: BTreeMap<StepStatus, usize> = BTreeMap::new();
        for entry in rest {
            *counts.entry(self.status(entry)).or_default() += 1;
        }
        let parts: Vec<String> =
            counts.iter().map(|(status, n)| format!("{n} {}", status.as_str())).collect();
        format!("… {} more: {} (--all shows them)", rest.len(), parts.join(", "))
    }

    fn status(&self, entry: &Entry) -> StepStatus {
        match entry {
            Entry::Step(inst) => self.row(*inst).map_or(StepStatus::Pending, |row| row.status),
            Entry::Iteration(base) => self.worst(*base),
        }
    }

    /// One status for an iteration of several steps.
    fn worst(&self, base: InstIx) -> StepStatus {
        let tops = self.tops.get(&base).map_or(&[][..], Vec::as_slice);
        let statuses: Vec<_> = tops.iter().filter_map(|i| self.row(*i)).map(|r| r.status).collect();
        let has = |wanted: StepStatus| statuses.contains(&wanted);
        use StepStatus::*;
        let some = [Failed, Running, Waiting, Ready, Cancelled].into_iter().find(|s| has(*s));
        some.unwrap_or(match (has(Pending), has(Succeeded)) {
            (true, true) => Running,
            (true, false) => Pending,
            (false, true) => Succeeded,
            (false, false) => Skipped,
        })
    }
}

enum Entry {
    Step(InstIx),
    /// An iteration with several steps, by its first instance.
    Iteration(InstIx),
}

impl Line {
    fn title(title: &str) -> Self {
        Self {
            lead: String::new(),
            sign: ("", Style::Plain),
            name: title.into(),
            deed: String::new(),
            detail: String::new(),
        }
    }

    fn first_width(&self) -> usize {
        let sign = if self.sign.0.is_empty() { 0 } else { 2 };
        text::width(&self.lead) + sign + text::width(&self.name)
    }
}

fn layout(lines: &[Line], look: Look) -> Vec<String> {
    let steps = || lines.iter().filter(|line| !line.deed.is_empty());
    let first = steps().map(Line::first_width).max().unwrap_or(0).min(60);
    let middle = steps().map(|l| text::width(&l.deed)).max().unwrap_or(0).min(DEED_COLUMNS_MAX);
    let painted = |style, text: &str| paint(look.color, style, text);
    let show = |line: &Line| {
        let mut out = painted(Style::Dim, &line.lead);
        if !line.sign.0.is_empty() {
            out.push_str(&painted(line.sign.1, line.sign.0));
            out.push(' ');
        }
        out.push_str(&line.name);
        let mut used = line.first_width();
        if !line.deed.is_empty() {
            let deed = text::safe_line(&line.deed).into_owned();
            let deed = text::cut(&deed, middle).into_owned();
            let gap = first.saturating_sub(used) + 2;
            out.push_str(&" ".repeat(gap));
            out.push_str(&painted(Style::Dim, &deed));
            used += gap + text::width(&deed);
        }
        if !line.detail.is_empty() {
            let gap = (first + 2 + middle).saturating_sub(used) + 2;
            let detail = text::safe_line(&line.detail).into_owned();
            let room = look.columns.saturating_sub(used + gap).max(12);
            out.push_str(&" ".repeat(gap));
            out.push_str(&painted(line.sign.1, &text::cut(&detail, room)));
        }
        out
    };
    lines.iter().map(show).collect()
}

/// What became of a step, in a few words.
pub fn detail(row: &StepRow, now: Millis) -> String {
    let error = row.error.as_ref().map(|e| first_line(&e.message)).unwrap_or_default();
    let took = |end: Millis| {
        let start = row.started_at.or(row.ready_at).unwrap_or(end);
        text::duration(end.since(start))
    };
    let attempts = match row.attempt {
        0 | 1 => String::new(),
        n => format!(" ({n} attempts)"),
    };
    match row.status {
        StepStatus::Pending => String::new(),
        StepStatus::Ready => "ready".into(),
        StepStatus::Running => match row.attempt {
            0 | 1 => format!("running {}", took(now)),
            n => format!("running {}, attempt {n}", took(now)),
        },
        StepStatus::Waiting => waiting(row, &error, now),
        StepStatus::Succeeded => format!("{}{attempts}", took(row.finished_at.unwrap_or(now))),
        StepStatus::Failed if row.attempt > 1 => {
            format!("failed after {} attempts: {error}", row.attempt)
        }
        StepStatus::Failed => format!("failed: {error}"),
        StepStatus::Skipped => format!("skipped: {}", row.skip.map_or("", skip_words)),
        StepStatus::Cancelled => "cancelled".into(),
    }
}

fn waiting(row: &StepRow, error: &str, now: Millis) -> String {
    let until = match row.until {
        Some(at) if at > now => format!(" {}", text::relative(at, now)),
        _ => String::new(),
    };
    let next = row.attempt + 1;
    match row.wait {
        Some(WaitReason::Backoff) => format!("attempt {next}{until}; last error: {error}"),
        Some(WaitReason::RateLimited) => format!("rate limited, attempt {next}{until}"),
        Some(WaitReason::Timer) => format!("sleeps, goes on{until}"),
        Some(WaitReason::Children) => String::new(),
        Some(reason) => wait_words(reason).into(),
        None => "waits".into(),
    }
}

/// What a step waits for, in words that hold at any time.
pub fn wait_words(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Backoff => "waits for its next attempt",
        WaitReason::RateLimited => "rate limited",
        WaitReason::Approval => "waits for a decision",
        WaitReason::Signal => "waits for a signal",
        WaitReason::Event => "waits for an event",
        WaitReason::Timer => "sleeps",
        WaitReason::Child => "waits for its run",
        WaitReason::Children => "waits for what is inside it",
        WaitReason::UnknownOutcome => "outcome unknown, waits for a person",
    }
}

/// Why a step was skipped, in words.
pub fn skip_words(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Condition => "its condition is false",
        SkipReason::Branch => "another branch was taken",
        SkipReason::UpstreamFailed => "a step that it needs failed",
        SkipReason::RunIf => "its run_if does not hold",
        SkipReason::Timeout => "its wait timed out",
        SkipReason::Container => "what it stands in was skipped",
    }
}

/// The first line of a text.
pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// How long a run took, or has taken so far.
pub fn run_span(run: &Run, now: Millis) -> Option<Span> {
    let start = run.row.started_at?;
    Some(run.row.finished_at.unwrap_or(now).since(start))
}
