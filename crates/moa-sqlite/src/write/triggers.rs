//! Writes triggers, their records, and what those who listen are told.

use moa_core::machine::MessageBody;
use moa_core::run::RunRow;
use moa_core::time::Millis;
use moa_core::trigger::{Amendment, Occurrence, TriggerId, TriggerInput};
use moa_ports::store::{Commit, Message};
use moa_ports::triggers::{Post, TriggerCommit, TriggerOutcome, news_of_end, news_of_start};
use rusqlite::{OptionalExtension, params};

use super::Writer;
use crate::error::Fail;
use crate::read::collect;
use crate::rows;

impl Writer<'_> {
    /// The same as `trigger`; one that can't be written leaves nothing behind.
    pub(super) fn trigger_carefully(
        &mut self,
        commit: &TriggerCommit,
    ) -> Result<TriggerOutcome, Fail> {
        let last_message = self.state.last_message;
        self.execute("SAVEPOINT one_commit")?;
        let done = match self.trigger(commit) {
            Err(fail) if fail.is_of_the_row() => {
                self.execute("ROLLBACK TO one_commit")?;
                self.state.last_message = last_message;
                self.state.listeners = None;
                TriggerOutcome::Invalid(fail.text())
            }
            done => done?,
        };
        self.execute("RELEASE one_commit")?;
        Ok(done)
    }

    /// One commit of a trigger: first all that can refuse it, then everything is written.
    pub(super) fn trigger(&mut self, commit: &TriggerCommit) -> Result<TriggerOutcome, Fail> {
        let known = self.find_trigger(commit.id)?;
        if known.map_or(0, |known| known.1) != commit.expected
            || !self.messages_exist(&commit.consumed)?
        {
            return Ok(TriggerOutcome::Conflict);
        }
        if let Some((no, _)) = known {
            let found = self.known_occurrences(no, commit)?;
            if !found.is_empty() {
                return Ok(TriggerOutcome::Duplicate(found));
            }
        }
        let no = match (known, &commit.spec) {
            (Some((no, _)), _) => self.update_trigger(no, commit)?,
            (None, Some(_)) => self.insert_trigger(commit)?,
            (None, None) => return Ok(TriggerOutcome::Conflict),
        };
        if let Some(topics) = &commit.listens {
            self.listen(no, topics)?;
        }
        for record in &commit.records {
            self.record(no, &record.occurrence)?;
        }
        for amendment in &commit.amendments {
            self.amend(no, amendment)?;
        }
        for id in &commit.consumed {
            self.delete_message(*id)?;
        }
        commit.messages.iter().try_for_each(|message| self.send(message, None))?;
        Ok(TriggerOutcome::Applied)
    }

    /// The number and version of a trigger, if it exists.
    fn find_trigger(&self, id: TriggerId) -> Result<Option<(i64, u64)>, Fail> {
        let sql = "SELECT no, version FROM triggers WHERE id = ?1";
        let mut stmt = self.conn.prepare_cached(sql)?;
        let mut found = stmt.query([id.to_bytes()])?;
        let Some(row) = found.next()? else { return Ok(None) };
        Ok(Some((row.get(0)?, rows::count(row, 1)?)))
    }

    /// Records that are there although the commit says that they are new.
    fn known_occurrences(&self, no: i64, commit: &TriggerCommit) -> Result<Vec<Occurrence>, Fail> {
        let mut found = Vec::new();
        for record in commit.records.iter().filter(|record| record.new) {
            let mut stmt = self.conn.prepare_cached(&format!(
                "SELECT {} FROM occurrences WHERE trigger_no = ?1 AND key = ?2",
                rows::OCCURRENCE
            ))?;
            let rows = stmt.query(params![no, record.occurrence.key])?;
            found.extend(collect(rows, rows::occurrence)?);
        }
        Ok(found)
    }

    fn insert_trigger(&mut self, commit: &TriggerCommit) -> Result<i64, Fail> {
        let Some(spec) = &commit.spec else { return Err(Fail::Invalid("no spec".into())) };
        let mut stmt = self.conn.prepare_cached(
            "INSERT INTO triggers (id, workflow, name, version, spec, state, due_at) \
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6)",
        )?;
        stmt.raw_bind_parameter(1, commit.id.to_bytes())?;
        stmt.raw_bind_parameter(2, spec.workflow.as_str())?;
        stmt.raw_bind_parameter(3, spec.label())?;
        stmt.raw_bind_parameter(4, self.state.text.of(spec)?)?;
        stmt.raw_bind_parameter(5, self.state.text.of(&commit.state)?)?;
        stmt.raw_bind_parameter(6, commit.due_at.map(|at| at.0))?;
        stmt.raw_execute()?;
        Ok(self.conn.last_insert_rowid())
    }

    fn update_trigger(&mut self, no: i64, commit: &TriggerCommit) -> Result<i64, Fail> {
        let mut stmt = self.conn.prepare_cached(
            "UPDATE triggers SET version = version + 1, state = ?2, due_at = ?3 WHERE no = ?1",
        )?;
        let state = self.state.text.of(&commit.state)?;
        stmt.execute(params![no, state, commit.due_at.map(|at| at.0)])?;
        if let Some(spec) = &commit.spec {
            let mut stmt =
                // A rule may be told of another workflow.
                self.conn.prepare_cached("UPDATE triggers SET spec = ?2, workflow = ?3 WHERE no = ?1")?;
            let workflow = spec.workflow.as_str();
            stmt.execute(params![no, self.state.text.of(spec)?, workflow])?;
        }
        Ok(no)
    }

    fn listen(&mut self, no: i64, topics: &[String]) -> Result<(), Fail> {
        self.conn.prepare_cached("DELETE FROM listeners WHERE trigger_no = ?1")?.execute([no])?;
        for topic in topics {
            self.conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO listeners (topic, trigger_no) VALUES (?1, ?2)",
                )?
                .execute(params![topic, no])?;
        }
        self.state.listeners = None;
        Ok(())
    }

    fn record(&self, no: i64, occurrence: &Occurrence) -> Result<(), Fail> {
        let o = occurrence;
        let mut stmt = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO occurrences (trigger_no, key, at, utc_offset, last, count, \
             revision, origin, outcome, reason, run, result, decided_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        stmt.execute(params![
            no,
            o.key,
            o.at.0,
            o.offset,
            o.last.map(|at| at.0),
            o.count.cast_signed(),
            o.revision.0.cast_signed(),
            rows::origin_to_sql(o.origin),
            o.outcome as u8,
            o.reason,
            o.run.map(|run| run.to_bytes()),
            o.result.map(|status| status as u8),
            o.decided_at.0,
        ])?;
        Ok(())
    }

    fn amend(&self, no: i64, amendment: &Amendment) -> Result<(), Fail> {
        let outcome = amendment.outcome.as_ref();
        let result = amendment.result.map(|status| status as u8);
        let run = amendment.run.to_bytes();
        let number = outcome.map(|(outcome, _)| *outcome as u8);
        let reason = outcome.map(|(_, reason)| reason);
        let mut stmt = self.conn.prepare_cached(
            "UPDATE occurrences SET result = coalesce(?4, result), outcome = coalesce(?5, outcome), \
             reason = coalesce(?6, reason) WHERE trigger_no = ?1 AND key = ?2 AND run = ?3",
        )?;
        stmt.execute(params![no, amendment.key, run, result, number, reason])?;
        // Those that share the run: batched 15, debounced 16. Without being told, SQLite reads all
        // of the trigger's.
        let mut stmt = self.conn.prepare_cached(
            "UPDATE occurrences INDEXED BY occurrences_shared SET result = coalesce(?3, result), outcome = coalesce(?4, outcome), \
             reason = coalesce(?5, reason) \
             WHERE trigger_no = ?1 AND run = ?2 AND outcome IN (15, 16)",
        )?;
        stmt.execute(params![no, run, result, number, reason])?;
        Ok(())
    }

    /// Sends an event that nobody's commit sends; false when its key has been used.
    pub(super) fn post(&mut self, now: Millis, post: &Post) -> Result<bool, Fail> {
        if let Some(key) = &post.key {
            let sql = "INSERT OR IGNORE INTO posts (key, at) VALUES (?1, ?2)";
            if self.conn.prepare_cached(sql)?.execute(params![key, now.0])? == 0 {
                return Ok(false);
            }
        }
        self.send(&post.message, None)?;
        Ok(true)
    }

    /// Tells those who listen of a run that has come to be, or has ended.
    pub(super) fn tell_of_run(&mut self, row: &RunRow, commit: &Commit) -> Result<(), Fail> {
        if commit.expected == 0 {
            self.tell(news_of_start(row))?;
        }
        if commit.ended {
            self.tell(news_of_end(row, self.now))?;
        }
        Ok(())
    }

    /// Tells all who listen to a topic. Costs nothing while nobody listens to anything.
    pub(super) fn tell(&mut self, news: (String, TriggerInput)) -> Result<(), Fail> {
        let (topic, input) = news;
        let mut stmt = self.conn.prepare_cached(
            "SELECT t.id FROM listeners l CROSS JOIN triggers t ON t.no = l.trigger_no \
             WHERE l.topic = ?1 ORDER BY t.id",
        )?;
        let listeners = stmt.query_map([topic], |row| row.get(0).map(TriggerId::from_bytes))?;
        let listeners: Vec<TriggerId> = listeners.collect::<Result<_, _>>()?;
        drop(stmt);
        let body = MessageBody::Trigger(Box::new(input));
        for id in listeners {
            self.send_one(&Message { to: id.address(), body: body.clone() }, None)?;
        }
        Ok(())
    }

    /// Whether anybody listens to anything.
    pub(super) fn is_heard(&mut self) -> Result<bool, Fail> {
        if let Some(heard) = self.state.listeners {
            return Ok(heard);
        }
        let mut stmt = self.conn.prepare_cached("SELECT 1 FROM listeners LIMIT 1")?;
        let heard = stmt.query_row([], |_| Ok(())).optional()?.is_some();
        self.state.listeners = Some(heard);
        Ok(heard)
    }
}
