//! A workflow as a drawing, with the states of a run where there is one.

pub mod layout;

use maud::{Markup, html};
use moa_core::machine::Run;
use moa_core::run::StepRow;
use moa_core::step::StepStatus;
use moa_core::workflow::{Plan, PlanStep, StepIx};
use moa_view::{deed, sign, text};

use self::layout::{Layout, Line, Placed};

/// Steps of a plan that are still drawn; a list says more of larger ones.
const STEPS_MAX: usize = 400;

/// The drawing of a plan. `path` gives the address of a step's page.
pub fn of_plan(plan: &Plan, path: impl Fn(&PlanStep) -> Option<String>) -> Markup {
    drawing(plan, |ix| (None, String::new(), path(plan.step(ix))))
}

/// The drawing of a run. `path` gives the address of the page of a step with this name.
pub fn of_run(run: &Run, path: impl Fn(&str) -> String) -> Markup {
    let plan = run.graph.plan();
    let mut rows: Vec<Vec<&StepRow>> = vec![Vec::new(); plan.steps.len()];
    for row in run.steps() {
        if let Some(of) = rows.get_mut(row.plan as usize) {
            of.push(row);
        }
    }
    drawing(plan, |ix| {
        let rows = &rows[ix as usize];
        let ended = rows.iter().filter(|row| row.status.is_terminal()).count();
        let note = match rows.len() {
            0 | 1 => rows
                .first()
                .filter(|row| row.attempt > 1)
                .map(|row| format!("attempt {}", row.attempt)),
            several => Some(format!("{ended} of {several}")),
        };
        let first = rows.iter().min_by_key(|row| rank(row.status));
        let path = first.map(|row| path(&run.step_name(row.inst)));
        (Some(worst(rows)), note.unwrap_or_default(), path)
    })
}

/// What is told of several: the one that somebody should look at.
fn worst(rows: &[&StepRow]) -> StepStatus {
    rows.iter().map(|row| row.status).min_by_key(|status| rank(*status)).unwrap_or_default()
}

fn rank(status: StepStatus) -> u8 {
    match status {
        StepStatus::Failed => 0,
        StepStatus::Running => 1,
        StepStatus::Waiting => 2,
        StepStatus::Ready => 3,
        StepStatus::Pending => 4,
        StepStatus::Cancelled => 5,
        StepStatus::Succeeded => 6,
        StepStatus::Skipped => 7,
    }
}

type Known = (Option<StepStatus>, String, Option<String>);

fn drawing(plan: &Plan, known: impl Fn(StepIx) -> Known) -> Markup {
    if plan.steps.len() > STEPS_MAX {
        return html! { p class="dim" { "Too many steps for a drawing: the list has them." } };
    }
    let layout = Layout::new(plan);
    let (width, height) = (layout.width + 8.0, layout.height + 8.0);
    html! {
        div class="drawing" tabindex="0" {
            svg width=(n(width)) height=(n(height)) viewBox={ "-4 -4 " (n(width)) " " (n(height)) }
                role="group" aria-label="Steps and what they need" {
                defs {
                    marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
                        markerHeight="7" orient="auto" {
                        path class="tip" d="M0 0.8 7.5 4 0 7.2z" {}
                    }
                }
                @for (title, x, y) in &layout.titles {
                    text class="small" x=(n(*x)) y=(n(*y)) { (title) }
                }
                @for placed in layout.steps.iter().filter(|placed| placed.holds) {
                    (step(plan, placed, known(placed.step)))
                }
                @for line in &layout.lines { (self::line(line)) }
                @for placed in layout.steps.iter().filter(|placed| !placed.holds) {
                    (step(plan, placed, known(placed.step)))
                }
            }
        }
    }
}

/// A number as SVG takes it, short.
fn n(number: f64) -> String {
    format!("{number:.1}")
}

fn line(line: &Line) -> Markup {
    let mut d = String::new();
    for (i, (x, y)) in line.points.iter().enumerate() {
        match i.checked_sub(1).map(|before| line.points[before]) {
            None => d.push_str(&format!("M{x:.1} {y:.1}")),
            Some((_, y0)) if y0 == *y => d.push_str(&format!("L{x:.1} {y0:.1}")),
            Some((x0, y0)) => {
                let half = (x0 + x) / 2.0;
                d.push_str(&format!("C{half:.1} {y0:.1} {half:.1} {y:.1} {x:.1} {y:.1}"));
            }
        }
    }
    let class = if line.always { "edge always" } else { "edge" };
    html! { path class=(class) d=(d) marker-end="url(#tip)" {} }
}

fn step(plan: &Plan, placed: &Placed, (status, note, path): Known) -> Markup {
    let own = plan.step(placed.step);
    let chars = ((placed.width - 40.0) / 7.0).max(4.0) as usize;
    let (x, y) = (placed.x, placed.y);
    let words = status.map_or("", StepStatus::as_str);
    let class = format!("of-{}", if words.is_empty() { "plan" } else { words });
    let title = format!("{}: {} {words} {note}", own.id.as_str(), deed(own));
    let sub = match (placed.holds, note.is_empty()) {
        (true, true) => deed(own),
        (true, false) => format!("{} · {note}", deed(own)),
        (false, true) => deed(own),
        (false, false) => note,
    };
    let inner = html! {
        title { (text::safe_line(title.trim())) }
        rect class={ @if placed.holds { "box group" } @else { "box" } } x=(n(x)) y=(n(y))
            width=(n(placed.width)) height=(n(placed.height)) rx="6" {}
        @if let Some(status) = status {
            text class="sign" x=(n(x + 10.0)) y=(n(y + 18.0)) { (sign(status).0) }
        }
        @let left = if status.is_some() { x + 27.0 } else { x + 10.0 };
        text x=(n(left)) y=(n(y + 18.0)) { (text::cut(own.id.as_str(), chars)) }
        @if placed.holds {
            @let after = left + own.id.as_str().chars().count() as f64 * 7.6 + 10.0;
            @let room = ((x + placed.width - after) / 6.3).max(0.0) as usize;
            @if room > 6 {
                text class="small" x=(n(after)) y=(n(y + 18.0)) {
                    (text::safe_line(&text::cut(&sub, room)))
                }
            }
        } @else {
            text class="small" x=(n(left)) y=(n(y + 33.0)) {
                (text::safe_line(&text::cut(&sub, chars + 3)))
            }
        }
    };
    html! {
        @match path {
            Some(path) => a class=(class) href=(path) { (inner) },
            None => g class=(class) { (inner) },
        }
    }
}
