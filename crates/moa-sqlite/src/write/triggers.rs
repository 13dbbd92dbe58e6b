//! Writes triggers, their records, and what those who listen are told.

use moa_core::ids::RunId;
use moa_core::machine::{BUS, MessageBody};
use moa_core::run::RunRow;
use moa_core::trigger::{Amendment, Occurrence, TriggerId, TriggerInput};
use moa_ports::store::{Commit, Message, MessageId};
use moa_ports::triggers::{
    Heard, Post, Posted, TriggerCommit, TriggerOutcome, news_of_end, news_of_start,
};
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
        let (last_message, last_event) = (self.state.last_message, self.state.last_event);
        self.execute("SAVEPOINT one_commit")?;
        let done = match self.trigger(commit) {
            Err(fail) if fail.is_of_the_row() => {
                self.execute("ROLLBACK TO one_commit")?;
                (self.state.last_message, self.state.last_event) = (last_message, last_event);
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
        for message in &commit.messages {
            match Post::of(message) {
                Some(post) => _ = self.publish(&post)?,
                None => self.send(message, None)?,
            }
        }
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
             reason = coalesce(?6, reason), run = iif(?5 IS NULL, run, NULL) \
             WHERE trigger_no = ?1 AND key = ?2 AND run = ?3",
        )?;
        stmt.execute(params![no, amendment.key, run, result, number, reason])?;
        // Those that share the run: batched 15, debounced 16. Without being told, SQLite reads all
        // of the trigger's.
        let mut stmt = self.conn.prepare_cached(
            "UPDATE occurrences INDEXED BY occurrences_shared SET result = coalesce(?3, result), outcome = coalesce(?4, outcome), \
             reason = coalesce(?5, reason), run = iif(?4 IS NULL, run, NULL) \
             WHERE trigger_no = ?1 AND run = ?2 AND outcome IN (15, 16)",
        )?;
        stmt.execute(params![no, run, result, number, reason])?;
        Ok(())
    }

    /// Publishes an event that nobody's commit sends; not again when its key has been used.
    pub(super) fn post(&mut self, post: &Post) -> Result<Posted, Fail> {
        let Some(key) = &post.event.key else {
            return Ok(Posted { seq: Some(self.publish(post)?), new: true });
        };
        let sql = "SELECT seq FROM posts WHERE key = ?1";
        let known = self.conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
        if let Some(seq) = known {
            let seq: Option<i64> = seq;
            return Ok(Posted { seq: seq.map(i64::cast_unsigned), new: false });
        }
        let seq = self.publish(post)?;
        let sql = "INSERT INTO posts (key, at, seq) VALUES (?1, ?2, ?3)";
        self.conn.prepare_cached(sql)?.execute(params![key, self.now.0, seq.cast_signed()])?;
        Ok(Posted { seq: Some(seq), new: true })
    }

    /// Writes an event into the history of the bus, and sends it; answers its number.
    fn publish(&mut self, post: &Post) -> Result<u64, Fail> {
        let message = post.message();
        let triggers = self.tell_news(&message)?;
        self.state.last_message += 1;
        self.state.last_event += 1;
        let (sent, seq) = (self.state.last_message.cast_signed(), self.state.last_event);
        let number = seq.cast_signed();
        let sql = "INSERT INTO messages (id, run, body, published) VALUES (?1, ?2, ?3, ?4)";
        let body = self.state.text.of(&message.body)?;
        let bus = BUS.to_bytes();
        self.conn.prepare_cached(sql)?.execute(params![sent, bus, body, number])?;
        self.history.raw_bind_parameter(1, number)?;
        self.history.raw_bind_parameter(2, 0)?;
        self.history.raw_bind_parameter(3, number)?;
        self.history.raw_bind_parameter(4, self.now.0)?;
        self.history.raw_bind_parameter(5, self.state.text.of(&post.events())?)?;
        self.history.raw_execute()?;
        let heard = Heard { triggers, ..Heard::default() };
        let sql = "INSERT INTO published (seq, at, heard) VALUES (?1, ?2, ?3)";
        let heard = self.state.text.of(&heard)?;
        self.conn.prepare_cached(sql)?.execute(params![number, self.now.0, heard])?;
        Ok(seq)
    }

    /// Keeps which runs get a published event; nothing when that is deleted by now.
    pub(super) fn reached(
        &mut self,
        seq: i64,
        runs: impl IntoIterator<Item = RunId>,
    ) -> Result<(), Fail> {
        let mut stmt = self.conn.prepare_cached("SELECT heard FROM published WHERE seq = ?1")?;
        let mut found = stmt.query([seq])?;
        let Some(row) = found.next()? else { return Ok(()) };
        let mut heard: Heard = rows::heard(row, 0)?;
        heard.reach(runs);
        let sql = "UPDATE published SET heard = ?2 WHERE seq = ?1";
        let heard = self.state.text.of(&heard)?;
        self.conn.prepare_cached(sql)?.execute(params![seq, heard])?;
        Ok(())
    }

    /// Tells those who listen of an event that is sent to the bus; answers who that is.
    pub(super) fn tell_news(
        &mut self,
        message: &Message,
    ) -> Result<Vec<(TriggerId, MessageId)>, Fail> {
        if message.to == BUS
            && self.is_heard()?
            && let Some(news) = message.news(self.now)
        {
            return self.tell(news);
        }
        Ok(Vec::new())
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

    /// Tells all who listen to a topic; answers who that is, with the messages. Costs nothing while nobody
    /// listens to anything.
    pub(super) fn tell(
        &mut self,
        news: (String, TriggerInput),
    ) -> Result<Vec<(TriggerId, MessageId)>, Fail> {
        let (topic, input) = news;
        let mut stmt = self.conn.prepare_cached(
            "SELECT t.id FROM listeners l CROSS JOIN triggers t ON t.no = l.trigger_no \
             WHERE l.topic = ?1 ORDER BY t.id",
        )?;
        let listeners = stmt.query_map([topic], |row| row.get(0).map(TriggerId::from_bytes))?;
        let listeners: Vec<TriggerId> = listeners.collect::<Result<_, _>>()?;
        drop(stmt);
        let body = MessageBody::Trigger(Box::new(input));
        let mut told = Vec::with_capacity(listeners.len());
        for id in listeners {
            self.send_one(&Message { to: id.address(), body: body.clone() }, None)?;
            told.push((id, self.state.last_message));
        }
        Ok(told)
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
