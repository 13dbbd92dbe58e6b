-- Who did what; and secrets, sealed by whoever writes them.

-- Only ever added to. The hash covers the number, the text and the hash of the row before.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  body TEXT NOT NULL
) STRICT;

CREATE TABLE secrets (
  name TEXT PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
