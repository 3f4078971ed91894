-- Every statement of the SQLite store, but for the UPDATE of changed columns, which records.py composes.

-- session_columns: The fields of domain.sessions.Session, in their order.
s.id, s.incarnation, s.title, s.title_source, s.state, s.pinned_at_ms, s.created_at_ms, s.modified_at_ms,
s.idle_ttl_ms, s.expires_at_ms, s.trashed_from, s.trash_until_ms, s.first_seq, s.last_seq, s.head_seq, s.jumps_json,
s.active_run_id, s.queued_runs_json, s.revision, s.metadata_json, s.hidden;

-- stored_columns: What records.Stored holds beside the session, in its order.
s.key, s.scope, s.indexed_seq, s.title_indexed, s.search_due;

-- message_columns: The fields of domain.messages.MessageRow that are stored, in their order.
m.key & 4294967295, ifnull(m.parent_seq, (m.key & 4294967295) - 1), m.uid, m.role, m.status, m.created_at_us,
m.redacted, m.feedback_json, m.body;

-- ends_at: When a session is gone; NULL for never. The same expression as of the index sessions_by_end.
iif(s.state = 'trashed', s.trash_until_ms, s.expires_at_ms);

-- find_scope: The key and version of a scope.
SELECT key, version FROM scopes WHERE tenant = ? AND app = ? AND user = ?;

-- insert_scope: Give a scope its key.
INSERT INTO scopes (tenant, app, user) VALUES (?, ?, ?) RETURNING key;

-- bump_scope: Note that something of the scope changed.
UPDATE scopes SET version = version + 1 WHERE key = ?;

-- delete_scope: Forget a scope that holds nothing.
DELETE FROM scopes
WHERE key = ?1
  AND NOT EXISTS (SELECT 1 FROM sessions WHERE scope = ?1)
  AND NOT EXISTS (SELECT 1 FROM graves WHERE scope = ?1);

-- scopes_after: Scopes that hold a session, in order of their names.
SELECT c.tenant, c.app, c.user FROM scopes c
WHERE (c.tenant, c.app, c.user) > (?, ?, ?) AND EXISTS (SELECT 1 FROM sessions s WHERE s.scope = c.key)
ORDER BY c.tenant, c.app, c.user LIMIT ?;

-- find_session: A session of a scope by its id.
SELECT {stored_columns}, {session_columns}
FROM scopes c CROSS JOIN sessions s ON s.scope = c.key AND s.id = ?
WHERE c.tenant = ? AND c.app = ? AND c.user = ?;

-- find_session_by_key: A session by its key.
SELECT {stored_columns}, {session_columns} FROM sessions s WHERE s.key = ?;

-- find_for_append: A session, and what it remembers of an idempotency key.
SELECT i.digest, i.first_seq, i.last_seq, {stored_columns}, {session_columns}
FROM scopes c CROSS JOIN sessions s ON s.scope = c.key AND s.id = ?
LEFT JOIN idempotency i ON i.session = s.key AND i.name = ?
WHERE c.tenant = ? AND c.app = ? AND c.user = ?;

-- find_path: What reading a session needs: whether it is there, and which messages are.
SELECT s.key, s.state, {ends_at}, s.first_seq, s.last_seq, s.head_seq, s.jumps_json
FROM scopes c CROSS JOIN sessions s ON s.scope = c.key AND s.id = ?
WHERE c.tenant = ? AND c.app = ? AND c.user = ?;

