-- Facts about the schema itself: how it was migrated.
CREATE TABLE meta (
  name text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

-- Who owns sessions. `version` rises when something is removed; see `scope_version`.
CREATE TABLE scopes (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  user_name text COLLATE "C" NOT NULL,
  version bigint NOT NULL DEFAULT 0,
  UNIQUE (tenant, app, user_name)
);

-- Gives every change of a session a number that no other change has.
CREATE SEQUENCE changes;

-- The records of sessions: the fields of domain.sessions.Session and what only this engine needs. A key is never reused.
--   changed    the number of its last change
--   swept_seq  messages below it are removed; first_seq may be ahead
--   indexed_seq, title_due  messages up to it are in the search index; true while the title has yet to enter it
CREATE TABLE sessions (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  scope bigint NOT NULL REFERENCES scopes (key),
  changed bigint NOT NULL DEFAULT nextval('changes'),
  swept_seq bigint NOT NULL DEFAULT 1,
  indexed_seq bigint NOT NULL DEFAULT 0,
  title_due boolean NOT NULL DEFAULT false,
  id text COLLATE "C" NOT NULL,
  incarnation text COLLATE "C" NOT NULL,
  title text NOT NULL,
  title_source text NOT NULL,
  state text COLLATE "C" NOT NULL,
  pinned_at_ms bigint,
  created_at_ms bigint NOT NULL,
  modified_at_ms bigint NOT NULL,
  idle_ttl_ms bigint,
  expires_at_ms bigint,
  trashed_from text,
  trash_until_ms bigint,
  first_seq bigint NOT NULL,
  last_seq bigint NOT NULL,
  head_seq bigint NOT NULL,
  jumps_json text NOT NULL,
  active_run_id text,
  queued_runs_json text NOT NULL,
  revision bigint NOT NULL,
  metadata_json text NOT NULL,
  hidden smallint NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX sessions_by_id ON sessions (scope, id);
CREATE INDEX sessions_listed ON sessions (scope, state, modified_at_ms, id) WHERE hidden = 0;
CREATE INDEX sessions_by_change ON sessions (scope, changed);
CREATE INDEX sessions_by_end ON sessions ((CASE state WHEN 'trashed' THEN trash_until_ms ELSE expires_at_ms END))
  WHERE (CASE state WHEN 'trashed' THEN trash_until_ms ELSE expires_at_ms END) IS NOT NULL;
CREATE INDEX sessions_unswept ON sessions (key) WHERE swept_seq < first_seq;

CREATE INDEX sessions_search_due ON sessions (scope, key) WHERE indexed_seq < last_seq OR title_due;

-- The search index: the set of words of each message, and of the title (seq 0), each behind the key of its scope, so that
-- one user's search never touches the entries of another.
CREATE TABLE search (
  session bigint NOT NULL,
  seq bigint NOT NULL,
  words tsvector NOT NULL,
  PRIMARY KEY (session, seq)
);
CREATE INDEX search_words ON search USING gin (words);

-- The log.
--   parent_seq  NULL: the seq before
--   body        as of stores.codec
CREATE TABLE messages (
  session bigint NOT NULL,
  seq bigint NOT NULL,
  parent_seq bigint,
  created_at_us bigint NOT NULL,
  redacted smallint NOT NULL DEFAULT 0,
  uid bytea NOT NULL,
  role text NOT NULL,
  status text NOT NULL,
  feedback_json text,
  body bytea NOT NULL,
  PRIMARY KEY (session, seq)
);

-- The idempotency keys that a session remembers, each as a hash of 16 bytes, and so the digest of its body.
CREATE TABLE idempotency (
  session bigint NOT NULL,
  first_seq bigint NOT NULL,
  last_seq bigint NOT NULL,
  name bytea NOT NULL,
  digest bytea NOT NULL,
  PRIMARY KEY (session, name)
);

-- Small values beside a session.
CREATE TABLE states (
  session bigint NOT NULL,
  version bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (session, name)
);

-- Generations of answers: the fields of domain.runs.Run. `has_events`: rows of run_events may exist.
CREATE TABLE runs (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  session bigint NOT NULL,
  scope bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  status text NOT NULL,
  request text NOT NULL,
  digest bytea NOT NULL,
  claimant text COLLATE "C" NOT NULL,
  created_at_us bigint NOT NULL,
  finished_at_us bigint,
  token bigint NOT NULL,
  lease_until_us bigint NOT NULL,
  cancel_requested boolean NOT NULL DEFAULT false,
  message_seq bigint,
  error text,
  last_event bigint NOT NULL DEFAULT 0,
  has_events boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80);
CREATE INDEX runs_by_id ON runs (scope, id);
CREATE INDEX runs_by_session ON runs (session);
CREATE INDEX runs_by_lease ON runs (lease_until_us) WHERE finished_at_us IS NULL;
CREATE INDEX runs_by_end ON runs (finished_at_us) WHERE has_events AND finished_at_us IS NOT NULL;

-- The events of runs.
CREATE TABLE run_events (
  run bigint NOT NULL,
  n bigint NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (run, n)
);

-- Sessions that are purged, while rows of theirs remain.
CREATE TABLE graves (
  session bigint PRIMARY KEY,
  scope bigint NOT NULL REFERENCES scopes (key)
);
CREATE INDEX graves_by_scope ON graves (scope);
