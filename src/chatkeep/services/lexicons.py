"""What conversations say, indexed in memory by words and meaning, and kept for those that were asked about last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from chatkeep.domain.budgets import Relevance
from chatkeep.domain.errors import ChatkeepError
from chatkeep.domain.folding import Entry, speaker_of
from chatkeep.domain.messages import Message
from chatkeep.domain.paths import Ranges
from chatkeep.domain.relevance import Document, Lexicon, ranked
from chatkeep.domain.scope import Scope
from chatkeep.domain.tokens import message_tokens
from chatkeep.domain.vectors import VectorPage, by_page, last_seq, page_of
from chatkeep.ports.embedder import Embedder, Likeness
from chatkeep.ports.store import Store
from chatkeep.services.recent import read_range
from chatkeep.services.retrying import retried
from chatkeep.services.summarising import SummaryShelf
from chatkeep.services.vectors import KeptPage, VectorShelf

MAX_CHARS = 64_000_000
"""About so many code points are kept in memory; conversations that were not asked about for longest go first."""
MAX_CANDIDATES = 200
EMBED_SECONDS = 0.25
"""So long a prompt waits for the vector of its question; without one it does with words."""

_READ = 1_000
_LARGE = 200
_LONG = 20_000
"""Words are looked up at once in conversations of up to so many messages: a thread would hold the interpreter's lock
just as long, and starting it takes longer than it gives back."""
_DOCUMENT_CHARS = 400
"""What a message takes in memory beside its text, counted like text; a conversation takes as much again."""
_VECTOR_CHARS = 400
"""What a vector takes in memory, counted like text."""
_AT_ONCE = 8
"""So many texts are embedded in one go; between two of them a question gets its turn."""

_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    scope: Scope
    session_id: str
    incarnation: str


@dataclass(slots=True)
class _Meaning:
    """The vectors of a conversation. `places` are those of messages that have none yet; `new` ones are not stored."""

    likeness: Likeness
    places: dict[int, int] = field(default_factory=dict)
    known: int = 0
    new: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Shelf:
    """One conversation. `epoch` and `first_seq` change when something of it is erased."""

    epoch: int
    first_seq: int
    meaning: _Meaning | None
    path: Ranges = ()
    lexicon: Lexicon = field(default_factory=Lexicon)
    chars: int = _DOCUMENT_CHARS
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Wish(NamedTuple):
    """What is looked for, and how.

    Of messages from `before_seq` on there is no need; None: of all there is. About `budget_tokens` of them will be
    quoted. `erased` ones are left out, whatever their rows still say.
    """

    query: str
    relevance: Relevance
    before_seq: int | None = None
    budget_tokens: int | None = None
    erased: Collection[int] = ()


class Ranking(NamedTuple):
    """Messages that bear on a question, best first, and how they were found: by words alone while vectors lack."""

    documents: Sequence[tuple[Document, float]]
    relevance: Relevance


class Lexicons:
    """Ranks the messages of a path. What was erased is forgotten with the next question.

    With an embedder, messages are embedded in the background once a question was asked about their conversation.
    """

    def __init__(self, store: Store, embedder: Embedder | None = None) -> None:
        self._store = store
        self._embedder = embedder
        self._vectors = VectorShelf(store)
        self._summaries = SummaryShelf(store)
        self._shelves: OrderedDict[_Key, _Shelf] = OrderedDict()
        self._embedding: dict[_Key, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def close(self) -> None:
        """Stop what is done in the background."""
        tasks = list(self._embedding.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until all messages that were asked about have their vectors."""
        await asyncio.gather(*self._embedding.values())

    async def ranked(
        self,
        scope: Scope,
        session_id: str,
        incarnation: str,
        path: Ranges,
        wish: Wish,
        *,
        epoch: int,
        first_seq: int,
        known: Sequence[Entry] = (),
    ) -> Ranking:
        """Return up to MAX_CANDIDATES messages of `path` that bear on the question, best first.

        `known` messages the caller has read already. Raises as `Store.read`.
        """
        key = _Key(scope, session_id, incarnation)
        shelf = self._shelves.get(key)
        if shelf is None or (shelf.epoch, shelf.first_seq) != (epoch, first_seq) or not _continues(path, shelf.path):
            meaning = None if self._embedder is None else _Meaning(self._embedder.likeness())
            shelf = self._shelves[key] = _Shelf(epoch, first_seq, meaning)
        self._shelves.move_to_end(key)
        async with shelf.lock:
            try:
                await self._catch_up(key, shelf, path, {entry.seq: entry for entry in known}, wish.erased)
            except BaseException:  # it holds a part of the messages now, nobody knows which
                if self._shelves.get(key) is shelf:
                    del self._shelves[key]
                raise
            self._forget()
            vector = await self._vector(shelf, wish)
            is_quick = vector is None and len(shelf.lexicon.documents) <= _LONG
            found = _best(shelf, wish, vector) if is_quick else await asyncio.to_thread(_best, shelf, wish, vector)
        self._embed_soon(key, shelf)
        return found

    async def _vector(self, shelf: _Shelf, wish: Wish) -> bytes | None:
        """Return the vector of the question, if it is of use and comes in time."""
        embedder, meaning = self._embedder, shelf.meaning
        if wish.relevance not in ("embedding", "hybrid") or embedder is None or meaning is None:
            return None
        if not embedder.is_ready or not meaning.known:
            return None
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                return (await embedder.embed([shelf.lexicon.without_speakers(wish.query)]))[0]
        except Exception as error:  # noqa: BLE001 -- an embedder of somebody else's; its fault ends no answer
            _log.info("older messages are chosen by words: the question got no vector: %s", type(error).__name__)
            return None

    async def _catch_up(
        self, key: _Key, shelf: _Shelf, path: Ranges, known: Mapping[int, Entry], erased: Collection[int]
    ) -> None:
        reached = shelf.path[-1][1] if shelf.path else 0
        for low, high in path:
            after = max(low - 1, reached)
            while after < high:
                seqs = range(after + 1, min(high, after + _READ) + 1)
                if all(seq in known for seq in seqs):
                    page: Sequence[Entry] = [known[seq] for seq in seqs]
                else:
                    page = await read_range(self._store, key.scope, key.session_id, seqs[0], seqs[-1])
                add = partial(_add, shelf, page, erased)
                if len(page) > _LARGE:
                    await asyncio.to_thread(add)
                else:
                    add()
                after = min(high, after + _READ)
                await self._load(key, shelf, seqs)
        shelf.path = path

    async def _load(self, key: _Key, shelf: _Shelf, seqs: range) -> None:
        """Take the stored vectors of messages that have just been added."""
        if shelf.meaning is None or self._embedder is None:
            return
        name = self._embedder.name
        wanted = [seq for seq in seqs if seq in shelf.meaning.places]
        stored = await self._vectors.load(key.scope, key.session_id, wanted, name=name)
        for seq in wanted:
            if seq in stored:
                with contextlib.suppress(ValueError):  # of another size: it is made anew
                    _put(shelf.meaning, seq, stored[seq])

    def _embed_soon(self, key: _Key, shelf: _Shelf) -> None:
        """Embed what has no vector yet, in the background; nobody waits for it."""
        if self._embedder is None or not self._embedder.is_ready or shelf.meaning is None or key in self._embedding:
            return
        if not shelf.meaning.places:
            return
        task = asyncio.create_task(self._embed(key, shelf, shelf.meaning, self._embedder), name="embedding")
        self._embedding[key] = task
        task.add_done_callback(lambda _task: self._embedding.pop(key, None))

    async def _embed(self, key: _Key, shelf: _Shelf, meaning: _Meaning, embedder: Embedder) -> None:
        try:
            async with self._one_at_a_time:
                for number, seqs in by_page([*meaning.new, *meaning.places]).items():
                    wanted = [seq for seq in seqs if seq in meaning.places]
                    for low in range(0, len(wanted), _AT_ONCE):
                        await self._embed_some(shelf, meaning, embedder, wanted[low : low + _AT_ONCE])
                    if last_seq(number) <= shelf.path[-1][1]:
                        await self._keep(key, shelf, meaning, number, embedder.name)
        except ChatkeepError as error:
            _log.info("messages of a session wait for their vectors: %s", error.code)
        except Exception as error:  # noqa: BLE001 -- an embedder of somebody else's; its fault ends no answer
            _log.warning("messages of a session wait for their vectors: embedding failed: %s", type(error).__name__)

    async def _embed_some(self, shelf: _Shelf, meaning: _Meaning, embedder: Embedder, seqs: Sequence[int]) -> None:
        texts = [shelf.lexicon.documents[meaning.places[seq]] for seq in seqs]
        vectors = await embedder.embed([f"{one.speaker}: {one.text}" for one in texts])
        async with shelf.lock:
            for seq, vector in zip(seqs, vectors, strict=True):
                if seq in meaning.places:  # else it was found in the store meanwhile
                    meaning.new[seq] = vector
                    _put(meaning, seq, vector)

    async def _keep(self, key: _Key, shelf: _Shelf, meaning: _Meaning, number: int, name: str) -> None:
        """Store the vectors of a page whose messages are all there; `services.vectors` says why in this order."""
        made = {seq: meaning.new.pop(seq) for seq in list(meaning.new) if page_of(seq) == number}
        if not made:
            return
        await self._vectors.announce(key.scope, key.session_id, number, incarnation=key.incarnation)
        stored, version = await self._vectors.get(key.scope, key.session_id, number)
        session = await retried(lambda: self._store.find_session(key.scope, key.session_id))
        if session is None or session.incarnation != key.incarnation or session.first_seq != shelf.first_seq:
            return
        if (await self._summaries.get(key.scope, session)).summaries.epoch != shelf.epoch:
            return
        before = stored.vectors if stored.name == name else {}
        page = VectorPage(name, {**before, **made})
        await self._vectors.put(key.scope, key.session_id, number, KeptPage(page, version), incarnation=key.incarnation)

    def _forget(self) -> None:
        held = sum(shelf.chars for shelf in self._shelves.values())
        while held > MAX_CHARS and len(self._shelves) > 1:
            _, shelf = self._shelves.popitem(last=False)
            held -= shelf.chars


