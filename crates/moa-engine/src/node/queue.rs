//! What waits for one agent: by priority and age, and among equals of priority by whose turn it is.
//!
//! Priority and age decide as if there were no keys: the first task of all says of which priority the
//! next one is. Of the tasks of that priority it is the first of the fairness key whose turn it is
//! ([`Turns`]); tasks without a key share one turn. So with one key, or none, the order is that of
//! priority and age alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::event::InstIx;
use moa_core::fair::Turns;
use moa_core::ids::RunId;
use moa_core::machine::Claimable;
use moa_core::run::Fairness;
use moa_core::workflow::Priority;

/// A task's place in the queue of its agent: its queue key first.
pub(super) type Place = (i64, RunId, InstIx);

/// A fairness key; `None` = no key.
pub(super) type Key = Option<Arc<str>>;

const PRIORITIES: [Priority; 4] =
    [Priority::Critical, Priority::High, Priority::Medium, Priority::Low];

/// Tasks of one agent that are in memory.
#[derive(Default)]
pub(super) struct Queue {
    /// Attempts that hold a slot.
    pub running: u32,
    ready: BTreeMap<Place, Ticket>,
    lanes: BTreeMap<(Priority, Key), BTreeSet<Place>>,
    /// For each priority.
    turns: [Turns<Key, Place>; 4],
    windows: BTreeMap<Key, Window>,
    /// Keys of which the store may have to be asked for more.
    may_be_short: BTreeSet<Key>,
}

/// What else is to be known of a task.
#[derive(Debug, PartialEq)]
struct Ticket {
    priority: Priority,
    key: Key,
    weight: u32,
}

/// What the store may hold of one key that is not in memory.
#[derive(Default)]
struct Window {
    /// From which place on it may hold tasks that are not here.
    beyond: Option<Place>,
    /// How often in a row it was asked for more and had nothing that is not here.
    in_vain: u32,
}

/// How many have to be there so that no more are asked for.
pub(super) fn half(at_hand: usize) -> usize {
    at_hand.div_ceil(2)
}

impl Queue {
    /// Adds a task; answers whether it is new here.
    pub fn insert(&mut self, run: RunId, inst: InstIx, task: &Claimable<'_>) -> bool {
        let place = (task.queue_key, run, inst);
        if self.ready.contains_key(&place) {
            return false;
        }
        let key: Key = task.fairness.map(|fairness| fairness.key.clone());
        let weight = task.fairness.map_or(1, |fairness: &Fairness| fairness.weight);
        let priority = task.priority;
        self.ready.insert(place, Ticket { priority, key: key.clone(), weight });
        let lane = (priority, key);
        self.lanes.entry(lane.clone()).or_default().insert(place);
        self.set_turn(&lane);
        self.windows.entry(lane.1).or_default();
        true
    }

    /// Takes out a task that does not start now.
    pub fn remove(&mut self, place: &Place) {
        if let Some(lane) = self.take_out(place) {
            self.set_turn(&lane);
            self.left(lane.1);
        }
    }

    /// Takes out a task that starts now: its key has its turn.
    pub fn start(&mut self, place: &Place) {
        let Some(lane) = self.take_out(place) else { return };
        let next = self.first_of(&lane);
        self.turns[lane.0 as usize].take(&lane.1, next);
        self.left(lane.1);
    }

