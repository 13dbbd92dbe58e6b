//! Whether the audit log is as it was written.

use std::collections::BTreeMap;

use moa_ports::audit::{AuditEntry, AuditHash, AuditHead, Phase, pruned};
use moa_ports::store;
use moa_ports::views::Views;
pub use moa_view::audit::Verdict;

use super::anchor::{Anchor, Anchors};
use crate::exit::Result;

/// Findings that are listed one by one.
const FINDINGS_MAX: usize = 50;
/// Entries read at once.
const PAGE: usize = 1000;

/// Checks a log entry by entry.
#[derive(Debug, Default)]
pub struct Check {
    last: Option<AuditHead>,
    entries: u64,
    findings: Vec<String>,
    /// How much more was found.
    more: u64,
    anchors: BTreeMap<u64, Vec<(String, Anchor)>>,
    /// The entry that the log begins with, when others were before it.
    first: Option<AuditEntry>,
    /// The last ones that were removed as old, each with the entry that says so.
    pruned: Vec<(u64, AuditHead)>,
    /// Heads of logs that a restore has replaced, with the entry that says so.
    replaced: Vec<(u64, AuditHead)>,
}

impl Check {
    /// Has an anchor compared; `from` is where it was found.
    pub fn anchor(&mut self, from: &str, anchor: Anchor) {
        self.anchors.entry(anchor.head.seq).or_default().push((from.to_owned(), anchor));
    }

    /// Something that is wrong.
    pub fn finding(&mut self, text: String) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(text),
            false => self.more += 1,
        }
    }

    /// The entry that comes next is the one that the log begins with by now: whether those between it
    /// and the last one were removed rightly is known at the end.
    fn begin_anew(&mut self) {
        self.last = None;
    }

    /// Looks at the next entry.
    pub fn entry(&mut self, entry: &AuditEntry) {
        self.entries += 1;
        let last = self.last.map_or(0, |head| head.seq);
        if self.last.is_none() && entry.seq > 1 {
            // Whether that is as it should be is known at the end.
            self.first = Some(entry.clone());
        } else if entry.seq != last + 1 {
            let (first, before) = (last + 1, entry.seq.saturating_sub(1));
            let gone = if first == before { "entry" } else { "entries" };
            let which =
                if first == before { first.to_string() } else { format!("{first} to {before}") };
            self.finding(format!("{gone} {which} missing"));
            // The chain can't be followed over the gap: from here on it is followed anew.
        } else if AuditHead::next(self.last.as_ref(), &entry.body).hash != entry.hash {
            let seq = entry.seq;
            self.finding(format!(
                "entry {seq} is not as it was written, or not where it was written"
            ));
        }
        self.last = Some(entry.head());
        if let Some(head) = entry.act().as_ref().and_then(pruned) {
            self.pruned.push((entry.seq, head));
        }
        if let Some(head) = replaced_by(entry) {
            self.replaced.push((entry.seq, head));
        }
        for (from, anchor) in self.anchors.remove(&entry.seq).unwrap_or_default() {
            if anchor.head.hash != entry.hash {
                self.lost(&from, &anchor, true);
            } else {
                self.anchors.entry(0).or_default().push((from, anchor));
            }
        }
    }

    /// An entry that was the newest once, and isn't there as it was.
    fn lost(&mut self, from: &str, anchor: &Anchor, changed: bool) {
        let (seq, at) = (anchor.head.seq, &anchor.timestamp);
        let what = match changed {
            true => "is another one now: the log was made anew, or cut off and gone on with",
            false => "is not there: the end of the log was cut off",
        };
        self.anchors.entry(u64::MAX).or_default().push((from.to_owned(), anchor.clone()));
        self.finding(format!("entry {seq}, noted in {from} at {at}, {what}"));
    }

    /// Looks at how the log begins when it doesn't with its first entry: what an entry of it says was
    /// removed may be gone, and nothing else.
    fn beginning(&mut self, first: &AuditEntry) -> Option<String> {
        let before = first.seq - 1;
        let said = self.pruned.iter().rev().find(|(_, head)| head.seq == before).copied();
        let Some((by, last)) = said else {
            let gone =
                if before == 1 { "entry 1".into() } else { format!("entries 1 to {before}") };
            self.finding(format!("{gone} missing"));
            return None;
        };
        if AuditHead::next(Some(&last), &first.body).hash != first.hash {
            let seq = first.seq;
            self.finding(format!(
                "entry {seq} is not as it was written, or not where it was written"
            ));
        }
        // What was noted of removed entries can't be compared any more, but of the last of them.
        let kept = self.anchors.split_off(&first.seq);
        for (seq, noted) in std::mem::replace(&mut self.anchors, kept) {
            for (from, anchor) in noted {
                match seq == before && anchor.head.hash != last.hash {
                    true => self.lost(&from, &anchor, true),
                    false => self.anchors.entry(0).or_default().push((from, anchor)),
                }
            }
        }
        Some(format!("entries 1 to {before} were removed as old (entry {by} says so)"))
    }

    /// What was found.
    pub fn end(mut self) -> Verdict {
        let mut notes = Vec::new();
        if let Some(first) = self.first.take() {
            notes.extend(self.beginning(&first));
        }
        let kept = self.anchors.remove(&0).unwrap_or_default().len();
        let changed = self.anchors.remove(&u64::MAX).unwrap_or_default();
        let rest: Vec<_> = std::mem::take(&mut self.anchors).into_values().flatten().collect();
        let anchors = kept + changed.len() + rest.len();
        for (from, anchor) in rest {
            self.lost(&from, &anchor, false);
        }
        // Entries that a restore has replaced are in the state that it has kept.
        let lost = self.anchors.remove(&u64::MAX).unwrap_or_default().into_iter().chain(changed);
        for (from, anchor) in lost {
            let seq = anchor.head.seq;
            let covers = |(_, head): &&(u64, AuditHead)| head.seq >= seq;
            if let Some((by, head)) = self.replaced.iter().find(covers) {
                let text = format!("entry {seq}, noted in {from}");
                self.findings.retain(|finding| !finding.starts_with(&text));
                notes.push(format!(
                    "{text}, was in the log that a restore replaced (entry {by}; it went to {})",
                    head.seq
                ));
            }
        }
        if self.more > 0 {
            self.findings.push(format!("and {} more", self.more));
        }
        let Self { entries, last, findings, .. } = self;
        Verdict { entries, head: last, anchors, findings, notes }
    }
}

