-- Every statement of the PostgreSQL store.

-- session_columns: The fields of domain.sessions.Session, in their order.
s.id, s.incarnation, s.title, s.title_source, s.state, s.pinned_at_ms, s.created_at_ms, s.modified_at_ms,
s.idle_ttl_ms, s.expires_at_ms, s.trashed_from, s.trash_until_ms, s.first_seq, s.last_seq, s.head_seq, s.jumps_json,
s.active_run_id, s.queued_runs_json, s.revision, s.metadata_json, s.hidden;

-- stored_columns: What records.Stored holds beside the session, in its order.
s.key, s.scope, s.changed;

-- message_columns: The fields of domain.messages.MessageRow that are stored, in their order.
m.seq, coalesce(m.parent_seq, m.seq - 1), m.uid, m.role, m.status, m.created_at_us, m.redacted, m.feedback_json, m.body;

-- ends_at: When a session is gone; NULL for never. The same expression as of the index sessions_by_end.
(CASE s.state WHEN 'trashed' THEN s.trash_until_ms ELSE s.expires_at_ms END);

-- stays: Whether a session is not gone at $1.
({ends_at} IS NULL OR {ends_at} > $1);

-- of_scope: The sessions of a scope under an id.
FROM scopes c JOIN sessions s ON s.scope = c.key AND s.id = $1
WHERE c.tenant = $2 AND c.app = $3 AND c.user_name = $4;

-- find_scope: The key and version of a scope.
SELECT key, version FROM scopes WHERE tenant = $1 AND app = $2 AND user_name = $3;

-- insert_scope: Give a scope its key, unless it has one.
INSERT INTO scopes (tenant, app, user_name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING key, version;

-- bump_scope: Note that something of the scope was removed.
UPDATE scopes SET version = version + 1 WHERE key = $1;

-- delete_scope: Forget a scope that holds nothing.
DELETE FROM scopes
WHERE key = $1
  AND NOT EXISTS (SELECT 1 FROM sessions WHERE scope = $1)
  AND NOT EXISTS (SELECT 1 FROM graves WHERE scope = $1);

-- latest_changes: A scope's key and version, and the numbers of its newest changes.
SELECT c.key, c.version, ARRAY(SELECT s.changed FROM sessions s WHERE s.scope = c.key ORDER BY s.changed DESC LIMIT 64)
FROM scopes c WHERE c.tenant = $1 AND c.app = $2 AND c.user_name = $3;

-- scopes_after: Scopes that hold a session, in order of their names.
SELECT c.tenant, c.app, c.user_name FROM scopes c
WHERE (c.tenant, c.app, c.user_name) > ($1, $2, $3) AND EXISTS (SELECT 1 FROM sessions s WHERE s.scope = c.key)
ORDER BY c.tenant, c.app, c.user_name LIMIT $4;

-- find_session: A session of a scope by its id.
SELECT {stored_columns}, {session_columns} {of_scope};

-- lock_session: The same, and from here on its row waits for this transaction.
SELECT {stored_columns}, {session_columns} {of_scope} FOR NO KEY UPDATE OF s;

-- lock_session_by_key: A session by its key.
SELECT {stored_columns}, {session_columns} FROM sessions s WHERE s.key = $1 FOR NO KEY UPDATE;

-- insert_session: Store a new session.
INSERT INTO sessions (
  scope, id, incarnation, title, title_source, state, pinned_at_ms, created_at_ms, modified_at_ms, idle_ttl_ms,
  expires_at_ms, trashed_from, trash_until_ms, first_seq, last_seq, head_seq, jumps_json, active_run_id,
  queued_runs_json, revision, metadata_json, hidden, title_due
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $4 <> '')
RETURNING key, changed;

-- update_session: Write what may change of a session.
UPDATE sessions SET (
  changed, title, title_source, state, pinned_at_ms, created_at_ms, modified_at_ms, idle_ttl_ms, expires_at_ms,
  trashed_from, trash_until_ms, first_seq, last_seq, head_seq, jumps_json, active_run_id, queued_runs_json, revision,
  metadata_json, hidden, title_due
) = (
  nextval('changes'), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  title_due OR title <> $2
) WHERE key = $1 RETURNING changed;

-- touch_session: Note that something of a session's messages changed.
UPDATE sessions SET changed = nextval('changes') WHERE key = $1;

-- append: Add messages to a session, remember the idempotency key, and write its record, if the record is the one that
-- it follows from and the key is new.
WITH grown AS (
  UPDATE sessions s SET changed = nextval('changes'), title = $5, title_source = $6, state = $7, pinned_at_ms = $8,
    modified_at_ms = $9, idle_ttl_ms = $10, expires_at_ms = $11, last_seq = $12, head_seq = $13, jumps_json = $14,
    revision = $15, hidden = $16, title_due = s.title_due OR s.title <> $5
  WHERE s.key = $1 AND s.changed = $2
    AND NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.session = $1 AND i.name = $3)
  RETURNING s.changed
), said AS (
  INSERT INTO messages (session, seq, parent_seq, uid, role, status, created_at_us, body)
  SELECT $1, m.seq, m.parent_seq, m.uid, m.role, m.status, m.created_at_us, m.body
  FROM grown, unnest($17::bigint[], $18::bigint[], $19::bytea[], $20::text[], $21::text[], $22::bigint[], $23::bytea[])
    AS m (seq, parent_seq, uid, role, status, created_at_us, body)
), known AS (
  INSERT INTO idempotency (session, name, digest, first_seq, last_seq) SELECT $1, $3, $4, $24, $12 FROM grown
)
SELECT changed FROM grown;

