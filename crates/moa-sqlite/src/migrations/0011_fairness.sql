-- Tasks that can be claimed are found by agent and fairness key, so that a long backlog of one key
-- hides nothing of another.

-- Whose task it is, as long as it can be claimed; empty = nobody's in particular.
ALTER TABLE steps ADD COLUMN fairness_key TEXT NOT NULL DEFAULT '';

DROP INDEX steps_ready;
CREATE INDEX steps_ready ON steps (agent, fairness_key, queue_key) WHERE queue_key IS NOT NULL;
