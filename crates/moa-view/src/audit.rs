//! The audit log as people read it: each act with what came of it, the newest first.

use std::collections::HashMap;

use moa_core::schedule::{Moment, Zone};
use moa_core::time::{Millis, Span};
use moa_ports::audit::{Act, AuditEntry, AuditHead, Phase};
use moa_ports::views::Views;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::exit::{Failure, Result};
use crate::trigger;

/// Entries read at once.
const PAGE: u64 = 1000;
/// Entries behind a part that are searched for what came of the acts in it.
const AHEAD: u64 = 20_000;

/// An act with what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The first entry of it.
    pub head: AuditHead,
    /// What was asked for.
    pub asked: Act,
    /// What came of it; `None` = that isn't known.
    pub ended: Option<Act>,
}

/// Which acts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not older.
    pub since: Option<Millis>,
    /// Not newer.
    pub until: Option<Millis>,
    /// Of this action; `run.*` are all that begin so.
    pub action: Option<String>,
    /// Of those whose name holds this text.
    pub who: Option<String>,
    /// To something whose name holds this text.
    pub object: Option<String>,
    /// With this outcome; [`Phase::Asked`] = it isn't known.
    pub outcome: Option<Phase>,
    /// Only entries of lower numbers.
    pub before: Option<u64>,
    /// Only entries of higher numbers, and of those the lowest; without `before`.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// So many entries are looked through at most; `None` = all.
    pub look: Option<u64>,
}

/// Acts of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Acts {
    /// The newest first.
    pub acts: Vec<Listed>,
    /// `before` of the part that is older; `None` = there is none.
    pub older: Option<u64>,
    /// `after` of the part that is newer; `None` = there is none.
    pub newer: Option<u64>,
}

/// What was found when a log was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Entries that were looked at.
    pub entries: u64,
    /// The newest.
    pub head: Option<AuditHead>,
    /// Anchors that were compared.
    pub anchors: usize,
    /// One line for each thing that is wrong.
    pub findings: Vec<String>,
    /// What is worth knowing, and not wrong.
    pub notes: Vec<String>,
}

impl Listed {
    /// To what it was done, as far as that is known.
    pub fn object(&self) -> &str {
        self.ended.as_ref().map_or(&self.asked.object, |ended| &ended.object)
    }

    /// What came of it; [`Phase::Asked`] = that isn't known.
    pub fn outcome(&self) -> Phase {
        self.ended.as_ref().map_or(self.asked.phase, |ended| ended.phase)
    }

    /// For programs.
    pub fn document(&self) -> Json {
        let Self { head, asked, ended } = self;
        json!({
            "seq": head.seq,
            "hash": head.hash,
            "at": asked.at.to_string(),
            "who": asked.who,
            "from": asked.from,
            "action": asked.action,
            "object": self.object(),
            "outcome": self.outcome().as_str(),
            "before": asked.before,
            "asked": asked.after,
            "after": ended.as_ref().and_then(|act| act.after.clone()),
            "error": ended.as_ref().and_then(|act| act.error.clone()),
        })
    }
}

/// An instant as a filter has it: `2026-01-31T18:00:00Z`, a day, or how long ago: `2h`.
///
/// # Errors
/// It is neither.
pub fn when(text: &str, now: Millis) -> Result<Millis> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(Millis(now.0.saturating_sub_unsigned(span.0)));
    }
    trigger::instant(text, &Zone::utc()).map_err(|_| {
        Failure::usage(format!("{text:?} is neither an instant nor a duration"))
            .hint("write 2026-01-31T18:00:00Z, or 2h")
    })
}

/// The last instant that somebody wants: as [`when`] reads it, but the end of a day.
///
/// # Errors
/// It is neither an instant nor a duration.
pub fn until(text: &str, now: Millis) -> Result<Millis> {
    match text.parse() {
        Ok(day @ Moment::Day(_)) => Ok(Millis(day.end(&Zone::utc()).0.saturating_sub(1))),
        _ => when(text, now),
    }
}

/// The outcome of that name.
///
/// # Errors
/// There is none.
pub fn outcome(text: &str) -> Result<Phase> {
    let found = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
    found.ok_or_else(|| {
        Failure::usage(format!("{text:?} is no outcome")).hint("there are: done, refused, asked")
    })
}

