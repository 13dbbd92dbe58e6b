-- The first schema. Times are integer milliseconds UTC, JSON is text, numbers of statuses are those
-- of moa-core (RunStatus, StepStatus, ...). Never edited once released: changes are new migrations.
--
-- Rows of a run are keyed by `no`, the run's number in order of creation: small, and compared by
-- SQLite's fast path for integers. People and the API see `id`, the UUID (16 bytes, big-endian).

CREATE TABLE runs (
  no              INTEGER PRIMARY KEY,
  id              BLOB NOT NULL UNIQUE,
  workflow        TEXT NOT NULL,
  hash            BLOB NOT NULL,
  status          INTEGER NOT NULL,
  phase           INTEGER NOT NULL,
  priority        INTEGER NOT NULL,
  params          TEXT,             -- NULL = too long for the row: see run_params
  parent          BLOB,
  parent_step     INTEGER,
  parent_depth    INTEGER,
  created_at      INTEGER NOT NULL,
  started_at      INTEGER,
  finished_at     INTEGER,
  output          TEXT,
  error           TEXT,
  extra           TEXT NOT NULL,
  idempotency_key TEXT
);
-- All but the many that succeeded, so that open and failed runs are found at once.
CREATE INDEX runs_status ON runs (status, id) WHERE status <> 4;
CREATE INDEX runs_workflow ON runs (workflow, id);
CREATE INDEX runs_parent ON runs (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX runs_idempotency_key ON runs (idempotency_key)
  WHERE idempotency_key IS NOT NULL;

-- Long params, written once, so that a change of the run's row doesn't write them again.
CREATE TABLE run_params (
  run_no INTEGER PRIMARY KEY,
  params TEXT NOT NULL
);

-- A step, its task and its lease. No index on running steps: each step passes through that status,
-- and who looks for them (after a start) walks the open runs.
CREATE TABLE steps (
  run_no      INTEGER NOT NULL,
  inst        INTEGER NOT NULL,
  plan        INTEGER NOT NULL,
  owner       INTEGER,
  iteration   INTEGER NOT NULL,
  status      INTEGER NOT NULL,
  wait        INTEGER,
  skip        INTEGER,
  attempt     INTEGER NOT NULL,
  released    INTEGER NOT NULL,
  node        INTEGER,
  queue_key   INTEGER,
  ready_at    INTEGER,
  started_at  INTEGER,
  finished_at INTEGER,
  until       INTEGER,
  output      TEXT,
  error       TEXT,
  data        TEXT,
  PRIMARY KEY (run_no, inst)
) WITHOUT ROWID;
CREATE INDEX steps_ready ON steps (queue_key) WHERE queue_key IS NOT NULL;

-- One row a commit, in the order of all commits. A run's version is its newest row's.
CREATE TABLE history (
  seq     INTEGER PRIMARY KEY,
  run_no  INTEGER NOT NULL,
  version INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  events  TEXT NOT NULL
);
CREATE UNIQUE INDEX history_run ON history (run_no, version);

CREATE TABLE timers (
  run_no INTEGER NOT NULL,
  kind   INTEGER NOT NULL,
  step   INTEGER NOT NULL,
  due    INTEGER NOT NULL,
  PRIMARY KEY (run_no, kind, step)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (due);

-- Messages name their run by its UUID: the run may not exist yet. Sixteen zeros are the bus.
CREATE TABLE messages (
  id   INTEGER PRIMARY KEY,
  run  BLOB NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX messages_run ON messages (run);

CREATE TABLE waits (
  run_no INTEGER NOT NULL,
  inst   INTEGER NOT NULL,
  event  TEXT NOT NULL,
  PRIMARY KEY (run_no, inst, event)
) WITHOUT ROWID;
CREATE INDEX waits_event ON waits (event);

-- Who holds a slot of a concurrency key (held = 1), and who waits for one.
CREATE TABLE slots (
  run_no    INTEGER PRIMARY KEY,
  key       TEXT NOT NULL,
  slots     INTEGER NOT NULL,
  held      INTEGER NOT NULL,
  queue_key INTEGER NOT NULL
);
CREATE INDEX slots_key ON slots (key, held, queue_key);

CREATE TABLE workflows (
  put        INTEGER PRIMARY KEY,   -- greatest = newest
  hash       BLOB NOT NULL UNIQUE,
  workflow   TEXT NOT NULL,
  version    TEXT,
  source     TEXT NOT NULL,
  plan       TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX workflows_newest ON workflows (workflow, put);

-- Numbers given so far that the rows alone don't tell: the newest event once it is deleted, the
-- newest message once it is applied.
CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters VALUES ('event', 0), ('message', 0);

-- For people: these three keep their names and columns when the tables change.
--
-- v_runs: run, workflow, version, status, phase, priority, params, parent, created_at, started_at,
--   finished_at, output, error, cause
-- v_steps: run, inst, plan, owner, iteration, status, attempts, ready_at, started_at, finished_at,
--   until, output, error
-- v_events: seq, run, version, at, position, type, event; one row an event
--
-- Times are text in UTC, ids are UUIDs, output, error, params and event are JSON.
CREATE VIEW v_runs AS
SELECT
  lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
    || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS run,
  workflow,
  lower(hex(hash)) AS version,
  CASE status WHEN 0 THEN 'pending' WHEN 1 THEN 'running' WHEN 2 THEN 'waiting'
    WHEN 3 THEN 'paused' WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed'
    WHEN 6 THEN 'cancelled' END AS status,
  CASE phase WHEN 0 THEN 'main' WHEN 1 THEN 'compensate' WHEN 2 THEN 'on_failure'
    WHEN 3 THEN 'finally' WHEN 4 THEN 'done' END AS phase,
  priority,
  coalesce(params, (SELECT p.params FROM run_params p WHERE p.run_no = no)) AS params,
  CASE WHEN parent IS NULL THEN NULL ELSE
    lower(substr(hex(parent), 1, 8) || '-' || substr(hex(parent), 9, 4) || '-'
      || substr(hex(parent), 13, 4) || '-' || substr(hex(parent), 17, 4) || '-'
      || substr(hex(parent), 21)) END AS parent,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch') AS finished_at,
  output,
  error,
  extra ->> 'cause' AS cause
FROM runs;

CREATE VIEW v_steps AS
SELECT
  lower(substr(hex(r.id), 1, 8) || '-' || substr(hex(r.id), 9, 4) || '-'
    || substr(hex(r.id), 13, 4) || '-' || substr(hex(r.id), 17, 4) || '-'
    || substr(hex(r.id), 21)) AS run,
  s.inst,
  s.plan,
  s.owner,
  s.iteration,
  CASE s.status WHEN 0 THEN 'pending' WHEN 1 THEN 'ready' WHEN 2 THEN 'running'
    WHEN 3 THEN 'waiting' WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed' WHEN 6 THEN 'skipped'
    WHEN 7 THEN 'cancelled' END AS status,
  s.attempt AS attempts,
  strftime('%Y-%m-%dT%H:%M:%fZ', s.ready_at / 1000.0, 'unixepoch') AS ready_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', s.started_at / 1000.0, 'unixepoch') AS started_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', s.finished_at / 1000.0, 'unixepoch') AS finished_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', s.until / 1000.0, 'unixepoch') AS until,
  s.output,
  s.error
FROM steps s JOIN runs r ON r.no = s.run_no;

CREATE VIEW v_events AS
SELECT
  h.seq,
  lower(substr(hex(r.id), 1, 8) || '-' || substr(hex(r.id), 9, 4) || '-'
    || substr(hex(r.id), 13, 4) || '-' || substr(hex(r.id), 17, 4) || '-'
    || substr(hex(r.id), 21)) AS run,
  h.version,
  -- A commit may hold events of several instants: `time_passed` stands before the later ones.
  strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(
    (SELECT max(t.value ->> 'at') FROM json_each(h.events) t
      WHERE t.key < e.key AND t.value ->> 'type' = 'time_passed'), h.at) / 1000.0,
    'unixepoch') AS at,
  e.key AS position,
  e.value ->> 'type' AS type,
  e.value AS event
FROM history h JOIN runs r ON r.no = h.run_no, json_each(h.events) e
WHERE e.value ->> 'type' <> 'time_passed';
