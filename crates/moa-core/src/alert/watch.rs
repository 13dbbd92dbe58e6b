//! What the history says of runs and agents lately: made from its events in order, each of which
//! counts once, and kept with the number of the last one.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::ids::Name;
use crate::time::{Millis, Span};

/// Ends of runs that are remembered of one workflow, and workflows and agents at most.
const ENDS_MAX: usize = 500;
const NAMES_MAX: usize = 1000;
/// Characters that are kept of an error.
const ERROR_CHARS_MAX: usize = 300;

/// What happened, as far as alerts go by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A run of a workflow ended.
    RunEnded {
        /// The workflow.
        workflow: &'a Name,
        /// Whether it failed, and how.
        error: Option<&'a str>,
    },
    /// An attempt of an agent ended, by itself or because it was lost.
    Attempt {
        /// The agent.
        agent: &'a Name,
        /// Whether it failed, and how.
        error: Option<&'a str>,
    },
    /// A step's attempts were used up.
    Dead {
        /// The workflow of its run.
        workflow: &'a Name,
        /// How the last one failed.
        error: &'a str,
    },
    /// A notification was delivered over a channel, or given up.
    Told {
        /// The channel.
        channel: &'a Name,
        /// Why it was given up.
        error: Option<&'a str>,
    },
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The number of the last event that is in it.
    pub after: u64,
    ends: BTreeMap<Name, VecDeque<(Millis, bool)>>,
    agents: BTreeMap<Name, Streak>,
    dead: BTreeMap<Name, VecDeque<(Millis, String)>>,
    channels: BTreeMap<Name, Streak>,
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// How many.
    pub failures: u32,
    /// When the first of them was.
    pub since: Millis,
    /// How the last one failed.
    pub error: String,
}

impl Watch {
    /// Takes over what happened at an instant.
    pub fn see(&mut self, at: Millis, seen: &Seen<'_>) {
        match seen {
            Seen::RunEnded { workflow, error } => {
                let ends = entry(&mut self.ends, workflow);
                push(ends, (at, error.is_some()));
            }
            Seen::Dead { workflow, error } => {
                let dead = entry(&mut self.dead, workflow);
                push(dead, (at, short(error)));
            }
            Seen::Attempt { agent, error } => streak(&mut self.agents, agent, at, *error),
            Seen::Told { channel, error } => streak(&mut self.channels, channel, at, *error),
        }
    }

    /// Forgets what is older than any rule asks for.
    pub fn forget(&mut self, before: Millis) {
        self.ends.retain(|_, ends| {
            ends.retain(|(at, _)| *at >= before);
            !ends.is_empty()
        });
        self.dead.retain(|_, dead| {
            dead.retain(|(at, _)| *at >= before);
            !dead.is_empty()
        });
    }

    /// By workflow: how many runs ended in the time before `now`, and how many of them failed.
    pub fn ended(&self, now: Millis, window: Span) -> Vec<(&Name, usize, usize)> {
        let of = |ends: &VecDeque<(Millis, bool)>| {
            let recent = || ends.iter().filter(|(at, _)| now.since(*at) <= window);
            (recent().count(), recent().filter(|(_, failed)| *failed).count())
        };
        let all = self.ends.iter().map(|(name, ends)| (name, of(ends)));
        all.map(|(name, (ended, failed))| (name, ended, failed)).collect()
    }

    /// By workflow: steps whose attempts were used up in the time before `now`, and how the last failed.
    pub fn dead(&self, now: Millis, window: Span) -> Vec<(&Name, usize, &str)> {
        let count = |dead: &VecDeque<(Millis, String)>| {
            dead.iter().filter(|(at, _)| now.since(*at) <= window).count()
        };
        let all = self.dead.iter().map(|(name, dead)| (name, count(dead), dead.back()));
        let recent = all.filter(|(_, count, _)| *count > 0);
        recent.map(|(name, n, last)| (name, n, last.map_or("", |(_, e)| e.as_str()))).collect()
    }

    /// Agents that failed the last time.
    pub fn failing(&self) -> impl Iterator<Item = (&Name, &Streak)> {
        self.agents.iter()
    }

    /// Channels over which the last notification was given up.
    pub fn silent(&self) -> impl Iterator<Item = (&Name, &Streak)> {
        self.channels.iter()
    }
}

fn entry<'a, T: Default>(map: &'a mut BTreeMap<Name, T>, name: &Name) -> &'a mut T {
    if map.len() >= NAMES_MAX && !map.contains_key(name) {
        map.pop_first();
    }
    map.entry(name.clone()).or_default()
}

fn push<T>(all: &mut VecDeque<T>, one: T) {
    all.push_back(one);
    if all.len() > ENDS_MAX {
        all.pop_front();
    }
}

fn streak(map: &mut BTreeMap<Name, Streak>, name: &Name, at: Millis, error: Option<&str>) {
    let Some(error) = error else {
        map.remove(name);
        return;
    };
    if map.len() >= NAMES_MAX && !map.contains_key(name) {
        map.pop_first();
    }
    let new = || Streak { failures: 0, since: at, error: String::new() };
    let streak = map.entry(name.clone()).or_insert_with(new);
    streak.failures = streak.failures.saturating_add(1);
    streak.error = short(error);
}

fn short(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}