/// The acts that were asked for, the newest first.
///
/// # Errors
/// The store can't be read.
pub async fn list(views: &dyn Views, filter: &Filter) -> Result<Acts> {
    let newest = views.audit_head().await?.map_or(0, |head| head.seq);
    let begins = views.audit(0, 1).await?.first().map_or(1, |entry| entry.seq);
    let log = Log { views, begins, newest, ends: HashMap::new(), upto: 0 };
    match filter.after {
        Some(after) => log.upward(filter, after.min(newest).max(begins - 1)).await,
        None => {
            let last = filter.before.map_or(newest, |before| before.saturating_sub(1).min(newest));
            log.downward(filter, last).await
        }
    }
}

/// A log that is being looked through.
struct Log<'a> {
    views: &'a dyn Views,
    /// The number of its first entry: what was before is removed.
    begins: u64,
    /// The number of its last one.
    newest: u64,
    /// What came of acts, by the numbers of their first entries.
    ends: HashMap<u64, Act>,
    /// The entry up to which ends have been read.
    upto: u64,
}

impl Log<'_> {
    /// From an entry on to those before it.
    async fn downward(mut self, filter: &Filter, last: u64) -> Result<Acts> {
        let below = self.begins - 1;
        let lowest = filter.look.map_or(below, |look| last.saturating_sub(look).max(below));
        let (mut end, mut found) = (last, Vec::new());
        self.upto = last;
        while end > lowest && found.len() < filter.limit {
            let start = end.saturating_sub(PAGE).max(lowest);
            found.extend(self.part(filter, (start, end), last + AHEAD).await?.into_iter().rev());
            end = start;
        }
        if found.len() > filter.limit {
            found.truncate(filter.limit);
        }
        let older = match found.len() < filter.limit {
            true => end + 1,
            false => found.last().map_or(0, |last| last.head.seq),
        };
        Ok(Acts {
            acts: found,
            older: (older > self.begins).then_some(older),
            newer: (last < self.newest).then_some(last),
        })
    }

    /// From behind an entry on to those after it.
    async fn upward(mut self, filter: &Filter, after: u64) -> Result<Acts> {
        let highest = filter.look.map_or(self.newest, |look| after.saturating_add(look));
        let highest = highest.min(self.newest);
        let (mut start, mut found) = (after, Vec::new());
        while start < highest && found.len() < filter.limit {
            let end = start.saturating_add(PAGE).min(highest);
            self.upto = self.upto.max(start);
            found.extend(self.part(filter, (start, end), end + AHEAD).await?);
            start = end;
        }
        found.truncate(filter.limit);
        let newer = match found.len() < filter.limit {
            true => start,
            false => found.last().map_or(start, |last| last.head.seq),
        };
        found.reverse();
        Ok(Acts {
            acts: found,
            older: (after >= self.begins).then_some(after.saturating_add(1)),
            newer: (newer < self.newest).then_some(newer),
        })
    }

    /// The acts that begin behind `start` and not behind `end`, in order. What came of them is looked
    /// for up to the entry `far`.
    async fn part(
        &mut self,
        filter: &Filter,
        (start, end): (u64, u64),
        far: u64,
    ) -> Result<Vec<Listed>> {
        let page = self.views.audit(start, (end - start) as usize).await?;
        let mut acts = Vec::new();
        // Where the beginning was removed meanwhile, others come in its place.
        for entry in page.iter().filter(|entry| entry.seq <= end) {
            let act = act_of(entry);
            match act.of {
                Some(of) => _ = self.ends.insert(of, act),
                None if filter.may_want(&act) => acts.push((entry.head(), act)),
                None => {}
            }
        }
        self.upto = self.upto.max(end);
        let open = acts.iter().filter(|(_, act)| act.phase == Phase::Asked);
        let open: Vec<u64> = open.map(|(head, _)| head.seq).collect();
        self.read_ends(&open, far).await?;
        let listed = acts.into_iter().map(|(head, asked)| {
            let ended = match asked.phase {
                // One that took effect with its entry, or was refused before it was begun.
                Phase::Done | Phase::Refused => Some(Act { after: None, ..asked.clone() }),
                Phase::Asked => self.ends.remove(&head.seq),
            };
            Listed { head, asked, ended }
        });
        Ok(listed.filter(|one| filter.wants(one)).collect())
    }

    /// Finds out what came of these acts.
    async fn read_ends(&mut self, of: &[u64], far: u64) -> Result<()> {
        while self.upto < far.min(self.newest) && of.iter().any(|of| !self.ends.contains_key(of)) {
            let page = self.views.audit(self.upto, PAGE as usize).await?;
            let Some(last) = page.last() else { return Ok(()) };
            self.upto = last.seq;
            let ends = page.iter().map(act_of).filter_map(|act| Some((act.of?, act)));
            self.ends.extend(ends);
        }
        Ok(())
    }
}