-- insert_session: Store a new session.
INSERT INTO sessions (
  scope, id, incarnation, title, title_source, state, pinned_at_ms, created_at_ms, modified_at_ms, idle_ttl_ms,
  expires_at_ms, trashed_from, trash_until_ms, first_seq, last_seq, head_seq, jumps_json, active_run_id,
  queued_runs_json, revision, metadata_json, hidden, search_due
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING key;

-- delete_session: Remove a record.
DELETE FROM sessions WHERE key = ?;

-- list_state: The sessions of a scope in one state behind a place, newest activity first, none of them gone.
SELECT {session_columns} FROM sessions s
WHERE s.scope = ? AND s.state = ? AND s.hidden = 0 AND (s.modified_at_ms, s.id) < (?, ?)
  AND ifnull({ends_at}, 9223372036854775807) > ?
ORDER BY s.modified_at_ms DESC, s.id DESC LIMIT ?;

-- gone_sessions: Sessions whose end has come.
SELECT c.tenant, c.app, c.user, s.id, s.incarnation
FROM sessions s CROSS JOIN scopes c ON c.key = s.scope
WHERE {ends_at} IS NOT NULL AND {ends_at} <= ? ORDER BY {ends_at} LIMIT ?;

-- count_sessions: How many sessions are live and listed.
SELECT count(*) FROM (
  SELECT 1 FROM sessions s
  WHERE s.state <> 'trashed' AND s.hidden = 0 AND ifnull({ends_at}, 9223372036854775807) > ? LIMIT ?
);

-- some_session_of_scope: Any session of a scope.
SELECT {stored_columns}, {session_columns} FROM sessions s WHERE s.scope = ? LIMIT 1;

-- insert_message: Add a message to the log.
INSERT INTO messages (key, parent_seq, uid, role, status, created_at_us, body) VALUES (?, ?, ?, ?, ?, ?, ?);

-- read_forward: Messages of a range of keys, ascending.
SELECT {message_columns} FROM messages m WHERE m.key BETWEEN ? AND ? ORDER BY m.key LIMIT ?;

-- read_backward: Messages of a range of keys, descending.
SELECT {message_columns} FROM messages m WHERE m.key BETWEEN ? AND ? ORDER BY m.key DESC LIMIT ?;

-- set_feedback: Change the judgement of a message.
UPDATE messages SET feedback_json = ? WHERE key = ?;

-- redact_message: Blank a message.
UPDATE messages SET redacted = 1, feedback_json = NULL, body = x'' WHERE key = ?;

-- delete_messages: Remove the messages of a range of keys.
DELETE FROM messages WHERE key BETWEEN ? AND ?;

-- bodies_between: The first bodies in a range of keys.
SELECT m.key, m.body FROM messages m WHERE m.key BETWEEN ? AND ? ORDER BY m.key LIMIT ?;

-- find_key: What is remembered of an idempotency key.
SELECT digest, first_seq, last_seq FROM idempotency WHERE session = ? AND name = ?;

-- remember_key: Remember an idempotency key.
INSERT INTO idempotency (session, name, digest, first_seq, last_seq) VALUES (?, ?, ?, ?, ?);

-- forget_keys: Forget the oldest idempotency keys of a session.
DELETE FROM idempotency WHERE session = ? AND first_seq < ?;

-- delete_keys: Forget all idempotency keys of a session.
DELETE FROM idempotency WHERE session = ?;

-- find_state: A value beside a session.
SELECT value, version FROM states WHERE session = ? AND name = ?;

-- list_states: The names of the values beside a session.
SELECT name FROM states WHERE session = ?;

-- put_state: Write a value beside a session.
INSERT INTO states (session, name, version, value) VALUES (?, ?, ?, ?)
ON CONFLICT (session, name) DO UPDATE SET version = excluded.version, value = excluded.value;

-- delete_states: Remove all values beside a session.
DELETE FROM states WHERE session = ?;

-- run_columns: The fields of runs.StoredRun, in their order.
r.key, r.session, r.has_events, r.id, s.id, s.incarnation, r.status, ifnull(q.request, ''), r.digest, r.claimant,
r.created_at_us, r.finished_at_us, r.token, r.lease_until_us, r.cancel_requested, r.message_seq, r.error, r.last_event;

-- find_run: A run of a scope by its id; of a session that is not purged.
SELECT {run_columns}
FROM scopes c CROSS JOIN runs r ON r.scope = c.key AND r.id = ?
CROSS JOIN sessions s ON s.key = r.session
LEFT JOIN run_requests q ON q.run = r.key
WHERE c.tenant = ? AND c.app = ? AND c.user = ?;

-- find_waiting_run: A run of a session by its id, if it waits.
SELECT key, id FROM runs WHERE session = ? AND id = ? AND status = 'queued';

-- insert_run: Store a new run.
INSERT INTO runs (
  session, scope, id, status, digest, claimant, created_at_us, token, lease_until_us, cancel_requested, last_event
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
RETURNING key;

-- insert_request: Store what the generator needs.
INSERT INTO run_requests (run, request) VALUES (?, ?);

-- delete_request: Empty the request.
DELETE FROM run_requests WHERE run = ?;

-- update_run: Write what may change of a run.
UPDATE runs SET status = ?, finished_at_us = ?, token = ?, lease_until_us = ?, cancel_requested = ?, message_seq = ?,
  error = ?, last_event = ?, has_events = ?
WHERE key = ?;

-- expire_lease: End the lease of a run.
UPDATE runs SET lease_until_us = ? WHERE key = ?;

-- insert_event: Store an event.
INSERT INTO run_events (key, body) VALUES (?, ?);

-- read_events: Events of a run.
SELECT e.key & 4294967295, e.body FROM run_events e WHERE e.key BETWEEN ? AND ? ORDER BY e.key LIMIT ?;

-- delete_events: Remove the first events in a range of keys.
DELETE FROM run_events WHERE key IN (SELECT key FROM run_events WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?);

-- drop_has_events: Note that a run has no events any more.
UPDATE runs SET has_events = 0 WHERE key = ?;

-- expired_runs: Runs of live sessions that are not over and whose lease is.
SELECT c.tenant, c.app, c.user, r.id
FROM runs r CROSS JOIN sessions s ON s.key = r.session CROSS JOIN scopes c ON c.key = r.scope
WHERE r.finished_at_us IS NULL AND r.lease_until_us <= ? AND s.state <> 'trashed'
  AND ifnull({ends_at}, 9223372036854775807) > ?
ORDER BY r.lease_until_us LIMIT ?;

-- finished_runs: Runs with events that ended before a moment.
SELECT key FROM runs WHERE has_events = 1 AND finished_at_us IS NOT NULL AND finished_at_us < ?
ORDER BY finished_at_us LIMIT ?;

-- runs_of_session: Some runs of a session.
SELECT key FROM runs WHERE session = ? LIMIT ?;

-- delete_run: Remove a run.
DELETE FROM runs WHERE key = ?;

-- dig_grave: Note that rows of a purged session have to be removed.
INSERT INTO graves (session, scope, indexed_seq) VALUES (?, ?, ?);

-- find_grave: A purged session.
SELECT session, scope, indexed_seq FROM graves WHERE session = ?;

-- some_grave: Any purged session.
SELECT session FROM graves LIMIT 1;

-- grave_of_scope: Any purged session of a scope.
SELECT session FROM graves WHERE scope = ? LIMIT 1;

-- close_grave: Nothing of the session remains.
DELETE FROM graves WHERE session = ?;

-- some_unswept: Any session with messages below its first seq.
SELECT key FROM sessions WHERE swept_seq < first_seq LIMIT 1;

-- find_unswept: How far the removal of messages below the first seq is.
SELECT scope, first_seq, swept_seq, indexed_seq FROM sessions WHERE key = ? AND swept_seq < first_seq;

-- set_swept: Note how far it is.
UPDATE sessions SET swept_seq = ? WHERE key = ?;

-- create_search: Make the search index: for each message and title its set of words, each behind the key of its scope.
CREATE VIRTUAL TABLE search USING fts5 (words, content = '', columnsize = 0, detail = none, tokenize = 'ascii');

-- keep_search_clean: Have a removed entry leave no bytes behind.
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);

-- remove_in_bulk: Have removed entries leave with the next merge, which is much faster.
INSERT INTO search (search, rank) VALUES ('secure-delete', 0);

-- begin_search_merge: Begin to merge the whole index, so that nothing of removed entries remains.
INSERT INTO search (search, rank) VALUES ('merge', -64);

-- continue_search_merge: Go on with it.
INSERT INTO search (search, rank) VALUES ('merge', 64);

-- add_words: Put a message or a title into the index.
INSERT INTO search (rowid, words) VALUES (?, ?);

-- remove_words: Take it out again, naming the same words.
INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?);

