-- Tasks that can be claimed are found by agent, so that a long backlog of one hides nothing of another.

-- Whose task it is, as long as it can be claimed.
ALTER TABLE steps ADD COLUMN agent TEXT;
UPDATE steps SET agent = (
  SELECT w.plan ->> ('$.steps[' || steps.plan || '].kind.agent')
  FROM runs r CROSS JOIN workflows w ON w.hash = r.hash
  WHERE r.no = steps.run_no AND json_valid(w.plan))
WHERE queue_key IS NOT NULL;

DROP INDEX steps_ready;
CREATE INDEX steps_ready ON steps (agent, queue_key) WHERE queue_key IS NOT NULL;
