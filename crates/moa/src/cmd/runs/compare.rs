//! `moa runs compare`: what differs between two runs.

use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};
use moa_view::compare::lines::Tag;
use moa_view::compare::{Comparison, Part, Room, RunSide, StepPair, StepSide, usual};

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::text;
use crate::ui::{Style, Ui};
use crate::view::now;

/// Steps of which everything that differs is told; the others are named.
const STEPS: usize = 50;
/// Lines of all values together.
const LINES: usize = 100_000;

/// Show what differs between a run and another one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs compare last                  # with the run that it repeats, or the one before it
  moa runs compare 5f2c --with 9c01
  moa runs compare last --json | jq '.changes[].path'

Lines of the other run are marked with -, those of the run with +. Steps are matched by their names. How
long something took, and when, is no difference.

Exit codes: 0 nothing differs, 1 something does, 4 there is no other run to compare with")]
pub struct Args {
    /// The run
    run: String,
    /// The other one [default: the run that it repeats, or the one before it of its workflow]
    #[arg(long, value_name = "RUN")]
    with: Option<String>,
}

/// Compares them.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let found = runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let run = reader.run(reader.find(&args.run).await?).await?;
        let other = match &args.with {
            Some(other) => Some(reader.run(reader.find(other).await?).await?),
            None => usual(&reader, &run).await?,
        };
        let none = || {
            let text = "there is no other run of this workflow to compare with";
            Failure::not_found(text).hint("--with names one of another workflow")
        };
        let other = other.ok_or_else(none)?;
        let room = Room { steps: STEPS, lines: LINES };
        let room = if context.ui.json { Room::NONE } else { room };
        crate::exit::Result::Ok(Comparison::new(&other, &run, room))
    })?;
    if context.ui.json {
        context.ui.json(&found);
    } else {
        print(&context.ui, &found);
    }
    Ok(if found.equal { Exit::Ok } else { Exit::Failed })
}

fn print(ui: &Ui, found: &Comparison) {
    let left = &found.left;
    let now = now();
    ui.line(&ui.paint(Style::Red, &format!("- {}", head(left, now))));
    ui.line(&ui.paint(Style::Green, &format!("+ {}", head(&found.right, now))));
    if left.hash != found.right.hash {
        let (old, new) = (left.hash.short(), found.right.hash.short());
        ui.line(&ui.paint(Style::Yellow, &format!("~ version {old} → {new}")));
    }
    if left.priority != found.right.priority {
        let (old, new) = (left.priority, found.right.priority);
        let said = format!("~ priority {} → {}", text::priority(old), text::priority(new));
        ui.line(&ui.paint(Style::Yellow, &said));
    }
    for part in &found.parts {
        self::part(ui, part, "");
    }
    let differ = found.steps.iter().filter(|pair| pair.differs);
    for pair in differ {
        step(ui, pair);
    }
    let same = found.steps.iter().filter(|pair| !pair.differs).count();
    if same > 0 {
        let verb = if same == 1 { "is" } else { "are" };
        ui.line(&ui.paint(Style::Dim, &format!("{} {verb} the same", text::plural(same, "step"))));
    }
    if found.steps_left_out > 0 {
        let left = text::plural(found.steps_left_out, "step");
        ui.line(&ui.paint(Style::Yellow, &format!("{left} of these runs are left out")));
    }
    if found.equal {
        ui.note("nothing differs");
    }
}

fn head(side: &RunSide, now: Millis) -> String {
    let age = text::relative(side.created_at, now);
    let took = took(side.duration_ms).map(|took| format!(" in {took}")).unwrap_or_default();
    format!("{} {} {}{took}, {age}", side.workflow, side.run, side.status.as_str())
}

fn took(ms: Option<u64>) -> Option<String> {
    ms.map(|ms| text::duration(Span(ms)))
}

fn step(ui: &Ui, pair: &StepPair) {
    let (left, right) = (words(pair.left.as_ref()), words(pair.right.as_ref()));
    let name = ui.paint(Style::Yellow, &format!("~ {}", pair.step));
    ui.line(&format!("{name}  {left} → {right}"));
    for part in &pair.parts {
        self::part(ui, part, "  ");
    }
}

fn words(side: Option<&StepSide>) -> String {
    let Some(side) = side else { return "not there".into() };
    let standing = match (side.status, side.why) {
        (StepStatus::Waiting, Some(why)) => why.to_owned(),
        (status, Some(why)) => format!("{} ({why})", status.as_str()),
        (status, None) => status.as_str().to_owned(),
    };
    let took = took(side.duration_ms).map(|took| format!(" {took}")).unwrap_or_default();
    let attempts = match side.attempts {
        0 | 1 => String::new(),
        several => format!(", {several} attempts"),
    };
    format!("{standing}{took}{attempts}")
}

fn part(ui: &Ui, part: &Part, indent: &str) {
    ui.line(&format!("{indent}{}", ui.paint(Style::Bold, part.name)));
    for line in &part.diff.lines {
        let (sign, style) = match line.tag {
            Tag::Both => (" ", Style::Plain),
            Tag::Left => ("-", Style::Red),
            Tag::Right => ("+", Style::Green),
            Tag::Gap => ("…", Style::Dim),
        };
        let said = format!("{sign} {}", text::safe_line(&line.text));
        ui.line(&format!("{indent}{}", ui.paint(style, said.trim_end())));
    }
    if part.diff.cut {
        let more = format!("{indent}… cut off here: more of it differs; --json has each place");
        ui.line(&ui.paint(Style::Yellow, &more));
    }
}
