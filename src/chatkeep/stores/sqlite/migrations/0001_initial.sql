-- Facts about the file itself: how it was migrated, and what the search index was built with.
CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Who owns sessions. `version` counts the changes that a list or a transcript of the scope would show.
CREATE TABLE scopes (
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  app TEXT NOT NULL,
  user TEXT NOT NULL,
  version INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX scopes_by_name ON scopes (tenant, app, user);

-- The records of sessions: the fields of domain.sessions.Session and what only this engine needs. A key is never reused.
--   swept_seq      messages below it are removed; first_seq may be ahead
--   indexed_seq    messages up to it are in the search index
--   title_indexed  1 when the title is in the search index
--   search_due     1 when a message or the title has yet to enter the search index
CREATE TABLE sessions (
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  scope INTEGER NOT NULL,
  id TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  title TEXT NOT NULL,
  title_source TEXT NOT NULL,
  state TEXT NOT NULL,
  pinned_at_ms INTEGER,
  created_at_ms INTEGER NOT NULL,
  modified_at_ms INTEGER NOT NULL,
  idle_ttl_ms INTEGER,
  expires_at_ms INTEGER,
  trashed_from TEXT,
  trash_until_ms INTEGER,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  head_seq INTEGER NOT NULL,
  jumps_json TEXT NOT NULL,
  active_run_id TEXT,
  queued_runs_json TEXT NOT NULL,
  revision INTEGER NOT NULL,
  metadata_json TEXT NOT NULL,
  hidden INTEGER NOT NULL,
  swept_seq INTEGER NOT NULL DEFAULT 1,
  indexed_seq INTEGER NOT NULL DEFAULT 0,
  title_indexed INTEGER NOT NULL DEFAULT 0,
  search_due INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX sessions_by_id ON sessions (scope, id);
CREATE INDEX sessions_listed ON sessions (scope, state, modified_at_ms, id) WHERE hidden = 0;
CREATE INDEX sessions_by_end ON sessions (iif(state = 'trashed', trash_until_ms, expires_at_ms))
  WHERE iif(state = 'trashed', trash_until_ms, expires_at_ms) IS NOT NULL;
CREATE INDEX sessions_unswept ON sessions (key) WHERE swept_seq < first_seq;
CREATE INDEX sessions_search_due ON sessions (scope, key) WHERE search_due = 1;

-- The log. key = session << 32 | seq, so that the messages of a session lie together, in order.
--   parent_seq     NULL: the seq before
--   body           as of stores.codec
CREATE TABLE messages (
  key INTEGER PRIMARY KEY,
  parent_seq INTEGER,
  uid BLOB NOT NULL,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  redacted INTEGER NOT NULL DEFAULT 0,
  feedback_json TEXT,
  body BLOB NOT NULL
) STRICT;

-- The idempotency keys that a session remembers, each as a hash of 16 bytes, and so the digest of its body.
CREATE TABLE idempotency (
  session INTEGER NOT NULL,
  name BLOB NOT NULL,
  digest BLOB NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  PRIMARY KEY (session, name)
) STRICT, WITHOUT ROWID;

-- Small values beside a session.
CREATE TABLE states (
  session INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (session, name)
) STRICT;

-- Generations of answers: the fields of domain.runs.Run. `has_events` 1: rows of run_events may exist.
CREATE TABLE runs (
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL,
  scope INTEGER NOT NULL,
  id TEXT NOT NULL,
  status TEXT NOT NULL,
  digest BLOB NOT NULL,
  claimant TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  finished_at_us INTEGER,
  token INTEGER NOT NULL,
  lease_until_us INTEGER NOT NULL,
  cancel_requested INTEGER NOT NULL,
  message_seq INTEGER,
  error TEXT,
  last_event INTEGER NOT NULL,
  has_events INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX runs_by_id ON runs (scope, id);
CREATE INDEX runs_by_session ON runs (session);
CREATE INDEX runs_by_lease ON runs (lease_until_us) WHERE finished_at_us IS NULL;
CREATE INDEX runs_by_end ON runs (finished_at_us) WHERE has_events = 1 AND finished_at_us IS NOT NULL;

-- What the generator of a run that is not over needs; apart, because the run itself is written often.
CREATE TABLE run_requests (
  run INTEGER PRIMARY KEY,
  request TEXT NOT NULL
) STRICT;

-- The events of runs. key = run << 32 | n.
CREATE TABLE run_events (
  key INTEGER PRIMARY KEY,
  body TEXT NOT NULL
) STRICT;

-- Sessions that are purged, while rows of theirs remain.
CREATE TABLE graves (
  session INTEGER PRIMARY KEY,
  scope INTEGER NOT NULL,
  indexed_seq INTEGER NOT NULL
) STRICT;
CREATE INDEX graves_by_scope ON graves (scope);
