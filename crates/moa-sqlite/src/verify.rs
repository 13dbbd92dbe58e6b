//! Checks the data itself: every page's seal, SQLite's own structures, and what must hold between
//! the rows. For `moa doctor`: it reads everything.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use moa_core::ids::RunId;
use rusqlite::{Connection, Row};

use crate::error::{Fail, Verdict};
use crate::views::has_log;
use crate::{rows, scan};

/// Findings of one check that are listed one by one; of more, only the number is told.
const LINES_MAX: usize = 20;

/// One line for each thing that is wrong.
pub(crate) fn all(conn: &Connection, path: &Path) -> Result<Vec<String>, Fail> {
    let mut pages = Vec::new();
    let mut add = |page, damage: crate::seal::Damage| {
        pages.push(format!("{}: page {page} {}", path.display(), damage.as_str()));
    };
    let stop = AtomicBool::new(false);
    if let Err(e) = scan::pages(path, scan::Beside::Store, &stop, &mut add) {
        pages.push(format!("{}: {e}", path.display()));
    }
    match rows_and_structures(conn).map_err(|fail| (fail.verdict(), pages.is_empty())) {
        // What the log has whole may be half-written in the file: then nothing is wrong.
        Ok(lines) if lines.is_empty() && has_log(path) => Ok(lines),
        Ok(lines) => Ok([pages, lines].concat()),
        Err((Verdict::Corrupt(check), true)) => Ok(vec![format!("{}: {check}", path.display())]),
        Err((Verdict::Corrupt(_), false)) => Ok(pages),
        Err((verdict, _)) => Err(verdict.into()),
    }
}

/// What is wrong with SQLite's own structures, whatever the schema.
pub(crate) fn structures(conn: &Connection) -> Result<Vec<String>, Fail> {
    let mut lines = Vec::new();
    let mut stmt = conn.prepare("PRAGMA integrity_check")?;
    let mut found = stmt.query([])?;
    while let Some(row) = found.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            lines.push(line);
        }
    }
    Ok(lines)
}

fn rows_and_structures(conn: &Connection) -> Result<Vec<String>, Fail> {
    let mut lines = structures(conn)?;
    for (what, sql) in CHECKS {
        lines.extend(check(conn, what, sql)?);
    }
    lines.extend(unreadable(conn)?);
    Ok(lines)
}

/// What must never be found: a sentence, and a query of run ids (or nothing) and numbers.
const CHECKS: [(&str, &str); 16] = [
    (
        "its history has a gap",
        "SELECT r.id, count(h.version) FROM runs r LEFT JOIN history h ON h.run_no = r.no \
         GROUP BY r.no HAVING count(h.version) = 0 \
         OR count(h.version) <> max(h.version) - min(h.version) + 1 \
         OR (min(h.version) <> 1 AND r.status < 4)",
    ),
    (
        "history of a run that is not there",
        "SELECT NULL, h.seq FROM history h WHERE NOT EXISTS \
         (SELECT 1 FROM runs r WHERE r.no = h.run_no) AND h.run_no <> 0 \
         AND h.run_no NOT IN (SELECT d.run_no FROM doomed d)",
    ),
    (
        "a published event of which nothing is told",
        "SELECT NULL, p.seq FROM published p WHERE NOT EXISTS \
         (SELECT 1 FROM history h WHERE h.seq = p.seq AND h.run_no = 0)",
    ),
    (
        "a published event of which nobody can have heard",
        "SELECT NULL, h.seq FROM history h WHERE h.run_no = 0 AND NOT EXISTS \
         (SELECT 1 FROM published p WHERE p.seq = h.seq)",
    ),
    (
        "a step of a run that is not there",
        "SELECT NULL, s.run_no FROM steps s WHERE NOT EXISTS \
         (SELECT 1 FROM runs r WHERE r.no = s.run_no) \
         AND s.run_no NOT IN (SELECT d.run_no FROM doomed d)",
    ),
    (
        "a timer of a run that is not there",
        "SELECT NULL, t.run_no FROM timers t WHERE NOT EXISTS \
         (SELECT 1 FROM runs r WHERE r.no = t.run_no)",
    ),
    (
        "it ended, but has an open step",
        "SELECT r.id, s.inst FROM runs r CROSS JOIN steps s ON s.run_no = r.no \
         WHERE r.status >= 4 AND s.status < 4",
    ),
    (
        "it ended, but has a timer",
        "SELECT r.id, t.step FROM timers t CROSS JOIN runs r ON r.no = t.run_no \
         WHERE r.status >= 4",
    ),
    (
        "a step is queued, but not ready",
        "SELECT r.id, s.inst FROM steps s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE s.queue_key IS NOT NULL AND s.status <> 1",
    ),
    (
        "a step is queued, but for no agent",
        "SELECT r.id, s.inst FROM steps s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE s.queue_key IS NOT NULL AND s.agent IS NULL",
    ),
    (
        "it ended, but has a concurrency slot",
        "SELECT r.id, s.run_no FROM slots s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE r.status >= 4",
    ),
    (
        "it is not kept with what belongs together",
        "SELECT r.id, r.no FROM runs r LEFT JOIN runs p ON p.id = r.parent \
         WHERE r.root IS NOT CASE WHEN r.parent IS NULL THEN NULL \
         WHEN p.id IS NULL THEN coalesce(r.root, r.parent) ELSE coalesce(p.root, p.id) END",
    ),
    (
        "it is being deleted, and is still there",
        "SELECT r.id, r.no FROM doomed d CROSS JOIN runs r ON r.no = d.run_no",
    ),
    (
        "an occurrence of a trigger that is not there",
        "SELECT NULL, o.trigger_no FROM occurrences o WHERE NOT EXISTS \
         (SELECT 1 FROM triggers t WHERE t.no = o.trigger_no)",
    ),
    (
        "a listener that is not there",
        "SELECT NULL, l.trigger_no FROM listeners l WHERE NOT EXISTS \
         (SELECT 1 FROM triggers t WHERE t.no = l.trigger_no)",
    ),
    (
        "its params are missing",
        "SELECT r.id, r.no FROM runs r WHERE r.params IS NULL AND NOT EXISTS \
         (SELECT 1 FROM run_params p WHERE p.run_no = r.no)",
    ),
];

