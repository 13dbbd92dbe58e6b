//! Hides the project's secrets in what people have published, for commands that read the store themselves.
//!
//! A node hides them from whoever asks it, by the same code; what it has of its own environment alone, a
//! command of another shell doesn't know. What can't be read is said once: nothing is shown in silence.

use std::time::{Duration, Instant};

use moa_core::machine::BUS;
use moa_core::trigger::Occurrence;
use moa_ports::views::HistoryRow;

use crate::needed;
use crate::place::Place;
use crate::project::{self, Layout, Loaded};
use crate::secrets::{SecretStore, read_env_file};
use crate::ui::Ui;
use crate::view::compare::Hide;
use crate::view::events::hide_in_row;
use crate::view::published::{Fate, hide_in_fate};
use crate::view::trigger::hide_in_occurrence;
use crate::wire;

/// After which time secrets are looked up anew: who follows events may do so for days.
const AGAIN: Duration = Duration::from_secs(1);

/// What hides the secrets of a project.
pub struct Hiding {
    /// `None` = it is elsewhere, and its node has hidden them.
    layout: Option<Layout>,
    known: Option<(Instant, Box<Hide>)>,
    warned: bool,
}

impl Hiding {
    /// Hides what the project's own sources know.
    pub fn of(place: &Place) -> Self {
        let layout = match place {
            Place::Here(layout) => Some(layout.clone()),
            Place::There(_) => None,
        };
        Self { layout, known: None, warned: false }
    }

    /// Takes them out of a row of the history.
    pub fn in_row(&mut self, row: &mut HistoryRow, ui: &Ui) {
        if row.run == BUS
            && let Some(hide) = self.hide(ui)
        {
            hide_in_row(row, hide);
        }
    }

    /// Takes them out of what became of an event.
    pub fn in_fate(&mut self, fate: &mut Fate, ui: &Ui) {
        if let Some(hide) = self.hide(ui) {
            hide_in_fate(fate, hide);
        }
    }

    /// Takes them out of what became of occurrences.
    pub fn in_occurrences(&mut self, found: &mut [Occurrence], ui: &Ui) {
        if !found.is_empty()
            && let Some(hide) = self.hide(ui)
        {
            found.iter_mut().for_each(|one| hide_in_occurrence(one, hide));
        }
    }

    fn hide(&mut self, ui: &Ui) -> Option<&Hide> {
        let layout = self.layout.as_ref()?;
        let is_old = |(at, _): &(Instant, Box<Hide>)| at.elapsed() >= AGAIN;
        if self.known.as_ref().is_none_or(is_old) {
            let (secrets, wrong) = known(layout);
            if !wrong.is_empty() && !std::mem::replace(&mut self.warned, true) {
                let wrong = wrong.join("; ");
                ui.warn(&format!("secrets may be shown in what was published: {wrong}"));
            }
            let redactor = secrets.redactor();
            let hide: Box<Hide> = Box::new(move |value| redactor.json(value));
            self.known = Some((Instant::now(), hide));
        }
        self.known.as_ref().map(|(_, hide)| &**hide)
    }
}

/// The secrets of a project as far as they can be read, and what is wrong with the others.
fn known(layout: &Layout) -> (SecretStore, Vec<String>) {
    let mut wrong = Vec::new();
    let loaded = project::load(layout, None).unwrap_or_else(|failure| {
        wrong.push(failure.message);
        Loaded::default()
    });
    if loaded.problems.has_errors() {
        wrong.push("the project's files have errors, and may use some that are not known".into());
    }
    let settings = &loaded.project.settings;
    let secrets = SecretStore::of(layout, &loaded.project).unwrap_or_else(|failure| {
        wrong.push(failure.message);
        let secrets = SecretStore::new(&layout.root, settings);
        // That it can't be read is said already.
        secrets.set_sealed(wire::sealed(layout).unwrap_or_default());
        secrets
    });
    let mut names = needed::uses(&loaded.project, &wire::agents(&loaded.project));
    if !wrong.is_empty() {
        // Which of them are used is not known then: rather too many than too few.
        let lines = read_env_file(&layout.root, settings.secrets.env_file.as_ref());
        names.extend(lines.unwrap_or_default().into_keys().map(|name| (name, [].into())));
    }
    secrets.set_used(names.into_keys().collect());
    wrong.extend(secrets.unread().into_iter().map(|(name, why)| format!("{name}: {why}")));
    (secrets, wrong)
}