    fn take_out(&mut self, place: &Place) -> Option<(Priority, Key)> {
        let ticket = self.ready.remove(place)?;
        let lane = (ticket.priority, ticket.key);
        if let Some(places) = self.lanes.get_mut(&lane) {
            places.remove(place);
            if places.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        Some(lane)
    }

    fn first_of(&self, lane: &(Priority, Key)) -> Option<(Place, u32)> {
        let first = *self.lanes.get(lane)?.first()?;
        Some((first, self.ready.get(&first).map_or(1, |ticket| ticket.weight)))
    }

    fn set_turn(&mut self, lane: &(Priority, Key)) {
        let first = self.first_of(lane);
        let turns = &mut self.turns[lane.0 as usize];
        match first {
            Some((first, weight)) => turns.set(&lane.1, first, weight),
            None => turns.remove(&lane.1),
        }
    }

    /// A task of a key is not here any more.
    fn left(&mut self, key: Key) {
        match self.windows.get(&key) {
            Some(Window { beyond: Some(_), .. }) => _ = self.may_be_short.insert(key),
            _ => self.drop_if_empty(&key),
        }
    }

    /// Nothing is kept of a key that has no tasks.
    fn drop_if_empty(&mut self, key: &Key) {
        if self.windows.get(key).is_some_and(|w| w.beyond.is_none()) && !self.has(key) {
            self.windows.remove(key);
            self.may_be_short.remove(key);
        }
    }

    fn has(&self, key: &Key) -> bool {
        PRIORITIES.iter().any(|priority| self.lanes.contains_key(&(*priority, key.clone())))
    }

    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many tasks are here.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// How many keys have tasks here or in the store, as far as is known.
    pub fn keys(&self) -> usize {
        self.windows.len()
    }

    /// The first task by priority and age.
    pub fn first(&self) -> Option<Place> {
        self.ready.first_key_value().map(|(place, _)| *place)
    }

    /// All tasks in the order in which they should start now: the first of each key of the priority
    /// whose turn it is, then all others by priority and age.
    pub fn in_turn(&self) -> impl Iterator<Item = Place> {
        let priority = self.ready.first_key_value().map_or(Priority::Medium, |(_, t)| t.priority);
        let heads = self.turns[priority as usize].iter().map(|(_, first)| first);
        let is_head = move |place: &Place, ticket: &Ticket| {
            let lane = || (priority, ticket.key.clone());
            ticket.priority == priority
                && self.lanes.get(&lane()).and_then(|lane| lane.first()) == Some(place)
        };
        let others = self.ready.iter().filter(move |(place, ticket)| !is_head(place, ticket));
        heads.chain(others.map(|(place, _)| *place))
    }

    /// How many tasks of a key are here up to a place, counted up to `most`.
    fn count(&self, key: &Key, to: &Place, most: usize) -> usize {
        let lanes = PRIORITIES.iter().filter_map(|p| self.lanes.get(&(*p, key.clone())));
        lanes.map(|lane| lane.range(..=to).take(most).count()).sum()
    }

    /// The runs of the first tasks of each key.
    pub fn first_runs(&self, of_each: usize) -> impl Iterator<Item = RunId> {
        let of_key = move |key: &Key| {
            let lanes = PRIORITIES.iter().filter_map(|p| self.lanes.get(&(*p, key.clone())));
            let mut places: Vec<Place> =
                lanes.flat_map(|lane| lane.iter().take(of_each).copied()).collect();
            places.sort_unstable();
            places.truncate(of_each);
            places.into_iter().map(|place| place.1)
        };
        self.windows.keys().flat_map(of_key)
    }

    /// From this place on the store may hold tasks of a key that are not here.
    pub fn look_from(&mut self, key: Key, place: Place) {
        let window = self.windows.entry(key.clone()).or_default();
        window.beyond = Some(window.beyond.map_or(place, |before| before.min(place)));
        self.may_be_short.insert(key);
    }

    /// Whether so many tasks of a key are before a place as have to be at hand.
    pub fn has_enough_before(&self, key: &Key, place: &Place, at_hand: usize) -> bool {
        let half = half(at_hand);
        let own = usize::from(self.ready.contains_key(place));
        self.count(key, place, half + own) >= half + own
    }

    /// Whether fewer than half of those that should be at hand of a key are.
    fn is_short(&self, key: &Key, at_hand: usize) -> bool {
        let Some(beyond) = self.windows.get(key).and_then(|w| w.beyond) else { return false };
        self.count(key, &beyond, half(at_hand)) < half(at_hand)
    }

    /// Whether the store may have to be asked for more of a key.
    pub fn may_run_short(&self) -> bool {
        !self.may_be_short.is_empty()
    }

    /// Whether the store has to be asked for more of a key.
    pub fn runs_short(&mut self, at_hand: usize) -> bool {
        let mut keys = std::mem::take(&mut self.may_be_short);
        keys.retain(|key| self.is_short(key, at_hand));
        self.may_be_short = keys;
        !self.may_be_short.is_empty()
    }

    /// The keys of which the store has to be asked for more, and how many. What leaves memory from
    /// now on may not be in the answer.
    pub fn ask(&mut self, at_hand: usize, most: usize) -> Vec<(Key, usize)> {
        self.runs_short(at_hand);
        // The store may not know yet of those that run.
        let wanted = at_hand + self.running as usize;
        let keys = std::mem::take(&mut self.may_be_short).into_iter();
        keys.map(|key| {
            let window = self.windows.entry(key.clone()).or_default();
            window.beyond = None;
            (key, wanted.checked_shl(window.in_vain).map_or(most, |wanted| wanted.min(most)))
        })
        .collect()
    }

    /// The store was asked for tasks of a key, and there may be more from that place on; `None` =
    /// there are none. `news`: it brought something; `most`: it was not asked for more.
    pub fn answered(
        &mut self,
        key: &Key,
        beyond: Option<Place>,
        at_hand: usize,
        news: bool,
        most: bool,
    ) {
        let window = self.windows.entry(key.clone()).or_default();
        let in_vain = std::mem::take(&mut window.in_vain);
        if let Some(beyond) = beyond {
            self.look_from(key.clone(), beyond);
            // One that brought nothing new must not be asked again as it was, for ever: the next one
            // looks further. When even the longest is in vain, something else has to happen first.
            if !news && self.is_short(key, at_hand) {
                let window = self.windows.entry(key.clone()).or_default();
                match most {
                    false => window.in_vain = in_vain + 1,
                    true => window.beyond = None,
                }
            }
        }
        self.drop_if_empty(key);
    }
}