-- append_all: The same for several sessions; one whose row is locked at this moment is left out, so that none waits for
-- another one's.
WITH asked AS (
  SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::smallint[], $17::bigint[]
  ) AS a (
    key, changed, name, digest, title, title_source, state, pinned_at_ms, modified_at_ms, idle_ttl_ms, expires_at_ms,
    last_seq, head_seq, jumps_json, revision, hidden, first_seq
  )
), held AS (
  SELECT s.key FROM asked a JOIN sessions s ON s.key = a.key AND s.changed = a.changed
  WHERE NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.session = a.key AND i.name = a.name)
  FOR NO KEY UPDATE OF s SKIP LOCKED
), grown AS (
  UPDATE sessions s SET changed = nextval('changes'), title = a.title, title_source = a.title_source, state = a.state,
    pinned_at_ms = a.pinned_at_ms, modified_at_ms = a.modified_at_ms, idle_ttl_ms = a.idle_ttl_ms,
    expires_at_ms = a.expires_at_ms, last_seq = a.last_seq, head_seq = a.head_seq, jumps_json = a.jumps_json,
    revision = a.revision, hidden = a.hidden, title_due = s.title_due OR s.title <> a.title
  FROM held h JOIN asked a ON a.key = h.key WHERE s.key = h.key
  RETURNING s.key, s.changed
), said AS (
  INSERT INTO messages (session, seq, parent_seq, uid, role, status, created_at_us, body)
  SELECT m.session, m.seq, m.parent_seq, m.uid, m.role, m.status, m.created_at_us, m.body
  FROM grown g JOIN unnest(
    $18::bigint[], $19::bigint[], $20::bigint[], $21::bytea[], $22::text[], $23::text[], $24::bigint[], $25::bytea[]
  ) AS m (session, seq, parent_seq, uid, role, status, created_at_us, body) ON m.session = g.key
), known AS (
  INSERT INTO idempotency (session, name, digest, first_seq, last_seq)
  SELECT a.key, a.name, a.digest, a.first_seq, a.last_seq FROM grown g JOIN asked a ON a.key = g.key
)
SELECT key, changed FROM grown;

-- delete_session: Remove a record.
DELETE FROM sessions WHERE key = $1;

-- list_page: The sessions of a scope in the states $5, each behind its place, in the order of a list; none gone at $1.
SELECT {session_columns}
FROM scopes c CROSS JOIN unnest($5::text[], $6::bigint[], $7::text[]) AS shelf (state, modified_at_ms, id)
CROSS JOIN LATERAL (
  SELECT * FROM sessions s
  WHERE s.scope = c.key AND s.state = shelf.state AND s.hidden = 0 AND {stays}
    AND (s.modified_at_ms, s.id) < (shelf.modified_at_ms, shelf.id)
  ORDER BY s.modified_at_ms DESC, s.id DESC LIMIT $8
) s
WHERE c.tenant = $2 AND c.app = $3 AND c.user_name = $4
ORDER BY (s.state = 'pinned') DESC, s.modified_at_ms DESC, s.id DESC LIMIT $8;

