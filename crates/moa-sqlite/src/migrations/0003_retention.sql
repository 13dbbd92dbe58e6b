-- What retention needs: ended runs by status and end, keys of runs that are gone, which run needs
-- which artifact, and runs whose rows are being deleted.

-- Ended runs, oldest first, of one status at a time: those that failed may be kept longer.
CREATE INDEX runs_ended ON runs (status, finished_at) WHERE finished_at IS NOT NULL;
DROP INDEX runs_finished;

-- Runs that are gone for every reader, while the many rows that they had are deleted part by part.
-- Their numbers must not be given again before that.
CREATE TABLE doomed (
  run_no INTEGER PRIMARY KEY
);

-- Idempotency keys of runs that are gone; `at` is when the run ended.
CREATE TABLE spent_keys (
  key TEXT PRIMARY KEY,
  run BLOB NOT NULL,
  at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX spent_keys_at ON spent_keys (at);

-- Which run refers to which artifact.
CREATE TABLE artifacts (
  hash   BLOB NOT NULL,
  run_no INTEGER NOT NULL,
  PRIMARY KEY (hash, run_no)
) WITHOUT ROWID;
CREATE INDEX artifacts_run ON artifacts (run_no);
INSERT OR IGNORE INTO artifacts (hash, run_no)
SELECT unhex(e.value), h.run_no
FROM history h, json_tree(h.events) e
WHERE h.events LIKE '%"artifact"%' AND e.key = 'artifact' AND e.type = 'text'
  AND length(e.value) = 64 AND unhex(e.value) IS NOT NULL;