-- some_search_due: Sessions with something that has yet to enter the index.
SELECT key FROM sessions WHERE search_due = 1 LIMIT ?;

-- search_due_of_scope: The same for one scope.
SELECT key FROM sessions WHERE search_due = 1 AND scope = ? LIMIT ?;

-- note_indexed: Note what of a session is in the index.
UPDATE sessions SET indexed_seq = ?, title_indexed = 1, search_due = ? WHERE key = ?;

-- note_title_stale: Note that the title of a session has left the index.
UPDATE sessions SET title_indexed = 0, search_due = 1 WHERE key = ?;

-- note_search_due: Note that a session has something to index.
UPDATE sessions SET search_due = 1 WHERE key = ?;

-- index_everything: Have all sessions indexed anew.
UPDATE sessions SET indexed_seq = 0, title_indexed = 0, search_due = 1;

-- index_nothing: Forget what was indexed.
UPDATE sessions SET indexed_seq = 0, title_indexed = 0, search_due = 0;

-- search: Matching messages and titles (seq 0) of one scope behind a place, newest first.
SELECT coalesce(m.created_at_us, s.modified_at_ms * 1000) AS at_us, s.id AS id, f.rowid & 4294967295 AS seq,
  m.body, s.key
FROM search f
CROSS JOIN sessions s ON s.key = f.rowid >> 32
LEFT JOIN messages m ON m.key = f.rowid
WHERE f.search MATCH ? AND s.scope = ? AND s.state <> 'trashed' AND s.hidden = 0
  AND ifnull({ends_at}, 9223372036854775807) > ?
  AND (f.rowid & 4294967295 = 0 OR f.rowid & 4294967295 >= s.first_seq)
  AND (coalesce(m.created_at_us, s.modified_at_ms * 1000), s.id, f.rowid & 4294967295) < (?, ?, ?)
ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT ?;

-- get_meta: A fact about the file.
SELECT value FROM meta WHERE name = ?;

-- set_meta: Note a fact about the file.
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
