//! What is due of a few runs and of what belongs to them.
//!
//! Looked up from the runs down: from a root to its open runs (`runs_root`), from each of them to
//! its timers and steps by their keys; messages name their root themselves (`messages_root`). So
//! other runs, however many, cost nothing; and the many who ask for everything pay for no index of
//! timers and steps that only this needs.

use std::collections::BTreeSet;

use moa_core::ids::RunId;
use moa_core::time::Millis;
use moa_ports::store::{Due, DueAsk, ReadyAsk, ReadyTask, TaskQueue};
use rusqlite::{Connection, params};

use crate::error::Fail;
use crate::read::{asked, limit_of, mail, on_the_bus, sql_limit};
use crate::rows;
use crate::write::State;

/// The open runs that belong to a root (`?1`), itself among them.
macro_rules! family {
    () => {
        "(SELECT no, id FROM runs WHERE id = ?1 AND root IS NULL AND status < 4 \
         UNION ALL SELECT no, id FROM runs WHERE root = ?1 AND status < 4)"
    };
}

const TIMERS: &str = concat!(
    "SELECT r.id, t.kind, t.step, t.due FROM ",
    family!(),
    " r CROSS JOIN timers t ON t.run_no = r.no WHERE t.due <= ?2 ORDER BY t.due LIMIT ?3"
);
const NEXT_TIMER: &str = concat!(
    "SELECT r.id, t.due FROM ",
    family!(),
    " r CROSS JOIN timers t ON t.run_no = r.no WHERE t.due > ?2 ORDER BY t.due LIMIT ?3"
);
const READY: &str = concat!(
    "SELECT r.id, s.inst, s.queue_key, r.no, s.agent, s.fairness_key FROM ",
    family!(),
    " r CROSS JOIN steps s ON s.run_no = r.no \
     WHERE s.queue_key IS NOT NULL AND s.agent IS NOT NULL"
);
const LOST: &str = concat!(
    "SELECT r.id, s.inst, s.attempt FROM ",
    family!(),
    " r CROSS JOIN steps s ON s.run_no = r.no WHERE s.status = 2 \
     AND (?2 IS NULL OR s.node IS NULL OR s.node <> ?2) LIMIT ?3"
);
const MESSAGES: &str = "SELECT id, run, body FROM messages \
    WHERE root = ?1 AND id > ?2 AND run <> zeroblob(16) ORDER BY id";
const BUS: &str = "SELECT id FROM messages \
    WHERE root = ?1 AND id > ?2 AND run = zeroblob(16) ORDER BY id LIMIT ?3";

/// What is due of what belongs to these roots.
pub(crate) fn due(
    conn: &Connection,
    state: &State,
    ask: &DueAsk,
    roots: &[RunId],
) -> Result<Due, Fail> {
    // Each once, however often it is named.
    let roots: BTreeSet<[u8; 16]> = roots.iter().map(|root| root.to_bytes()).collect();
    let mut found = Found::default();
    for root in roots {
        found.timers(conn, root, ask)?;
        found.messages(conn, root, ask)?;
        if !ask.ready.is_empty() {
            found.ready(conn, root, ask)?;
        }
        if ask.lost {
            found.lost(conn, state, root, ask)?;
        }
    }
    Ok(found.due(ask))
}

/// What was found of each root: enough of each kind for the whole answer.
#[derive(Default)]
struct Found {
    due: Due,
    /// With the number of the run, which decides between equal queue keys.
    ready: Vec<(i64, ReadyTask)>,
}

impl Found {
    fn timers(&mut self, conn: &Connection, root: [u8; 16], ask: &DueAsk) -> Result<(), Fail> {
        // One more than asked for: that one is the next.
        let limit = ask.limit.saturating_add(1);
        let mut stmt = conn.prepare_cached(TIMERS)?;
        let rows = stmt.query(params![root, ask.now.0, limit_of(ask, limit)])?;
        self.due.timers.extend(asked(ask, rows, 0, limit, |row| {
            Ok((rows::run_id(row, 0)?, rows::timer(row, 1)?, Millis(row.get(3)?)))
        })?);
        let mut stmt = conn.prepare_cached(NEXT_TIMER)?;
        let rows = stmt.query(params![root, ask.now.0, limit_of(ask, 1)])?;
        let next = asked(ask, rows, 0, 1, |row| Ok(Millis(row.get(1)?)))?;
        self.due.next_timer = next.into_iter().chain(self.due.next_timer).min();
        Ok(())
    }

