-- What has been used of agents' limits: rates, quotas, breakers.
CREATE TABLE limits (
  agent TEXT PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
