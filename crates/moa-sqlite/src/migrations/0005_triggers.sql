-- Triggers, what became of their occurrences, and who listens to what.

-- `no` is the trigger's number in order of creation; people and the API see `id`, a UUID.
CREATE TABLE triggers (
  no       INTEGER PRIMARY KEY,
  id       BLOB NOT NULL UNIQUE,
  workflow TEXT NOT NULL,
  name     TEXT NOT NULL,
  version  INTEGER NOT NULL,
  spec     TEXT NOT NULL,
  state    TEXT NOT NULL,
  due_at   INTEGER
);
CREATE UNIQUE INDEX triggers_name ON triggers (workflow, name);
CREATE INDEX triggers_due ON triggers (due_at) WHERE due_at IS NOT NULL;

-- One row for each occurrence that was decided about, or for a range of slots with the same fate.
-- `origin` is 0 live, 1 catch-up, 2 by hand, and 2 + N for backfill N; `outcome` and `result` are
-- the numbers of moa-core.
CREATE TABLE occurrences (
  trigger_no INTEGER NOT NULL,
  key        TEXT NOT NULL,
  at         INTEGER NOT NULL,
  utc_offset INTEGER,               -- seconds east of UTC
  last       INTEGER,
  count      INTEGER NOT NULL,
  revision   INTEGER NOT NULL,
  origin     INTEGER NOT NULL,
  outcome    INTEGER NOT NULL,
  reason     TEXT,
  run        BLOB,
  result     INTEGER,
  decided_at INTEGER NOT NULL,
  PRIMARY KEY (trigger_no, key)
) WITHOUT ROWID;
CREATE INDEX occurrences_at ON occurrences (trigger_no, at, key);
-- For retention; what is open (waiting 1, buffered 2) is never old.
CREATE INDEX occurrences_decided ON occurrences (decided_at) WHERE outcome NOT IN (1, 2);

-- Who is told of runs that start (`started:WORKFLOW`) and end (`ended:WORKFLOW`), and of events
-- (`event:TYPE`).
CREATE TABLE listeners (
  topic      TEXT NOT NULL,
  trigger_no INTEGER NOT NULL,
  PRIMARY KEY (topic, trigger_no)
) WITHOUT ROWID;
CREATE INDEX listeners_trigger ON listeners (trigger_no);

-- Keys of events that somebody outside of all runs has published.
CREATE TABLE posts (
  key TEXT PRIMARY KEY,
  at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX posts_at ON posts (at);

-- What started a run, if a trigger did. Written once, so that a change of the run's row doesn't
-- write it again.
CREATE TABLE run_triggers (
  run_no       INTEGER PRIMARY KEY,
  trigger_json TEXT NOT NULL
);

-- For people: these two keep their names and columns when the tables change.
--
-- v_triggers: trigger, workflow, name, kind, paused, removed, due_at, spec, state
-- v_occurrences: trigger, workflow, name, key, at, last, count, outcome, reason, run, result,
--   decided_at
CREATE VIEW v_triggers AS
SELECT
  lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
    || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS "trigger",
  workflow,
  name,
  spec ->> '$.source.kind' AS kind,
  state ->> '$.paused.reason' AS paused,
  coalesce(state ->> '$.removed', 0) AS removed,
  strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') AS due_at,
  spec,
  state
FROM triggers;

CREATE VIEW v_occurrences AS
SELECT
  lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-'
    || substr(hex(t.id), 13, 4) || '-' || substr(hex(t.id), 17, 4) || '-'
    || substr(hex(t.id), 21)) AS "trigger",
  t.workflow,
  t.name,
  o.key,
  strftime('%Y-%m-%dT%H:%M:%fZ', o.at / 1000.0, 'unixepoch') AS at,
  strftime('%Y-%m-%dT%H:%M:%fZ', o.last / 1000.0, 'unixepoch') AS last,
  o.count,
  CASE o.outcome WHEN 0 THEN 'started' WHEN 1 THEN 'waiting' WHEN 2 THEN 'buffered'
    WHEN 3 THEN 'skipped_overlap' WHEN 4 THEN 'skipped_calendar' WHEN 5 THEN 'skipped_paused'
    WHEN 6 THEN 'skipped_late' WHEN 7 THEN 'skipped_disabled' WHEN 8 THEN 'skipped_limit'
    WHEN 9 THEN 'missed' WHEN 10 THEN 'deduped' WHEN 11 THEN 'discarded' WHEN 12 THEN 'failed'
    WHEN 13 THEN 'filtered' WHEN 14 THEN 'skipped_finished' END AS outcome,
  o.reason,
  lower(substr(hex(o.run), 1, 8) || '-' || substr(hex(o.run), 9, 4) || '-'
    || substr(hex(o.run), 13, 4) || '-' || substr(hex(o.run), 17, 4) || '-'
    || substr(hex(o.run), 21)) AS run,
  CASE o.result WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed' WHEN 6 THEN 'cancelled' END AS result,
  strftime('%Y-%m-%dT%H:%M:%fZ', o.decided_at / 1000.0, 'unixepoch') AS decided_at
FROM occurrences o JOIN triggers t ON t.no = o.trigger_no;
