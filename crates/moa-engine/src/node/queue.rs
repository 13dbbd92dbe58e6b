//! What waits for one agent: by priority and age, and among equals of priority by whose turn it is.
//!
//! Priority and age decide as if there were no keys: the first task of all says of which priority the
//! next one is. Of the tasks of that priority it is the first of the fairness key whose turn it is
//! ([`Turns`]); tasks without a key share one turn. So with one key, or none, the order is that of
//! priority and age alone.
//!
//! Of many keys most have no task in memory, but the first of each has its turn all the same: it is
//! away, and comes back when its turn is near.

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
    /// First tasks whose runs have left memory.
    away: BTreeMap<(Priority, Key), Away>,
    /// The same by place.
    away_places: BTreeMap<Place, (Priority, Key)>,
    /// How many turns can be taken before the next look at which of the next tasks are away.
    look_in: usize,
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

/// The first task of a key and priority, whose run is in the store alone.
struct Away {
    place: Place,
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
        self.take_away(&place);
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
        self.come(place);
        if let Some(lane) = self.take_out(place) {
            self.set_turn(&lane);
            self.left(lane.1);
        }
    }

    /// Takes out a task that starts now: its key has its turn.
    pub fn start(&mut self, place: &Place) {
        let Some(lane) = self.take_out(place) else { return };
        let next = self.first_of(&lane);
        self.look_at(next);
        self.turns[lane.0 as usize].take(&lane.1, next);
        self.left(lane.1);
    }

    /// The run of a task leaves memory. If `keep`, its key keeps its turn when it is the first one.
    pub fn leave(&mut self, place: &Place, keep: bool) {
        let Some(ticket) = self.ready.get(place).filter(|_| keep) else {
            return self.remove(place);
        };
        let (lane, weight) = ((ticket.priority, ticket.key.clone()), ticket.weight);
        if self.first_of(&lane).is_none_or(|(first, _)| first != *place) {
            return self.remove(place);
        }
        // One that was the first before this one came.
        if let Some(before) = self.away.remove(&lane) {
            self.away_places.remove(&before.place);
            self.look_from(lane.1.clone(), before.place);
        }
        self.take_out(place);
        self.away_places.insert(*place, lane.clone());
        self.away.insert(lane, Away { place: *place, weight });
        self.look_in = 0;
    }

    /// A task that is away is not any more: it is here, or nothing that waits. Answers its key.
    fn take_away(&mut self, place: &Place) -> Option<(Priority, Key)> {
        let lane = self.away_places.remove(place)?;
        self.away.remove(&lane);
        self.look_in = 0;
        Some(lane)
    }

    /// The run of a task that was away has come, or is gone, and the task doesn't wait.
    pub fn come(&mut self, place: &Place) {
        if let Some(lane) = self.take_away(place) {
            self.set_turn(&lane);
            self.left(lane.1);
        }
    }

    /// Whether a task's run is in the store alone.
    pub fn is_away(&self, place: &Place) -> bool {
        self.away_places.contains_key(place)
    }

    /// The first tasks of each priority by turn.
    fn next(&self, count: usize) -> impl Iterator<Item = Place> {
        self.turns.iter().flat_map(move |turns| turns.iter().take(count).map(|(_, first)| first))
    }

    /// Those of the next tasks that are away, if fewer than half of them are here.
    pub fn wanted(&mut self, window: usize) -> Vec<Place> {
        if self.away.is_empty() || self.look_in > 0 {
            return Vec::new();
        }
        let here = |turns: &Turns<Key, Place>| {
            let firsts = turns.iter().take(window).map(|(_, first)| first);
            let here = firsts.take_while(|first| !self.is_away(first)).count();
            if here == turns.len() { window } else { here }
        };
        let here = self.turns.iter().map(here).min().unwrap_or(window);
        if here >= half(window) {
            self.look_in = (here / 2).max(1);
            return Vec::new();
        }
        self.next(window).filter(|first| self.is_away(first)).collect()
    }

    /// A task is the first of its lane now: one that is away may be next.
    fn look_at(&mut self, first: Option<(Place, u32)>) {
        if first.is_some_and(|(place, _)| self.is_away(&place)) {
            self.look_in = 0;
        }
    }

    /// The next tasks may be away.
    pub fn look_again(&mut self) {
        self.look_in = 0;
    }

    fn take_out(&mut self, place: &Place) -> Option<(Priority, Key)> {
        self.look_in = self.look_in.saturating_sub(1);
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
        let away = self.away.get(lane).map(|away| (away.place, away.weight));
        let first = self.lanes.get(lane).and_then(BTreeSet::first);
        let here = first.map(|p| (*p, self.ready.get(p).map_or(1, |ticket| ticket.weight)));
        here.into_iter().chain(away).min()
    }

    fn set_turn(&mut self, lane: &(Priority, Key)) {
        let first = self.first_of(lane);
        self.look_at(first);
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
        PRIORITIES.iter().any(|priority| {
            let lane = (*priority, key.clone());
            self.lanes.contains_key(&lane) || self.away.contains_key(&lane)
        })
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

    /// The first task by priority and age, here or away.
    pub fn first(&self) -> Option<Place> {
        self.foremost().map(|(place, _)| place)
    }

    fn foremost(&self) -> Option<(Place, Priority)> {
        let here = self.ready.first_key_value().map(|(place, t)| (*place, t.priority));
        let away = self.away_places.first_key_value().map(|(place, lane)| (*place, lane.0));
        here.into_iter().chain(away).min_by_key(|(place, _)| *place)
    }

    /// All tasks in the order in which they should start now: the first of each key of the priority
    /// whose turn it is, then all others by priority and age. Up to the first one that is away:
    /// those after it wait for it to come.
    pub fn in_turn(&self) -> impl Iterator<Item = Place> {
        let priority = self.foremost().map_or(Priority::Medium, |(_, priority)| priority);
        let heads = self.turns[priority as usize].iter().map(|(_, first)| first);
        let is_head = move |place: &Place, ticket: &Ticket| {
            let lane = || (priority, ticket.key.clone());
            ticket.priority == priority
                && self.first_of(&lane()).is_some_and(|(first, _)| first == *place)
        };
        let others = self.ready.iter().filter(move |(place, ticket)| !is_head(place, ticket));
        let all = heads.chain(others.map(|(place, _)| *place));
        all.take_while(|place| !self.is_away(place))
    }

    /// How many tasks of a key are known up to a place, counted up to `most`: here, or the first of
    /// its priority and away, which comes when its turn is near.
    fn count(&self, key: &Key, to: &Place, most: usize) -> usize {
        let of_lane = |priority: &Priority| {
            let lane = (*priority, key.clone());
            let here = self.lanes.get(&lane).map_or(0, |l| l.range(..=to).take(most).count());
            here + usize::from(self.away.get(&lane).is_some_and(|away| away.place <= *to))
        };
        PRIORITIES.iter().map(of_lane).sum()
    }

    /// The runs of the next tasks by turn, of each priority.
    pub fn next_runs(&self, count: usize) -> impl Iterator<Item = RunId> {
        self.next(count).map(|place| place.1)
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
        if self.is_away(place) {
            return true;
        }
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
