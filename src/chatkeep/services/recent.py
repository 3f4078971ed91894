"""The messages that prompts were last made of, kept in memory, so that the next one of a session reads what is new."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from chatkeep.domain.folding import Entry, entry_tokens
from chatkeep.domain.messages import Message
from chatkeep.domain.paths import Ranges
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.domain.summaries import Summaries
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried

MAX_BYTES = 64_000_000
"""About so many bytes of memory are used; the sessions that were not asked for longest go first."""
_OBJECT_BYTES = 1_000
"""What a session, and each of its messages, takes beside the bodies, which are there twice: stored and decoded."""
_READ = 1_000


class Read(NamedTuple):
    """Messages in ascending order, and the estimates of those that are not redacted, by seq."""

    entries: Sequence[Entry]
    tokens: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What one prompt was made of. A message never changes but by its erasure, which is a new epoch.

    `state` is the session's incarnation and that epoch.
    """

    state: tuple[str, int]
    messages: Sequence[Message]
    tokens: Mapping[int, int]
    size: int


class RecentMessages:
    """Reads messages of sessions for prompts. What was erased is read anew, whatever is kept of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[Scope, str], _Kept] = OrderedDict()
        self._size = 0

    async def read(self, scope: Scope, session: Session, summaries: Summaries, wanted: Ranges) -> Read:
        """Return the messages in the ranges, which are ascending and apart, and keep them instead of those before.

        `summaries` are those of the session as they were read for this prompt. Raises NotFound, StoreError.
        """
        key = (scope, session.id)
        state = (session.incarnation, summaries.epoch)
        kept = self._kept.get(key)
        if kept is None or kept.state != state:
            kept = _Kept(state, (), {}, 0)
        entries: list[Entry] = []
        for low, high in wanted:
            known = _known(kept.messages, low, high, summaries.redacted)
            entries += known
            for first in range(low + len(known), high + 1, _READ):
                entries += await read_range(self._store, scope, session.id, first, min(high, first + _READ - 1))
        tokens = {
            entry.seq: kept.tokens.get(entry.seq) or entry_tokens(entry)
            for entry in entries
            if isinstance(entry, Message) and not entry.redacted
        }
        self._keep(key, state, entries, tokens)
        return Read(entries, tokens)

    def _keep(
        self, key: tuple[Scope, str], state: tuple[str, int], entries: Sequence[Entry], tokens: Mapping[int, int]
    ) -> None:
        messages = [entry for entry in entries if isinstance(entry, Message)]
        size = _OBJECT_BYTES + sum(_OBJECT_BYTES + 2 * len(message.body) for message in messages)
        before = self._kept.pop(key, None)
        self._size += size - (0 if before is None else before.size)
        self._kept[key] = _Kept(state, messages, tokens, size)
        while self._size > MAX_BYTES:
            self._size -= self._kept.popitem(last=False)[1].size


def _known(messages: Sequence[Message], low: int, high: int, erased: Collection[int]) -> Sequence[Message]:
    """Return those of the messages, ascending, that stand from `low` on without a gap, up to `high`.

    None if one of them is `erased` and still has its text: its row was not blank yet when it was read.
    """
    found = messages[
        bisect_left(messages, low, key=attrgetter("seq")) : bisect_right(messages, high, key=attrgetter("seq"))
    ]
    if not found or found[-1].seq - low != len(found) - 1:
        return ()
    if erased and not frozenset(erased).isdisjoint(message.seq for message in found if not message.redacted):
        return ()
    return found


async def read_range(store: Store, scope: Scope, session_id: str, low: int, high: int) -> Sequence[Entry]:
    """Return the messages from `low` to `high`, up to 1,000, of whatever branch. Raises NotFound, StoreError."""
    return await retried(
        lambda: store.read(scope, session_id, after_seq=low - 1, before_seq=high + 1, limit=high - low + 1, path="all")
    )
