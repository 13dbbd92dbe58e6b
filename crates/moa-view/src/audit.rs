//! The audit log as people read it: each act with what came of it, the newest first.

use std::collections::HashMap;

use moa_core::time::Millis;
use moa_ports::audit::{Act, AuditEntry, AuditHead, Phase};
use moa_ports::views::Views;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::exit::Result;

/// Entries read at once.
const PAGE: u64 = 1000;
/// Entries behind a page that are searched for what came of the acts in it.
const AHEAD: u64 = 20_000;

/// An act with what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The number of its first entry.
    pub seq: u64,
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
    /// Of this action; `run.*` are all that begin so.
    pub action: Option<String>,
    /// Of those whose name holds this text.
    pub who: Option<String>,
    /// Only entries of lower numbers.
    pub before: Option<u64>,
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
    /// `before` of the next part; `None` = there is none.
    pub next: Option<u64>,
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
    /// For programs.
    pub fn document(&self) -> Json {
        let Self { seq, asked, ended } = self;
        let (phase, object) = match ended {
            Some(ended) => (ended.phase, &ended.object),
            None => (asked.phase, &asked.object),
        };
        json!({
            "seq": seq,
            "at": asked.at.to_string(),
            "who": asked.who,
            "from": asked.from,
            "action": asked.action,
            "object": object,
            "outcome": phase.as_str(),
            "before": asked.before,
            "asked": asked.after,
            "after": ended.as_ref().and_then(|act| act.after.clone()),
            "error": ended.as_ref().and_then(|act| act.error.clone()),
        })
    }
}

/// The acts that were asked for, the newest first.
///
/// # Errors
/// The store can't be read.
pub async fn list(views: &dyn Views, filter: &Filter) -> Result<Acts> {
    let newest = views.audit_head().await?.map_or(0, |head| head.seq);
    let first = filter.before.map_or(newest, |before| before.saturating_sub(1).min(newest));
    let lowest = filter.look.map_or(0, |look| first.saturating_sub(look));
    let mut end = first;
    let mut ends: HashMap<u64, Act> = HashMap::new();
    let mut found: Vec<Listed> = Vec::new();
    while end > lowest && found.len() < filter.limit {
        let start = end.saturating_sub(PAGE).max(lowest);
        let page = views.audit(start, (end - start) as usize).await?;
        for entry in page.iter().rev().filter(|entry| entry.seq <= end) {
            let act = act_of(entry);
            if let Some(of) = act.of {
                ends.insert(of, act);
                continue;
            }
            let ended = match act.phase {
                // One that took effect with its entry, or was refused before it was begun.
                Phase::Done | Phase::Refused => Some(Act { after: None, ..act.clone() }),
                Phase::Asked => ends.remove(&entry.seq),
            };
            if filter.wants(&act) && found.len() < filter.limit {
                found.push(Listed { seq: entry.seq, asked: act, ended });
            }
        }
        end = start;
    }
    if first < newest {
        look_ahead(views, first, &mut found).await?;
    }
    let next = match found.len() < filter.limit {
        true => (end > 0).then_some(end + 1),
        false => found.last().map(|last| last.seq),
    };
    Ok(Acts { acts: found, next: next.filter(|next| *next > 1) })
}

/// Finds out what came of acts whose ends stand behind the part that was asked for.
async fn look_ahead(views: &dyn Views, from: u64, found: &mut [Listed]) -> Result<()> {
    let open = found.iter().enumerate().filter(|(_, listed)| listed.ended.is_none());
    let mut open: HashMap<u64, usize> = open.map(|(i, listed)| (listed.seq, i)).collect();
    let mut after = from;
    while !open.is_empty() && after < from + AHEAD {
        let page = views.audit(after, PAGE as usize).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for act in page.iter().map(act_of) {
            if let Some(i) = act.of.and_then(|of| open.remove(&of)) {
                found[i].ended = Some(act);
            }
        }
    }
    Ok(())
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
    fn wants(&self, act: &Act) -> bool {
        // Entries are in the order in which they were written; a clock may have been set back.
        let recent = self.since.is_none_or(|since| act.at >= since);
        let action = self.action.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => act.action.starts_with(start),
            None => act.action == wanted,
        });
        recent && action && self.who.as_deref().is_none_or(|who| act.who.contains(who))
    }
}