-- gone_sessions: Sessions whose end has come.
SELECT c.tenant, c.app, c.user_name, s.id, s.incarnation
FROM sessions s JOIN scopes c ON c.key = s.scope
WHERE {ends_at} IS NOT NULL AND {ends_at} <= $1 ORDER BY {ends_at} LIMIT $2;

-- count_sessions: How many sessions are live and listed.
SELECT count(*) FROM (
  SELECT 1 FROM sessions s WHERE s.state <> 'trashed' AND s.hidden = 0 AND {stays} LIMIT $2
) AS found;

-- some_session_of_scope: Any session of a scope.
SELECT {stored_columns}, {session_columns} FROM sessions s WHERE s.scope = $1 LIMIT 1 FOR NO KEY UPDATE;

-- of_one_range: Messages $6 to $7 of a session that is live at $9: of its path if that has no branches, of all if $5.
-- The session is a value, not a table to join, so that the planner takes the messages in order and stops at the limit.
WITH s AS MATERIALIZED (
  SELECT s.key, greatest(s.first_seq, $6) AS low, least(CASE WHEN $5 THEN s.last_seq ELSE s.head_seq END, $7) AS high
  {of_scope} AND ($5 OR s.jumps_json = '[]')
    AND s.state <> 'trashed' AND (s.expires_at_ms IS NULL OR s.expires_at_ms > $9)
)
SELECT {message_columns} FROM messages m
WHERE m.session = (SELECT key FROM s) AND m.seq BETWEEN (SELECT low FROM s) AND (SELECT high FROM s);

-- read_newest: The newest of them, newest first.
{of_one_range} ORDER BY m.seq DESC LIMIT $8;

-- read_oldest: The oldest of them, ascending.
{of_one_range} ORDER BY m.seq LIMIT $8;

-- read_newest_all: As read_newest for several sessions; each row begins with the place of its question, from 1 on. For a
-- live session of which there is nothing to return there is one row of NULLs, for any other none.
SELECT w.place, {message_columns}
FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]
) WITH ORDINALITY AS w (id, tenant, app, user_name, every, low, high, most, now, place)
CROSS JOIN LATERAL (
  SELECT s.* FROM scopes c JOIN sessions s ON s.scope = c.key AND s.id = w.id COLLATE "C"
  WHERE c.tenant = w.tenant COLLATE "C" AND c.app = w.app COLLATE "C" AND c.user_name = w.user_name COLLATE "C"
    AND s.state <> 'trashed' AND (s.expires_at_ms IS NULL OR s.expires_at_ms > w.now)
  LIMIT 1 -- there is no other; it keeps the planner from reading all of a scope
) s
LEFT JOIN LATERAL (
  SELECT * FROM messages a
  WHERE a.session = s.key AND a.seq BETWEEN greatest(s.first_seq, w.low)
      AND least(CASE WHEN w.every THEN s.last_seq ELSE s.head_seq END, w.high)
    AND (w.every OR s.jumps_json = '[]')
  ORDER BY a.seq DESC LIMIT w.most
) m ON true
ORDER BY w.place, m.seq DESC;

-- read_ranges: Messages of ranges, ascending, if the session is still as it was read; one row of NULLs if there are none.
SELECT {message_columns}
FROM sessions s LEFT JOIN LATERAL (
  SELECT b.* FROM unnest($3::bigint[], $4::bigint[]) AS r (low, high) CROSS JOIN LATERAL (
    SELECT * FROM messages a WHERE a.session = s.key AND a.seq BETWEEN r.low AND r.high
    ORDER BY a.seq LIMIT r.high - r.low + 1 -- there are no more; it keeps the planner from reading all of the session
  ) b
) m ON true
WHERE s.key = $1 AND s.changed = $2 ORDER BY m.seq;

-- read_message: One message.
SELECT {message_columns} FROM messages m WHERE m.session = $1 AND m.seq = $2;

-- set_feedback: Change the judgement of a message.
UPDATE messages SET feedback_json = $3 WHERE session = $1 AND seq = $2;

-- redact_message: Blank a message.
UPDATE messages SET redacted = 1, feedback_json = NULL, body = '' WHERE session = $1 AND seq = $2;