/// Checks the log of a project against anchors.
///
/// # Errors
/// The store can't be read.
pub async fn log(views: Option<&dyn Views>, anchors: Vec<Anchors>) -> Result<Verdict> {
    let mut check = Check::default();
    for (from, anchors) in anchors {
        match anchors {
            Ok(anchors) => anchors.into_iter().for_each(|anchor| check.anchor(&from, anchor)),
            Err(wrong) => check.finding(wrong),
        }
    }
    if let Some(views) = views {
        walk(&mut check, |after, limit| views.audit(after, limit)).await?;
    }
    Ok(check.end())
}

/// Looks at all entries that `read` answers behind a number, as many as it is asked for at most.
async fn walk<F>(check: &mut Check, read: impl Fn(u64, usize) -> F) -> Result<()>
where
    F: Future<Output = std::result::Result<Vec<AuditEntry>, store::Error>>,
{
    let mut after = 0;
    loop {
        let page = read(after, PAGE).await?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
        if first.seq > after + 1 && after > 0 {
            // Retention may have removed more meanwhile than was looked at: the log begins here now.
            let begins = read(0, 1).await?.first().map_or(0, |entry| entry.seq);
            if begins > after + 1 {
                check.begin_anew();
            }
        }
        after = last.seq;
        page.iter().for_each(|entry| check.entry(entry));
    }
}

