-- Events of the bus are handed on in parts.

-- Of an event that some have who wait for it: the number of the newest run that has it, and of the
-- newest that gets it. NULL = nobody has it yet.
ALTER TABLE messages ADD COLUMN handed_to INTEGER;
ALTER TABLE messages ADD COLUMN handed_until INTEGER;

CREATE INDEX messages_handed ON messages (handed_until) WHERE handed_until IS NOT NULL;
