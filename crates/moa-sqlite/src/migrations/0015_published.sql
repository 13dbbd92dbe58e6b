-- Published events: they stand in the history, in the order of all commits, as those of run 0, which is
-- the bus. Their version is their event number.

-- Who has heard of one: JSON, the triggers that were told with the numbers of the messages, how many runs
-- got it, and the first of them.
CREATE TABLE published (
  seq   INTEGER PRIMARY KEY,
  at    INTEGER NOT NULL,
  heard TEXT NOT NULL
);
CREATE INDEX published_at ON published (at);

-- Of an event on the bus that somebody published: its number. Of a key: that of its event; NULL = it was
-- published before.
ALTER TABLE messages ADD COLUMN published INTEGER;
ALTER TABLE posts ADD COLUMN seq INTEGER;

-- For people: keeps its name and columns when the tables change. `data` is JSON; `who` has published it.
CREATE VIEW v_published AS
SELECT
  h.seq,
  strftime('%Y-%m-%dT%H:%M:%fZ', h.at / 1000.0, 'unixepoch') AS at,
  h.events ->> '$[0].event' AS type,
  h.events ->> '$[0].source' AS source,
  h.events ->> '$[0].subject' AS subject,
  h.events ->> '$[0].key' AS key,
  h.events ->> '$[0].by' AS who,
  h.events -> '$[0].data' AS data,
  json_array_length(p.heard, '$.triggers') AS triggers,
  p.heard ->> '$.runs' AS runs
FROM history h JOIN published p ON p.seq = h.seq
WHERE h.run_no = 0;