/// What an entry tells; what isn't understood is shown as it is.
fn act_of(entry: &AuditEntry) -> Act {
    let stranger = || Act {
        at: Millis(0),
        who: "?".into(),
        from: "?".into(),
        action: "?".into(),
        object: entry.body.clone(),
        phase: Phase::Asked,
        of: None,
        before: None,
        after: None,
        error: None,
    };
    entry.act().unwrap_or_else(stranger)
}

impl Filter {
    /// Whether it wants an act of which isn't looked at yet what came of it.
    fn may_want(&self, act: &Act) -> bool {
        // Entries are in the order in which they were written; a clock may have been set back.
        let in_time = self.since.is_none_or(|since| act.at >= since)
            && self.until.is_none_or(|until| act.at <= until);
        let action = self.action.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => act.action.starts_with(start),
            None => act.action == wanted,
        });
        in_time && action && self.who.as_deref().is_none_or(|who| act.who.contains(who))
    }

    /// Whether it wants such an act.
    fn wants(&self, one: &Listed) -> bool {
        let holds =
            |wanted: &str| one.object().contains(wanted) || one.asked.object.contains(wanted);
        self.outcome.is_none_or(|outcome| one.outcome() == outcome)
            && self.object.as_deref().is_none_or(holds)
    }
}

#[cfg(test)]
mod tests {
    use moa_ports::memory::MemoryStore;
    use moa_ports::store::{Batch, Store};
    use moa_ports::suite::{answer, block_on, build};

    use super::*;

    fn act(action: &str, object: &str) -> Act {
        Act {
            at: Millis(0),
            who: "ann".into(),
            from: "cli".into(),
            action: action.into(),
            object: object.into(),
            phase: Phase::Asked,
            of: None,
            before: None,
            after: None,
            error: None,
        }
    }

    fn add(store: &MemoryStore, act: &Act) -> u64 {
        let audit = vec![serde_json::to_string(act).expect("JSON")];
        let batch = Batch { audit, ..build::batch(Vec::new()) };
        answer(|reply| store.commit(batch, reply)).expect("it is written").audit[0].seq
    }

    /// Entries 1 to 40: twenty acts by turns done and refused; the last has no end.
    fn twenty() -> MemoryStore {
        let store = MemoryStore::single();
        for n in 1..=20 {
            let one = Act { at: Millis(n), ..act("run.start", &format!("asked{n}")) };
            let of = Some(add(&store, &one));
            let phase = if n % 2 == 0 { Phase::Done } else { Phase::Refused };
            match n {
                20 => _ = add(&store, &Act { phase: Phase::Done, ..act("job.run", "last") }),
                _ => _ = add(&store, &Act { phase, of, object: format!("run{n}"), ..one }),
            }
        }
        store
    }

    fn objects(store: &MemoryStore, filter: &Filter) -> (Vec<String>, Acts) {
        let found = block_on(list(store, filter)).expect("it can be read");
        (found.acts.iter().map(|one| one.object().to_owned()).collect(), found)
    }