    fn messages(&mut self, conn: &Connection, root: [u8; 16], ask: &DueAsk) -> Result<(), Fail> {
        let after = i64::try_from(ask.messages_after).unwrap_or(i64::MAX);
        let mut stmt = conn.prepare_cached(MESSAGES)?;
        self.due.messages.extend(mail(ask, stmt.query(params![root, after])?)?);
        let mut stmt = conn.prepare_cached(BUS)?;
        let rows = stmt.query(params![root, after, sql_limit(ask.limit)])?;
        self.due.bus.extend(on_the_bus(rows)?);
        Ok(())
    }

    fn ready(&mut self, conn: &Connection, root: [u8; 16], ask: &DueAsk) -> Result<(), Fail> {
        let mut stmt = conn.prepare_cached(READY)?;
        let mut rows = stmt.query([root])?;
        while let Some(row) = rows.next()? {
            let run = rows::run_id(row, 0)?;
            let queue = TaskQueue { agent: rows::name(row, 4)?, key: rows::fairness_key(row, 5)? };
            if ask.ready.of(&queue) > 0 && !ask.without.contains(&run) {
                let (inst, queue_key) = (row.get(1)?, row.get(2)?);
                let task = ReadyTask { queue, queue_key, run, inst };
                self.ready.push((row.get(3)?, task));
            }
        }
        Ok(())
    }

    /// Attempts whose node is not the registered one. Not remembered: asked for seldom, and from
    /// few runs.
    fn lost(
        &mut self,
        conn: &Connection,
        state: &State,
        root: [u8; 16],
        ask: &DueAsk,
    ) -> Result<(), Fail> {
        let node = state.node.map(rows::node_to_sql);
        let mut stmt = conn.prepare_cached(LOST)?;
        let rows = stmt.query(params![root, node, limit_of(ask, ask.limit)])?;
        self.due.lost.extend(asked(ask, rows, 0, ask.limit, |row| {
            Ok((rows::run_id(row, 0)?, row.get(1)?, row.get(2)?))
        })?);
        Ok(())
    }

    /// The answer, in the order of all and not longer than asked for.
    fn due(mut self, ask: &DueAsk) -> Due {
        let due = &mut self.due;
        due.timers.sort_by_key(|timer| timer.2);
        let next = due.timers.get(ask.limit).map(|timer| timer.2);
        due.next_timer = next.or(due.next_timer);
        due.timers.truncate(ask.limit);
        due.lost.truncate(ask.limit);
        due.ready = in_order(self.ready, &ask.ready);
        due.messages.sort_unstable_by_key(|message| message.0);
        due.messages.truncate(ask.limit);
        due.bus.sort_unstable();
        due.bus.truncate(ask.limit);
        self.due
    }
}

/// As many tasks of each queue as are asked for: those of queues that the question names first.
fn in_order(mut found: Vec<(i64, ReadyTask)>, ask: &ReadyAsk) -> Vec<ReadyTask> {
    let place = |(no, task): &(i64, ReadyTask)| {
        let queue = task.queue.clone();
        (!ask.of.contains_key(&queue), queue, task.queue_key, *no, task.inst)
    };
    found.sort_by_cached_key(place);
    let mut ready: Vec<ReadyTask> = Vec::new();
    let mut of_queue = 0;
    for (_, task) in found {
        let same = ready.last().is_some_and(|last| last.queue == task.queue);
        of_queue = if same { of_queue + 1 } else { 1 };
        if of_queue <= ask.of(&task.queue) {
            ready.push(task);
        }
    }
    ready.truncate(ask.all);
    ready
}