/// The head of the log that a restore has replaced.
fn replaced_by(entry: &AuditEntry) -> Option<AuditHead> {
    let act = entry.act().filter(|act| act.action == "restore" && act.phase == Phase::Done)?;
    let head = act.before?.get("audit")?.clone();
    let hash: AuditHash = head.get("hash")?.as_str()?.parse().ok()?;
    Some(AuditHead { seq: head.get("seq")?.as_u64()?, hash })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use moa_core::time::Millis;
    use moa_ports::memory::MemoryStore;
    use moa_ports::store::{Batch, Store};
    use moa_ports::suite::{answer, block_on, build};

    use super::*;

    fn chain(bodies: &[&str]) -> Vec<AuditEntry> {
        let mut head = None;
        let mut entry = |body: &&str| {
            let next = AuditHead::next(head.as_ref(), body);
            head = Some(next);
            AuditEntry { seq: next.seq, hash: next.hash, body: (*body).to_owned() }
        };
        bodies.iter().map(&mut entry).collect()
    }

    fn check(entries: &[AuditEntry], anchors: &[AuditHead]) -> Verdict {
        let mut check = Check::default();
        for head in anchors {
            check.anchor("file", Anchor::new(*head, Millis(0)));
        }
        entries.iter().for_each(|entry| check.entry(entry));
        check.end()
    }

    #[test]
    fn a_log_as_it_was_written_has_no_findings() {
        let log = chain(&["a", "b", "c"]);
        let heads: Vec<_> = log.iter().map(AuditEntry::head).collect();
        let verdict = check(&log, &heads);
        assert_eq!(verdict.findings, [""; 0]);
        assert_eq!((verdict.entries, verdict.anchors, verdict.head), (3, 3, Some(heads[2])));
        assert_eq!(check(&[], &[]).findings, [""; 0]);
    }

    #[test]
    fn every_change_is_found() {
        let log = chain(&["a", "b", "c", "d"]);
        let with = |change: &dyn Fn(&mut Vec<AuditEntry>)| {
            let mut changed = log.clone();
            change(&mut changed);
            check(&changed, &[log[3].head()]).findings
        };
        let found = with(&|log| log[1].body = "x".into());
        assert!(found[0].starts_with("entry 2 is not as it was"), "{found:?}");
        let found = with(&|log| log[1].hash.0[0] ^= 1);
        assert_eq!(found.len(), 2, "{found:?}");
        let found = with(&|log| drop(log.remove(1)));
        assert_eq!(found, ["entry 2 missing"]);
        let found = with(&|log| drop(log.drain(..2)));
        assert_eq!(found, ["entries 1 to 2 missing"]);
        // Put elsewhere, with numbers that look right.
        let found = with(&|log| {
            log.swap(1, 2);
            (log[1].seq, log[2].seq) = (2, 3);
        });
        assert_eq!(found.len(), 3, "{found:?}");
        let found = with(&|log| log.truncate(2));
        assert!(found[0].contains("the end of the log was cut off"), "{found:?}");
        assert_eq!(with(&Vec::clear).len(), 1);
        // Made anew as a whole: the chain itself is good.
        let found = check(&chain(&["a", "x", "c", "d", "e"]), &[log[3].head()]).findings;
        assert!(found.len() == 1 && found[0].contains("made anew"), "{found:?}");
    }

    /// A log of which the first entries were removed.
    fn pruned_log(removed: u64) -> (Vec<AuditEntry>, Vec<AuditEntry>) {
        let all = chain(&["a", "b", "c", "d"]);
        let last = all[removed as usize - 1].head();
        let act = serde_json::json!({
            "at": 0, "who": "moa", "from": "retention", "action": "audit.prune", "object": "o",
            "phase": "done", "before": {"first": 1, "last": last},
        });
        let all = chain(&["a", "b", "c", "d", &act.to_string(), "e"]);
        let kept = all[removed as usize..].to_vec();
        (all, kept)
    }

    #[test]
    fn what_was_removed_as_old_is_not_missing_and_all_else_is() {
        let (all, kept) = pruned_log(2);
        let heads: Vec<_> = all.iter().map(AuditEntry::head).collect();
        let verdict = check(&kept, &heads);
        assert_eq!(verdict.findings, [""; 0]);
        assert!(verdict.notes[0].contains("1 to 2 were removed as old (entry 5"), "{verdict:?}");
        assert_eq!((verdict.entries, verdict.anchors, verdict.head), (4, 6, Some(heads[5])));
        let with = |change: &dyn Fn(&mut Vec<AuditEntry>)| {
            let mut changed = kept.clone();
            change(&mut changed);
            check(&changed, &heads[5..]).findings
        };
        let found = with(&|log| log[0].body = "x".into());
        assert!(found[0].starts_with("entry 3 is not as it was"), "{found:?}");
        let found = with(&|log| log[1].body = "x".into());
        assert!(found[0].starts_with("entry 4 is not as it was"), "{found:?}");
        assert_eq!(with(&|log| drop(log.remove(0))), ["entries 1 to 3 missing"]);
        assert_eq!(with(&|log| drop(log.remove(1))), ["entry 4 missing"]);
        let found = with(&|log| {
            log.swap(0, 1);
            (log[0].seq, log[1].seq) = (3, 4);
        });
        assert!(found[0].starts_with("entry 4") && found.len() >= 2, "{found:?}");
        let found = with(&|log| drop(log.remove(2)));
        assert!(found.contains(&"entries 1 to 2 missing".to_owned()), "{found:?}");
        assert!(with(&|log| log.truncate(3))[0].contains("cut off"));
        // The last that was removed, noted elsewhere, was another one.
        let other = AuditHead { hash: heads[5].hash, ..heads[1] };
        let found = check(&kept, &[other]).findings;
        assert!(found[0].contains("made anew"), "{found:?}");
    }

    /// Checks a log of three pages of which one and a half are removed when the first was read.
    fn pruned_meanwhile(is_told: bool) -> Verdict {
        let store = MemoryStore::single();
        let commit = |audit: Vec<String>, audit_upto| {
            let batch = Batch { audit, audit_upto, ..build::batch(Vec::new()) };
            answer(|reply| store.commit(batch, reply)).expect("it is written").audit
        };
        let heads = commit((0..PAGE * 3).map(|i| format!("entry {i}")).collect(), 0);
        let last = heads[PAGE + PAGE / 2 - 1];
        let act = serde_json::json!({
            "at": 0, "who": "moa", "from": "retention", "action": "audit.prune", "object": "o",
            "phase": "done", "before": {"first": 1, "last": last},
        });
        let mut check = Check::default();
        for noted in [0, PAGE + 1, PAGE * 2] {
            check.anchor("file", Anchor::new(heads[noted], Millis(0)));
        }
        let reads = Cell::new(0);
        let read = |after, limit| {
            if reads.replace(reads.get() + 1) == 1 {
                commit(if is_told { vec![act.to_string()] } else { Vec::new() }, last.seq);
            }
            store.audit(after, limit)
        };
        block_on(walk(&mut check, read)).expect("it can be read");
        check.end()
    }

    #[test]
    fn what_is_removed_while_it_is_looked_at_is_not_missing() {
        let verdict = pruned_meanwhile(true);
        assert_eq!(verdict.findings, [""; 0]);
        let newest = verdict.head.expect("there are some").seq;
        assert_eq!((verdict.anchors, newest), (3, PAGE as u64 * 3 + 1));
        let said = format!("entries 1 to {} were removed as old", PAGE + PAGE / 2);
        assert!(verdict.notes[0].starts_with(&said), "{:?}", verdict.notes);
        // Where no entry says that they were, they are missing.
        let gone = pruned_meanwhile(false).findings;
        assert_eq!(gone[0], format!("entries 1 to {} missing", PAGE + PAGE / 2));
    }

    #[test]
    fn what_a_restore_replaced_is_told_and_not_wrong() {
        let old = chain(&["a", "b", "c", "d"]);
        let before = serde_json::json!({"audit": old[3].head()});
        let act = serde_json::json!({
            "at": 0, "who": "w", "from": "f", "action": "restore", "object": "o", "phase": "done",
            "before": before,
        });
        let restored = chain(&["a", "b", &act.to_string()]);
        let anchors = [old[1].head(), old[2].head(), old[3].head()];
        let verdict = check(&restored, &anchors);
        assert_eq!(verdict.findings, [""; 0]);
        assert_eq!((verdict.notes.len(), verdict.anchors), (2, 3), "{:?}", verdict.notes);
        // More than the log had then is missing.
        let later = AuditHead { seq: 9, ..old[3].head() };
        assert_eq!(check(&restored, &[later]).findings.len(), 1);
    }
}
