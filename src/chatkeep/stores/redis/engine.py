"""What all parts of the store stand on: a clock, a client, and changes that are compared and made in one step.

**The scheme.** Each session is a hash with its record and a random `v`, its mark, which every change of the session
replaces. A change is computed here from what was read, and sent as a list of commands together with the marks that were
read; a function of the server runs them all IF the marks are still there. So all changes of one session are in one
order, each happens wholly or not at all, and all rules are in Python only.

An append needs no read: it sends what follows from the record that this process knows, and looks only when that was not
the last one. Everything of a scope carries one tag, so the same holds on a cluster.

What is kept of all scopes together (their names, and notes of what maintenance has to look at) lies elsewhere, and is
written before what it is about: a note may lead nowhere, but nothing is without its note.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_bytes
from typing import Any, NamedTuple, TypeVar

from chatkeep.domain.errors import Timeout, Unavailable
from chatkeep.domain.ids import check_id
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, to_ms
from chatkeep.ports.clock import Clock
from chatkeep.stores.races import Raced, undisturbed
from chatkeep.stores.records import session_from_json
from chatkeep.stores.redis.client import Client
from chatkeep.stores.redis.errors import CLOSED, translated
from chatkeep.stores.redis.names import GlobalNames, ScopeNames
from chatkeep.stores.redis.wire import Value

LIBRARY = "chatkeep_1"
PRUNED, RUNNING, ENDED = b"p", b"r", b"e"
"""Kinds of notes: sessions with messages to remove, runs that are not over, runs that are and may have events."""
SETTLED_MS = 3_600_000
"""After that no request that was sent before can arrive any more."""
NOTED_FOR_MS = 60_000
"""So long a process relies on having noted a scope; a note is kept for SETTLED_MS at least."""
_KNOWN_SESSIONS = 10_000
_KNOWN_SCOPES = 10_000

Result = TypeVar("Result")


class Stored(NamedTuple):
    """A session as it was read, and its mark."""

    session: Session
    mark: bytes


class Grave(NamedTuple):
    """What must be known of a session to remove it, even if its record cannot be decoded."""

    session_id: str
    mark: bytes
    place: bytes
    run_ids: tuple[str, ...]


class Change:
    """Commands to be run together, and what must hold for it."""

    def __init__(self) -> None:
        self._keys: dict[bytes, int] = {}
        self._conditions: list[Value] = []
        self._commands: list[Value] = []

    def _at(self, key: bytes) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)

    def require(self, key: bytes, field: Value, value: bytes) -> None:
        """Do nothing unless the field of a hash has this value; empty: unless it is missing."""
        self._conditions += (self._at(key), field, value)

    def do(self, command: str, key: bytes, *arguments: Value) -> None:
        """Run a command on a key."""
        self._commands += (len(arguments), command, self._at(key), *arguments)

    def call(self) -> tuple[list[bytes], list[Value]]:
        """Return the keys and the arguments of the function `commit`."""
        return list(self._keys), [len(self._conditions) // 3, *self._conditions, *self._commands]


class Engine:
    """One way into the database: a clock, a client, and what this process knows of sessions.

    `replicas` must have confirmed each change within `confirm_seconds`, or its outcome is unknown.
    """

    def __init__(
        self, clock: Clock, client: Client, names: GlobalNames, *, replicas: int, confirm_seconds: float
    ) -> None:
        self._clock = clock
        self._client: Client | None = client
        self._names = names
        self._replicas = replicas
        self._confirm_ms = int(confirm_seconds * 1_000)
        self._known: OrderedDict[tuple[Scope, str], Stored] = OrderedDict()
        self._overlaid: OrderedDict[tuple[Scope, str], None] = OrderedDict()
        self._scopes: OrderedDict[Scope, ScopeNames] = OrderedDict()
        self._noted: OrderedDict[Scope, int] = OrderedDict()

    def _now_ms(self) -> int:
        return to_ms(self._clock())

    def _of(self, scope: Scope) -> ScopeNames:
        """Return the names of what a scope has."""
        names = self._scopes.get(scope)
        if names is None:
            names = self._scopes[scope] = ScopeNames(self._names.prefix, scope)
            if len(self._scopes) > _KNOWN_SCOPES:
                self._scopes.popitem(last=False)
        return names

    @property
    def _open(self) -> Client:
        """The client. Raises Unavailable once the store is closed."""
        if self._client is None:
            raise Unavailable(CLOSED)
        return self._client

    async def _ask(self, *command: Value) -> Any:
        """Return the answer to one command."""
        with translated():
            return await self._open.one(command)

    async def _ask_all(self, commands: Sequence[tuple[Value, ...]]) -> list[Any]:
        """Return the answers to several commands, sent together; other writers may come between."""
        if not commands:
            return []
        with translated():
            return await self._open.several(commands)

    async def _at_once(self, *commands: tuple[Value, ...]) -> list[Any] | None:
        """Return the answers to reads as of one moment, or None if a function has to give them."""
        with translated():
            return await self._open.at_once(commands)

    async def _function(
        self, name: str, keys: Sequence[bytes], arguments: Sequence[Value], *, reads: bool = True
    ) -> Any:
        """Return what a function of the server returns."""
        return await self._ask("FCALL_RO" if reads else "FCALL", f"{LIBRARY}_{name}", len(keys), *keys, *arguments)

    async def _commit(self, change: Change) -> None:
        """Make a change. Raises Raced, and Timeout when too few replicas have confirmed it."""
        keys, arguments = change.call()
        if not self._replicas:
            if not await self._function("commit", keys, arguments, reads=False):
                raise Raced
            return
        call = ("FCALL", f"{LIBRARY}_commit", len(keys), *keys, *arguments)
        wait = ("WAIT", self._replicas, self._confirm_ms)
        with translated():
            done, confirmed = await self._open.followed_by(keys[0], call, wait)
        if not done:
            raise Raced
        if confirmed < self._replicas:
            await self._open.doubt()
            raise Timeout(f"{confirmed} of {self._replicas} replicas have confirmed a change; its outcome is unknown")

    async def _confirm(self, names: ScopeNames, stored: Stored) -> None:
        """Wait until replicas have confirmed what was read, by a write of the same behind it. Raises Raced, Timeout."""
        if self._replicas:
            change = Change()
            key = names.session(stored.session.id)
            change.require(key, "v", stored.mark)
            change.do("HSET", key, "v", stored.mark)
            await self._commit(change)

    async def _until_won(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat `attempt`, which reads and then commits, until no other writer comes between."""
        return await undisturbed(attempt)

    def _remember(self, scope: Scope, stored: Stored) -> None:
        key = (scope, stored.session.id)
        self._known[key] = stored
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN_SESSIONS:
            self._known.popitem(last=False)

    def _note_overlay(self, scope: Scope, session_id: str) -> None:
        """Remember that something lies beside the messages of a session."""
        self._overlaid[scope, session_id] = None
        if len(self._overlaid) > _KNOWN_SESSIONS:
            self._overlaid.popitem(last=False)

    def _forget(self, scope: Scope, session_id: str) -> Stored | None:
        """Return the record that this process knows last, and know it no longer."""
        return self._known.pop((scope, session_id), None)

    async def _find(self, names: ScopeNames, session_id: str) -> Stored | None:
        """Return a session, whatever its state, even if it is gone. Raises CorruptRecord."""
        check_id(session_id, "session_id")
        text, mark = await self._ask("HMGET", names.session(session_id), "rec", "v")
        return None if mark is None else Stored(session_from_json(text or b""), mark)

    async def _grave(self, names: ScopeNames, session_id: str, mark: bytes | None = None) -> Grave | None:
        """Return what must be known to remove a session; None if there is none. Raises Raced if it is not the one with
        `mark`.
        """
        key = names.session(session_id)
        fields, run_ids = await self._ask_all([("HMGET", key, "v", "place"), ("SMEMBERS", names.runs(session_id))])
        if mark is not None and fields[0] != mark:
            raise Raced
        if fields[0] is None:
            return None
        return Grave(session_id, fields[0], fields[1] or b"", tuple(sorted(run_id.decode() for run_id in run_ids)))

    async def _note_scope(self, scope: Scope) -> None:
        """Note that the scope may have sessions."""
        now = self._now_ms()
        noted = self._noted.get(scope)
        if noted is not None and 0 <= now - noted < NOTED_FOR_MS:
            return
        names = self._of(scope)
        await self._function("note_scope", self._names.scopes(names.shard), [names.key, now], reads=False)
        self._noted[scope] = now
        if len(self._noted) > _KNOWN_SCOPES:
            self._noted.popitem(last=False)

    async def _note_work(self, kind: bytes, names: ScopeNames, identifier: str, at: int) -> None:
        """Note something that maintenance shall look at from `at` on."""
        await self._ask("ZADD", self._names.work(kind, names.shard), at, names.key + identifier.encode())

    async def _settle(self, key: bytes, note: bytes, seen: bytes, date: int | bytes) -> None:
        """Date a note anew, or remove it (empty), unless somebody else has dated it since."""
        await self._function("settle_note", [key], [note, seen, date], reads=False)


def new_mark() -> bytes:
    """Return what tells a change from every other one."""
    return token_bytes(8).hex().encode()