    /// All pages, one way.
    fn pages(store: &MemoryStore, mut filter: Filter, up: bool) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let (mut names, found) = objects(store, &filter);
            if up {
                names.reverse();
            }
            all.extend(names);
            let next = if up { found.newer } else { found.older };
            let Some(next) = next else { return all };
            *(if up { &mut filter.after } else { &mut filter.before }) = Some(next);
        }
    }

    #[test]
    fn the_end_of_a_day_is_wanted_too() {
        let read = |text| until(text, Millis(5000)).expect("an instant").to_string();
        assert_eq!(read("2026-01-31"), "2026-01-31T23:59:59.999Z");
        assert_eq!(read("2026-01-31T18:00:00Z"), "2026-01-31T18:00:00.000Z");
        assert_eq!(until("2s", Millis(5000)).expect("a duration"), Millis(3000));
        assert!(until("soon", Millis(0)).is_err());
        assert_eq!(
            when("2026-01-31", Millis(0)).expect("a day").to_string(),
            "2026-01-31T00:00:00.000Z"
        );
    }

    #[test]
    fn nothing_is_newer_than_the_largest_number() {
        let (names, found) =
            objects(&twenty(), &Filter { after: Some(u64::MAX), limit: 5, ..Filter::default() });
        assert_eq!((names.len(), found.newer, found.older), (0, None, Some(41)));
    }

    #[test]
    fn every_filter_chooses_and_pages_go_both_ways() {
        let store = twenty();
        let all = Filter { limit: 100, ..Filter::default() };
        let (names, found) = objects(&store, &all);
        assert_eq!(
            (names.len(), &*names[0], &*names[1], &*names[20]),
            (21, "last", "asked20", "run1")
        );
        assert_eq!((found.older, found.newer), (None, None));
        let some = |filter: Filter| objects(&store, &filter).0;
        let outcome = |phase| some(Filter { outcome: Some(phase), ..all.clone() });
        assert_eq!(outcome(Phase::Asked), ["asked20"]);
        assert_eq!((outcome(Phase::Refused).len(), outcome(Phase::Done).len()), (10, 10));
        let object = |text: &str| some(Filter { object: Some(text.into()), ..all.clone() });
        assert_eq!((object("run7"), object("asked7")), (vec!["run7".into()], vec!["run7".into()]));
        let time = Filter { since: Some(Millis(3)), until: Some(Millis(5)), ..all.clone() };
        assert_eq!(some(time), ["run5", "run4", "run3"]);
        assert_eq!(some(Filter { action: Some("job.*".into()), ..all.clone() }), ["last"]);
        assert_eq!(some(Filter { who: Some("bob".into()), ..all.clone() }), [""; 0]);
        for limit in [1, 2, 3, 7] {
            for look in [None, Some(1), Some(3)] {
                let part = Filter { limit, look, ..all.clone() };
                assert_eq!(pages(&store, part.clone(), false), names, "{limit} {look:?}");
                let up = pages(&store, Filter { after: Some(0), ..part.clone() }, true);
                assert!(up.iter().rev().eq(&names), "{limit} {look:?}: {up:?}");
                // What came of an act is told where its end is on another page.
                let done = Filter { outcome: Some(Phase::Done), ..part };
                assert_eq!(pages(&store, done, false), outcome(Phase::Done));
            }
        }
        let (_, middle) = objects(&store, &Filter { before: Some(21), limit: 2, ..all.clone() });
        assert_eq!((middle.older, middle.newer), (Some(17), Some(20)));
    }

    #[test]
    fn a_log_ends_where_it_begins_by_now() {
        let store = twenty();
        let batch = Batch { audit_upto: 36, ..build::batch(Vec::new()) };
        answer(|reply| store.commit(batch, reply)).expect("it is written");
        // One entry is looked at in each page: without an end they would go on down to the first.
        let mut filter = Filter { limit: 2, look: Some(1), ..Filter::default() };
        let mut pages = 0;
        while let Some(older) = objects(&store, &filter).1.older {
            filter.before = Some(older);
            pages += 1;
        }
        assert_eq!((pages, filter.before), (3, Some(38)));
        let (names, found) = objects(&store, &Filter { limit: 9, ..Filter::default() });
        assert_eq!(names, ["last", "asked20", "run19"]);
        assert_eq!(found.older, None);
        let (names, found) = objects(&store, &Filter { after: Some(3), limit: 1, ..filter });
        assert_eq!((names, found.older), (vec!["run19".into()], None));
        let empty = MemoryStore::single();
        assert_eq!(objects(&empty, &Filter { limit: 9, ..Filter::default() }).1, Acts::default());
    }
}