fn check(conn: &Connection, what: &str, sql: &str) -> Result<Vec<String>, Fail> {
    let mut stmt = conn.prepare(sql)?;
    let mut found = stmt.query([])?;
    let mut list = List::default();
    while let Some(row) = found.next()? {
        let run: Option<[u8; 16]> = row.get(0)?;
        let number: i64 = row.get(1)?;
        list.add(|| match run {
            Some(run) => format!("run {}: {what} ({number})", RunId::from_bytes(run)),
            None => format!("{what} ({number})"),
        });
    }
    Ok(list.lines(what))
}

/// Reads every row as the engine would.
fn unreadable(conn: &Connection) -> Result<Vec<String>, Fail> {
    let mut lines = Vec::new();
    let runs = format!("SELECT {} FROM runs r", rows::RUN);
    lines.extend(each(conn, "runs", &runs, |row| rows::run(row).map(drop))?);
    let steps = format!("SELECT {} FROM steps", rows::STEP);
    lines.extend(each(conn, "steps", &steps, |row| rows::step(row).map(drop))?);
    let history = format!("SELECT {} FROM history h", rows::HISTORY);
    let read = |row: &Row<'_>| rows::history(row, RunId(0)).map(drop);
    lines.extend(each(conn, "history", &history, read)?);
    let messages = "SELECT id, run, body FROM messages";
    lines.extend(each(conn, "messages", messages, |row| rows::message(row).map(drop))?);
    let triggers = format!("SELECT {} FROM triggers", rows::TRIGGER);
    lines.extend(each(conn, "triggers", &triggers, |row| rows::trigger(row).map(drop))?);
    let occurrences = format!("SELECT {} FROM occurrences", rows::OCCURRENCE);
    lines.extend(each(conn, "occurrences", &occurrences, |row| rows::occurrence(row).map(drop))?);
    let heard = "SELECT heard FROM published";
    lines.extend(each(conn, "published", heard, |row| rows::heard(row, 0).map(drop))?);
    let workflows = format!("SELECT {} FROM workflows", rows::WORKFLOW);
    lines.extend(each(conn, "workflows", &workflows, |row| rows::workflow(row).map(drop))?);
    Ok(lines)
}

fn each(
    conn: &Connection,
    table: &str,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<(), Fail>,
) -> Result<Vec<String>, Fail> {
    let mut stmt = conn.prepare(sql)?;
    let mut found = stmt.query([])?;
    let mut list = List::default();
    while let Some(row) = found.next()? {
        match read(row) {
            Ok(()) => {}
            Err(Fail::Data(what)) => list.add(|| format!("{table}: {what}")),
            Err(Fail::Sql(error)) => list.add(|| format!("{table}: {error}")),
            Err(other) => return Err(other),
        }
    }
    Ok(list.lines(table))
}

/// Lines, up to a limit.
#[derive(Default)]
struct List {
    lines: Vec<String>,
    more: usize,
}

impl List {
    fn add(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    fn lines(mut self, what: &str) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("{what}: {} more", self.more));
        }
        self.lines
    }
}
