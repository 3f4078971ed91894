"""The words of conversations, indexed in memory and kept for those that were asked about last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from chatkeep.domain.folding import Entry, line_of
from chatkeep.domain.messages import Message
from chatkeep.domain.paths import Ranges
from chatkeep.domain.relevance import Document, Lexicon, ranked
from chatkeep.domain.scope import Scope
from chatkeep.domain.tokens import message_tokens
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried

MAX_CHARS = 64_000_000
"""So many code points of text are kept in memory; the conversations that were not asked about for longest go first."""
MAX_CANDIDATES = 200

_READ = 1_000
_LARGE = 200


@dataclass(slots=True)
class _Shelf:
    """One conversation. `epoch` and `first_seq` change when something of it is erased."""

    epoch: int
    first_seq: int
    path: Ranges = ()
    lexicon: Lexicon = field(default_factory=Lexicon)
    chars: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Lexicons:
    """Ranks the messages of a path by their words. What was erased is forgotten with the next question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shelves: OrderedDict[tuple[Scope, str, str], _Shelf] = OrderedDict()

    async def ranked(
        self,
        scope: Scope,
        session_id: str,
        incarnation: str,
        path: Ranges,
        query: str,
        *,
        epoch: int,
        first_seq: int,
        erased: Collection[int] = (),
        known: Sequence[Entry] = (),
    ) -> Sequence[tuple[Document, float]]:
        """Return up to MAX_CANDIDATES messages of `path` that bear on the query, best first.

        `erased` messages are left out, whatever their rows still say; `known` ones the caller has read already. Raises
        as `Store.read`.
        """
        key = (scope, session_id, incarnation)
        shelf = self._shelves.get(key)
        if shelf is None or (shelf.epoch, shelf.first_seq) != (epoch, first_seq) or not _continues(path, shelf.path):
            shelf = self._shelves[key] = _Shelf(epoch, first_seq)
        self._shelves.move_to_end(key)
        async with shelf.lock:
            try:
                await self._catch_up(scope, session_id, shelf, path, {entry.seq: entry for entry in known})
            except BaseException:  # it holds a part of the messages now, nobody knows which
                if self._shelves.get(key) is shelf:
                    del self._shelves[key]
                raise
            self._forget()
            work = partial(_best, shelf.lexicon, query, frozenset(erased))
            return await asyncio.to_thread(work) if len(shelf.lexicon.documents) > _LARGE else work()

    async def _catch_up(
        self, scope: Scope, session_id: str, shelf: _Shelf, path: Ranges, known: Mapping[int, Entry]
    ) -> None:
        reached = shelf.path[-1][1] if shelf.path else 0
        for low, high in path:
            after = max(low - 1, reached)
            while after < high:
                seqs = range(after + 1, min(high, after + _READ) + 1)
                if all(seq in known for seq in seqs):
                    page: Sequence[Entry] = [known[seq] for seq in seqs]
                else:
                    page = await read_range(self._store, scope, session_id, seqs[0], seqs[-1])
                add = partial(_add, shelf, page)
                if len(page) > _LARGE:
                    await asyncio.to_thread(add)
                else:
                    add()
                after = min(high, after + _READ)
        shelf.path = path

    def _forget(self) -> None:
        held = sum(shelf.chars for shelf in self._shelves.values())
        while held > MAX_CHARS and len(self._shelves) > 1:
            _, shelf = self._shelves.popitem(last=False)
            held -= shelf.chars


async def read_range(store: Store, scope: Scope, session_id: str, low: int, high: int) -> Sequence[Entry]:
    """Return the messages from `low` to `high`, up to 1,000, of whatever branch. Raises NotFound, StoreError."""
    return await retried(
        lambda: store.read(scope, session_id, after_seq=low - 1, before_seq=high + 1, limit=high - low + 1, path="all")
    )


def _continues(path: Ranges, known: Ranges) -> bool:
    """Return whether the path begins with the known one."""
    if not known:
        return True
    *whole, (low, high) = known
    at = len(whole)
    return list(path[:at]) == whole and len(path) > at and path[at][0] == low and path[at][1] >= high


def _add(shelf: _Shelf, page: Sequence[Entry]) -> None:
    for entry in page:
        if isinstance(entry, Message) and entry.role in ("user", "assistant") and entry.text.strip():
            line = line_of(entry)
            document = Document(entry.seq, line.speaker, entry.text, entry.created_at, message_tokens(entry.parts))
            shelf.lexicon.add(document)
            shelf.chars += len(entry.text)


def _best(lexicon: Lexicon, query: str, erased: frozenset[int]) -> Sequence[tuple[Document, float]]:
    scores = lexicon.scores(query)
    found = ((lexicon.documents[at], scores[at]) for at in ranked(scores)[:MAX_CANDIDATES])
    return [(document, score) for document, score in found if document.seq not in erased]
