//! The newest commits, read backwards.

use moa_ports::views::{HistoryRow, Views};

use crate::exit::Result;

/// Commits read at once.
const ROWS: u64 = 64;
/// Events read at once, about.
const EVENTS: usize = 4096;

/// Commits up to one, in parts, the newest part first.
///
/// The store reads forwards, and a commit may hold thousands of events; so parts are as small as it
/// takes, and whoever has enough stops asking.
#[derive(Debug, Clone)]
pub struct Newest {
    upto: u64,
    rows: u64,
}

impl Newest {
    /// From a commit on backwards, itself included.
    pub fn upto(seq: u64) -> Self {
        Self { upto: seq, rows: ROWS }
    }

    /// The event number up to which commits have not been read yet; 0 = all have.
    pub fn left(&self) -> u64 {
        self.upto
    }

    /// The next part, oldest commit first; empty where history has been deleted.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn part(&mut self, views: &dyn Views) -> Result<Vec<HistoryRow>> {
        loop {
            let (after, rows) = (self.after(), self.rows as usize);
            if let Some(part) = self.take(views.events(after, rows, EVENTS).await?) {
                return Ok(part);
            }
        }
    }

    fn after(&self) -> u64 {
        self.upto.saturating_sub(self.rows)
    }

    /// Takes what is behind [`Self::after`]; `None` = it doesn't reach as far as it must, and less is
    /// asked for.
    fn take(&mut self, mut found: Vec<HistoryRow>) -> Option<Vec<HistoryRow>> {
        let held: usize = found.iter().map(|row| row.events.len()).sum();
        let reaches = found.last().is_none_or(|row| row.seq >= self.upto);
        if held >= EVENTS && !reaches && self.rows > 1 {
            self.rows /= 2;
            return None;
        }
        found.retain(|row| row.seq <= self.upto);
        self.upto = self.after();
        if held < EVENTS / 4 {
            self.rows = (self.rows * 2).min(ROWS);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use moa_core::event::Event;
    use moa_core::ids::RunId;
    use moa_core::time::Millis;

    use super::*;

    /// What a store answers that holds commits with so many events each.
    fn answer(held: &[(u64, usize)], after: u64, rows: u64) -> Vec<HistoryRow> {
        let (mut all, mut events) = (Vec::new(), 0);
        for (seq, count) in held.iter().filter(|(seq, _)| *seq > after).take(rows as usize) {
            let these = vec![Event::RunStarted; *count];
            let (run, version, at) = (RunId(1), *seq, Millis(0));
            all.push(HistoryRow { seq: *seq, run, version, at, events: these });
            events += count;
            if events >= EVENTS {
                break;
            }
        }
        all
    }

    /// The event numbers of all parts, newest part first.
    fn parts(held: &[(u64, usize)], upto: u64) -> Vec<Vec<u64>> {
        let mut newest = Newest::upto(upto);
        let mut parts = Vec::new();
        while newest.left() > 0 {
            let found = answer(held, newest.after(), newest.rows);
            if let Some(part) = newest.take(found) {
                parts.push(part.iter().map(|row| row.seq).collect());
            }
        }
        parts
    }

    #[test]
    fn every_commit_comes_once_however_much_each_holds() {
        let sizes: [fn(u64) -> usize; 4] =
            [|_| 1, |_| 9000, |seq| (seq as usize % 7) * 1500, |seq| 1 << (seq % 14)];
        for (size, gaps) in sizes.into_iter().zip([1, 1, 2, 3]) {
            let held: Vec<_> = (1..=300).step_by(gaps).map(|seq| (seq, size(seq))).collect();
            let all: Vec<u64> = parts(&held, 290).into_iter().rev().flatten().collect();
            let known = held.iter().map(|(seq, _)| *seq).filter(|seq| *seq <= 290);
            assert_eq!(all, known.collect::<Vec<u64>>());
        }
    }

    #[test]
    fn a_part_holds_little_more_than_one_large_commit() {
        let held: Vec<_> = (1..=100).map(|seq| (seq, 3000)).collect();
        assert!(parts(&held, 100).iter().all(|part| part.len() <= 2));
        let small: Vec<_> = (1..=100).map(|seq| (seq, 10)).collect();
        assert_eq!(parts(&small, 100).iter().map(Vec::len).collect::<Vec<_>>(), [64, 36]);
    }
}
