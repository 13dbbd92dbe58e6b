//! What a person sees and has chosen, and what a key does.

use moa_core::ids::RunId;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::data::Overview;

/// Characters of a filter at most.
const FILTER_MAX: usize = 60;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// What runs.
    Running,
    /// What waits for a person.
    Waiting,
    /// What is wrong.
    Wrong,
    /// What comes.
    Next,
    /// Agents.
    Agents,
}

impl Pane {
    /// All of them, in the order of Tab.
    pub const ALL: [Pane; 5] =
        [Pane::Running, Pane::Waiting, Pane::Wrong, Pane::Next, Pane::Agents];

    fn index(self) -> usize {
        Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0)
    }
}

/// What the keys are for just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The lists.
    Lists,
    /// The filter is typed.
    Filter,
    /// A run, from a line of it on.
    Detail {
        /// The run.
        run: RunId,
        /// The first line that is shown.
        from: usize,
    },
    /// Whether a run is to be cancelled.
    Confirm {
        /// The run.
        run: RunId,
    },
    /// What the keys do.
    Help,
}

/// What a key asks of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    None,
    /// To end.
    Quit,
    /// To look again now.
    Look,
    /// To cancel a run.
    Cancel(RunId),
}

/// What is on the screen.
#[derive(Debug, Clone)]
pub struct State {
    /// What there is to see; `None` = it is not known yet.
    pub data: Option<Overview>,
    /// The part that has the keys.
    pub pane: Pane,
    /// The chosen line of each part.
    pub chosen: [usize; 5],
    /// What lines have to contain.
    pub filter: String,
    /// What keys are for.
    pub mode: Mode,
    /// Whether nothing is looked at anew.
    pub paused: bool,
    /// The lines of the run that is shown.
    pub detail: Vec<String>,
    /// What is to be said.
    pub said: Option<String>,
    /// Why there is nothing new.
    pub gone: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            data: None,
            pane: Pane::Running,
            chosen: [0; 5],
            filter: String::new(),
            mode: Mode::Lists,
            paused: false,
            detail: Vec::new(),
            said: None,
            gone: None,
        }
    }
}

impl State {
    /// The run that is looked at closely.
    pub fn looked_at(&self) -> Option<RunId> {
        match self.mode {
            Mode::Detail { run, .. } | Mode::Confirm { run } => Some(run),
            _ => None,
        }
    }

    /// Whether the filter passes a line of this text.
    pub fn fits(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// The runs of the lines of a part.
    fn runs(&self, pane: Pane) -> Vec<Option<RunId>> {
        let Some(data) = &self.data else { return Vec::new() };
        match pane {
            Pane::Running => {
                let fit = data.running.iter().filter(|line| self.fits(&line.text()));
                fit.map(|line| Some(line.run)).collect()
            }
            Pane::Waiting => {
                let fit = data.waiting.iter().filter(|line| self.fits(&line.text()));
                fit.map(|line| Some(line.run)).collect()
            }
            Pane::Wrong => {
                let fit = data.wrong.iter().filter(|line| self.fits(&line.text()));
                fit.map(|line| line.run).collect()
            }
            Pane::Next => {
                let fit = data.next.iter().filter(|line| self.fits(&line.schedule));
                fit.map(|_| None).collect()
            }
            Pane::Agents => {
                let fit = data.agents.iter().filter(|line| self.fits(line.agent.as_str()));
                fit.map(|_| None).collect()
            }
        }
    }

    /// The chosen line of a part, one that there is.
    pub fn line(&self, pane: Pane) -> usize {
        self.chosen[pane.index()].min(self.runs(pane).len().saturating_sub(1))
    }

    /// The run of the chosen line.
    fn chosen_run(&self) -> Option<RunId> {
        self.runs(self.pane).get(self.line(self.pane)).copied().flatten()
    }

    fn go(&mut self, by: isize) {
        let last = self.runs(self.pane).len().saturating_sub(1);
        let line = self.line(self.pane).saturating_add_signed(by).min(last);
        self.chosen[self.pane.index()] = line;
    }

    fn turn(&mut self, by: usize) {
        let all = Pane::ALL;
        self.pane = all[(self.pane.index() + by) % all.len()];
    }

    /// Does what a key says; answers what else is to be done.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::None;
        }
        // The terminal gives it as a key, as long as this has it.
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        self.said = None;
        match self.mode.clone() {
            Mode::Lists => self.key_of_lists(key.code),
            Mode::Filter => self.key_of_filter(key.code),
            Mode::Detail { run, from } => self.key_of_detail(key.code, run, from),
            Mode::Confirm { run } => {
                self.mode = Mode::Lists;
                match key.code {
                    KeyCode::Char('y' | 'Y') => Wish::Cancel(run),
                    _ => {
                        self.said = Some("nothing is cancelled".into());
                        Wish::None
                    }
                }
            }
            Mode::Help => {
                self.mode = Mode::Lists;
                if key.code == KeyCode::Char('q') { Wish::Quit } else { Wish::None }
            }
        }
    }

    fn key_of_lists(&mut self, code: KeyCode) -> Wish {
        match code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Pane::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(10),
            KeyCode::PageUp => self.go(-10),
            KeyCode::Home => self.go(isize::MIN / 2),
            KeyCode::End => self.go(isize::MAX / 2),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return if self.paused { Wish::None } else { Wish::Look };
            }
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Enter => match self.chosen_run() {
                Some(run) => {
                    self.detail.clear();
                    self.mode = Mode::Detail { run, from: 0 };
                    return Wish::Look;
                }
                None => self.said = Some("this is no run".into()),
            },
            KeyCode::Char('c') => match self.chosen_run() {
                Some(run) => self.mode = Mode::Confirm { run },
                None => self.said = Some("this is no run".into()),
            },
            _ => {}
        }
        Wish::None
    }

    fn key_of_filter(&mut self, code: KeyCode) -> Wish {
        match code {
            KeyCode::Enter => self.mode = Mode::Lists,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Lists;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if !c.is_control() && self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(c);
            }
            _ => {}
        }
        self.chosen = [0; 5];
        Wish::None
    }

    fn key_of_detail(&mut self, code: KeyCode, run: RunId, from: usize) -> Wish {
        let last = self.detail.len().saturating_sub(1);
        let to = match code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => {
                self.mode = Mode::Lists;
                return Wish::None;
            }
            KeyCode::Char('c') => {
                self.mode = Mode::Confirm { run };
                return Wish::None;
            }
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return if self.paused { Wish::None } else { Wish::Look };
            }
            KeyCode::Down | KeyCode::Char('j') => from + 1,
            KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => from + 10,
            KeyCode::PageUp => from.saturating_sub(10),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => from,
        };
        self.mode = Mode::Detail { run, from: to.min(last) };
        Wish::None
    }
}
