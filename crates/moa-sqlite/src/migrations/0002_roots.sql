-- What belongs to one run can be asked for alone.

-- The run at the top: the one that started this one, or that one's, and so on. NULL = this one.
ALTER TABLE runs ADD COLUMN root BLOB;
-- The run at the top of the one that the message belongs to. NULL = it was sent by nobody, to
-- nobody.
ALTER TABLE messages ADD COLUMN root BLOB;

-- From the top down; where the run that started it is gone, that one stands for the top.
WITH RECURSIVE below (id, root) AS (
  SELECT c.id, c.parent FROM runs c WHERE c.parent IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM runs p WHERE p.id = c.parent AND p.parent IS NOT NULL)
  UNION ALL
  SELECT c.id, b.root FROM below b CROSS JOIN runs c ON c.parent = b.id
)
UPDATE runs SET root = below.root FROM below WHERE runs.id = below.id;

UPDATE messages SET root = (SELECT coalesce(r.root, r.id) FROM runs r WHERE r.id = messages.run);
-- The start of a run belongs to who asked for it, an event to who sent it.
UPDATE messages
SET root = (SELECT coalesce(r.root, r.id) FROM runs r WHERE r.id =
  unhex(coalesce(messages.body ->> '$.parent.run', messages.body ->> '$.source'), '-'))
WHERE root IS NULL AND body ->> '$.message' IN ('start_child', 'emitted');
-- What else is on its way to a run that is not there yet belongs where its start does.
UPDATE messages
SET root = (SELECT s.root FROM messages s WHERE s.run = messages.run AND s.root IS NOT NULL)
WHERE root IS NULL AND run <> zeroblob(16);

-- Open runs only: what has ended has nothing to do.
CREATE INDEX runs_root ON runs (root) WHERE root IS NOT NULL AND status < 4;
CREATE INDEX messages_root ON messages (root);