def _continues(path: Ranges, known: Ranges) -> bool:
    """Return whether the path begins with the known one."""
    if not known:
        return True
    *whole, (low, high) = known
    at = len(whole)
    return list(path[:at]) == whole and len(path) > at and path[at][0] == low and path[at][1] >= high


def _add(shelf: _Shelf, page: Sequence[Entry], erased: Collection[int]) -> None:
    for entry in page:
        if isinstance(entry, Message) and entry.role in ("user", "assistant") and entry.text.strip():
            tokens = message_tokens(entry.parts)
            document = Document(entry.seq, speaker_of(entry), entry.text, entry.created_at, tokens)
            place = len(shelf.lexicon.documents)
            shelf.lexicon.add(document)
            shelf.chars += len(entry.text) + _DOCUMENT_CHARS
            if shelf.meaning is not None:
                shelf.meaning.likeness.add(joined=shelf.lexicon.is_joined(place))
                shelf.chars += _VECTOR_CHARS
                if entry.seq not in erased:
                    shelf.meaning.places[entry.seq] = place


def _put(meaning: _Meaning, seq: int, vector: bytes) -> None:
    meaning.likeness.put(meaning.places[seq], vector)
    del meaning.places[seq]
    meaning.known += 1


def _best(shelf: _Shelf, wish: Wish, vector: bytes | None) -> Ranking:
    likeness: Mapping[int, float] | None = None
    relevance = wish.relevance
    if vector is not None and shelf.meaning is not None:
        likeness = shelf.meaning.likeness.to(vector, most=MAX_CANDIDATES)
    elif relevance in ("embedding", "hybrid"):
        relevance = "bm25"
    scores = shelf.lexicon.scores(
        wish.query,
        budget_tokens=wish.budget_tokens,
        before_seq=wish.before_seq,
        likeness=likeness,
        by_words=relevance != "embedding",
    )
    found = ((shelf.lexicon.documents[at], scores[at]) for at in ranked(scores, most=MAX_CANDIDATES))
    return Ranking([(document, score) for document, score in found if document.seq not in wish.erased], relevance)
