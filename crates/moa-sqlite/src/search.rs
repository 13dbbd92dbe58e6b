//! Runs that hold a text. There is no index of texts: as many runs are read as a search may look at,
//! in small parts, and the params of each by itself, so that no sorting ever holds them all.

use std::collections::VecDeque;

use moa_ports::search::{Found, Search, find};
use moa_ports::views::{RunFilter, RunSummary};
use rusqlite::{Connection, OptionalExtension};

use crate::error::Fail;
use crate::queries;

/// Runs that are read at once.
const PART: usize = 250;

/// Runs that hold a text.
pub(crate) fn runs(conn: &Connection, search: &Search) -> Result<Found, Fail> {
    let mut filter = RunFilter { limit: PART, oldest_first: false, ..search.filter.clone() };
    let mut part: VecDeque<RunSummary> = VecDeque::new();
    let mut last = false;
    let mut params = conn.prepare_cached(
        "SELECT coalesce(r.params, (SELECT p.params FROM run_params p WHERE p.run_no = r.no)) \
         FROM runs r WHERE r.id = ?1",
    )?;
    find(search, || {
        if part.is_empty() && !last {
            part = queries::runs(conn, &filter)?.into();
            last = part.len() < PART;
            filter.before = part.back().map(|run| run.run);
        }
        let Some(run) = part.pop_front() else { return Ok(None) };
        // It may be deleted meanwhile.
        let text: Option<Option<String>> =
            params.query_row([run.run.to_bytes()], |row| row.get(0)).optional()?;
        Ok(Some((run, text.flatten().unwrap_or_default())))
    })
}
