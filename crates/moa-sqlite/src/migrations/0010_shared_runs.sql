-- Occurrences that share the run of another one: `outcome` 15 batched, 16 debounced. They are found by
-- that run when it ends.
CREATE INDEX occurrences_shared ON occurrences (trigger_no, run) WHERE outcome IN (15, 16);

DROP VIEW v_occurrences;
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
    WHEN 13 THEN 'filtered' WHEN 14 THEN 'skipped_finished'
    WHEN 15 THEN 'batched' WHEN 16 THEN 'debounced' END AS outcome,
  o.reason,
  lower(substr(hex(o.run), 1, 8) || '-' || substr(hex(o.run), 9, 4) || '-'
    || substr(hex(o.run), 13, 4) || '-' || substr(hex(o.run), 17, 4) || '-'
    || substr(hex(o.run), 21)) AS run,
  CASE o.result WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed' WHEN 6 THEN 'cancelled' END AS result,
  strftime('%Y-%m-%dT%H:%M:%fZ', o.decided_at / 1000.0, 'unixepoch') AS decided_at
FROM occurrences o JOIN triggers t ON t.no = o.trigger_no;