-- delete_messages: Remove the first messages of a session below a seq, with their search entries; how many.
WITH gone AS (
  DELETE FROM messages WHERE session = $1 AND seq IN (
    SELECT seq FROM messages WHERE session = $1 AND seq < $2 ORDER BY seq LIMIT $3
  ) RETURNING seq
), forgotten AS (
  DELETE FROM search WHERE session = $1 AND seq IN (SELECT seq FROM gone)
)
SELECT count(*) FROM gone;

-- find_key: What is remembered of an idempotency key.
SELECT digest, first_seq, last_seq FROM idempotency WHERE session = $1 AND name = $2;

-- forget_keys: Forget the oldest idempotency keys of a session.
DELETE FROM idempotency WHERE session = $1 AND first_seq < $2;

-- delete_keys: Forget all idempotency keys of a session.
DELETE FROM idempotency WHERE session = $1;

-- find_state: A value beside a session.
SELECT value, version FROM states WHERE session = $1 AND name = $2;

-- read_state: The state and end of a session, and a value beside it.
SELECT s.state, {ends_at}, v.value, v.version
FROM scopes c JOIN sessions s ON s.scope = c.key AND s.id = $1 LEFT JOIN states v ON v.session = s.key AND v.name = $5
WHERE c.tenant = $2 AND c.app = $3 AND c.user_name = $4;

-- list_states: The state and end of a session, and the names of the values beside it.
SELECT s.state, {ends_at}, v.name
FROM scopes c JOIN sessions s ON s.scope = c.key AND s.id = $1 LEFT JOIN states v ON v.session = s.key
WHERE c.tenant = $2 AND c.app = $3 AND c.user_name = $4;

-- put_state: Write a value beside a session.
INSERT INTO states (session, name, version, value) VALUES ($1, $2, $3, $4)
ON CONFLICT (session, name) DO UPDATE SET version = excluded.version, value = excluded.value;

-- delete_states: Remove all values beside a session.
DELETE FROM states WHERE session = $1;

-- run_columns: The fields of runs.StoredRun, in their order.
r.key, r.session, r.has_events, r.id, s.id, s.incarnation, r.status, r.request, r.digest, r.claimant, r.created_at_us,
r.finished_at_us, r.token, r.lease_until_us, r.cancel_requested, r.message_seq, r.error, r.last_event;

-- of_run: A run of a scope by its id; of a session that is not purged.
FROM scopes c JOIN runs r ON r.scope = c.key AND r.id = $1 JOIN sessions s ON s.key = r.session
WHERE c.tenant = $2 AND c.app = $3 AND c.user_name = $4;

-- find_run: A run and its session.
SELECT {run_columns}, {stored_columns}, {session_columns} {of_run};

-- session_of_run: The session of a run.
SELECT r.session {of_run};

-- lock_run: A run by its key, after its session was locked.
SELECT {run_columns} FROM runs r JOIN sessions s ON s.key = r.session WHERE r.key = $1 FOR NO KEY UPDATE OF r;

-- one_claim: From here on another claim of the same run in the same scope waits for this transaction.
SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 4801));

-- find_waiting_run: A run of a session by its id, if it waits.
SELECT key, id FROM runs WHERE session = $1 AND id = $2 AND status = 'queued';

