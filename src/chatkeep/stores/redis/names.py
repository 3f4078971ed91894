"""The names of keys. All of one scope carry its tag, so that they lie on one node of a cluster."""

from __future__ import annotations

from hashlib import blake2b

from chatkeep.domain.ids import check_id
from chatkeep.domain.scope import Scope
from chatkeep.stores.records import scope_key

SHARDS = 16
"""Parts over which what is kept of all scopes together is spread."""


def _session(session_id: str) -> bytes:
    return check_id(session_id, "session_id").encode()


class ScopeNames:
    """The names of all that a scope has. An id stands at the end of a name, so it may hold any character."""

    def __init__(self, prefix: bytes, scope: Scope) -> None:
        self.scope = scope
        self.key = scope_key(scope)
        tag = blake2b(self.key, digest_size=16).hexdigest().encode()
        self.shard = int(tag[:2], 16) % SHARDS
        self._base = prefix + b":{" + tag + b"}:"
        self.changes = self._base + b"changes"
        """A hash: a random `epoch`, and `n`, the number of changes."""
        self.ids = self._base + b"ids"
        """A sorted set of all session ids."""
        self.ends = self._base + b"ends"
        """A sorted set of the ids of sessions that will be gone, by when (ms)."""
        self.sessions = self._base + b"s:"
        """What comes before the id in the key of a session."""

    def list(self, letter: bytes) -> bytes:
        """A sorted set of the places of the listed sessions of a state."""
        return self._base + b"l:" + letter

    def session(self, session_id: str) -> bytes:
        """A hash: the record, and what scripts need of it."""
        return self.sessions + _session(session_id)

    def messages(self, session_id: str) -> bytes:
        """A stream, whose ids are the seqs."""
        return self._base + b"m:" + _session(session_id)

    def overlay(self, session_id: str) -> bytes:
        """A hash: feedback, and what is left of redacted messages."""
        return self._base + b"o:" + _session(session_id)

    def keys(self, session_id: str) -> bytes:
        """A hash of remembered idempotency keys."""
        return self._base + b"k:" + _session(session_id)

    def states(self, session_id: str) -> bytes:
        """A hash of values kept beside a session, and their versions."""
        return self._base + b"t:" + _session(session_id)

    def runs(self, session_id: str) -> bytes:
        """A set of the ids of a session's runs."""
        return self._base + b"q:" + _session(session_id)

    def run(self, run_id: str) -> bytes:
        """A hash: a run."""
        return self._base + b"r:" + check_id(run_id, "run_id").encode()

    def events(self, run_id: str) -> bytes:
        """A stream of a run's events, whose ids are their numbers."""
        return self._base + b"e:" + check_id(run_id, "run_id").encode()


class GlobalNames:
    """The names of what is kept of all scopes together, in shards of their own tags."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        self.schema = self.prefix + b":schema"

    def scopes(self, shard: int) -> tuple[bytes, bytes]:
        """A sorted set of scopes, in the order of their keys, and a hash of when each was noted last (ms)."""
        base = self.prefix + b":{scopes:%d}:" % shard
        return base + b"names", base + b"noted"

    def work(self, kind: bytes, shard: int) -> bytes:
        """A sorted set of notes: a scope's key and an id, by when to look at them."""
        return self.prefix + b":{work:%d}:" % shard + kind