-- insert_run: Store a new run.
INSERT INTO runs (session, scope, id, status, request, digest, claimant, created_at_us, token, lease_until_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- update_run: Write what may change of a run.
UPDATE runs SET status = $2, finished_at_us = $3, token = $4, lease_until_us = $5, cancel_requested = $6,
  message_seq = $7, error = $8, last_event = $9, has_events = $10
WHERE key = $1;

-- delete_request: Empty the request.
UPDATE runs SET request = '' WHERE key = $1;

-- expire_lease: End the lease of a run.
UPDATE runs SET lease_until_us = $2 WHERE key = $1;

-- insert_events: Store events.
INSERT INTO run_events (run, n, body) SELECT $1, e.n, e.body FROM unnest($2::bigint[], $3::text[]) AS e (n, body);

-- read_events: Events of a run.
SELECT n, body FROM run_events WHERE run = $1 AND n > $2 AND n <= $3 ORDER BY n LIMIT $4;

-- delete_events: Remove the first events of a run.
DELETE FROM run_events WHERE run = $1 AND n IN (SELECT n FROM run_events WHERE run = $1 ORDER BY n LIMIT $2);

-- drop_has_events: Note that a run has no events any more.
UPDATE runs SET has_events = false WHERE key = $1;

-- expired_runs: Runs of live sessions that are not over and whose lease is.
SELECT c.tenant, c.app, c.user_name, r.id
FROM runs r JOIN sessions s ON s.key = r.session JOIN scopes c ON c.key = r.scope
WHERE r.finished_at_us IS NULL AND r.lease_until_us <= $2 AND s.state <> 'trashed' AND {stays}
ORDER BY r.lease_until_us LIMIT $3;

-- finished_runs: Runs with events that ended before a moment.
SELECT key FROM runs WHERE has_events AND finished_at_us IS NOT NULL AND finished_at_us < $1
ORDER BY finished_at_us LIMIT $2;

-- runs_of_session: Some runs of a session.
SELECT key FROM runs WHERE session = $1 LIMIT $2 FOR UPDATE;

-- delete_run: Remove a run.
DELETE FROM runs WHERE key = $1;

-- dig_grave: Note that rows of a purged session have to be removed.
INSERT INTO graves (session, scope) VALUES ($1, $2);

-- lock_grave: A purged session, of which one transaction at a time removes rows.
SELECT session FROM graves WHERE session = $1 FOR UPDATE;

-- some_grave: Any purged session.
SELECT session FROM graves LIMIT 1;

-- grave_of_scope: Any purged session of a scope.
SELECT session FROM graves WHERE scope = $1 LIMIT 1;

-- close_grave: Nothing of the session remains.
DELETE FROM graves WHERE session = $1;

-- some_unswept: Any session with messages below its first seq.
SELECT key FROM sessions WHERE swept_seq < first_seq LIMIT 1;

-- find_unswept: How far the removal of messages below the first seq is.
SELECT first_seq FROM sessions WHERE key = $1 AND swept_seq < first_seq FOR NO KEY UPDATE;

-- set_swept: Note that it is done.
UPDATE sessions SET swept_seq = $2 WHERE key = $1;

-- search_due: Sessions of a scope with something that has yet to enter the search index.
SELECT key FROM sessions WHERE scope = $1 AND (indexed_seq < last_seq OR title_due) ORDER BY key LIMIT $2;

-- some_search_due: The same for any scope.
SELECT key FROM sessions WHERE indexed_seq < last_seq OR title_due LIMIT $1;

-- lock_search_due: What of a session has yet to enter the index.
SELECT scope, title, title_due, greatest(indexed_seq + 1, first_seq), last_seq FROM sessions
WHERE key = $1 AND (indexed_seq < last_seq OR title_due) FOR NO KEY UPDATE;

-- bodies: The bodies of a range.
SELECT seq, body FROM messages WHERE session = $1 AND seq >= $2 ORDER BY seq LIMIT $3;

-- add_words: Put the words of messages into the index.
INSERT INTO search (session, seq, words) SELECT $1, $2, array_to_tsvector($3::text[])
ON CONFLICT (session, seq) DO UPDATE SET words = excluded.words;

-- remove_words: Take a message or a title (seq 0) out of the index.
DELETE FROM search WHERE session = $1 AND seq = $2;

-- note_indexed: Note what of a session is in the index.
UPDATE sessions SET indexed_seq = $2, title_due = false WHERE key = $1;

-- search: Matching messages and titles of one scope behind a place, newest first, none of them gone at $1.
SELECT coalesce(m.created_at_us, s.modified_at_ms * 1000), s.id, f.seq, m.body, {session_columns}
FROM search f JOIN sessions s ON s.key = f.session LEFT JOIN messages m ON m.session = f.session AND m.seq = f.seq
WHERE f.words @@ $2::text::tsquery AND s.scope = $3 AND s.state <> 'trashed' AND s.hidden = 0 AND {stays}
  AND (f.seq = 0 OR f.seq >= s.first_seq)
  AND (coalesce(m.created_at_us, s.modified_at_ms * 1000), s.id, f.seq) < ($4, $5, $6)
ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT $7;

-- get_meta: A fact about the schema.
SELECT value FROM meta WHERE name = $1;

-- set_meta: Note a fact about the schema.
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
