"""What the model sees of a session, now or for a question that nobody has asked yet."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from chatkeep.domain.budgets import (
    Calibration,
    ContextPolicy,
    ContextRequest,
    Relevance,
    bounded,
    budget_of,
)
from chatkeep.domain.context import Built, Prompt, build
from chatkeep.domain.drafts import LogView
from chatkeep.domain.errors import NotFound, RevisionConflict, StoreError
from chatkeep.domain.folding import Entry
from chatkeep.domain.messages import Message, Text
from chatkeep.domain.paths import Ranges, on_path, parent_of, path_ranges
from chatkeep.domain.prompts import PromptMessage
from chatkeep.domain.reports import Decided, Report, traced
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.domain.summaries import Places, Summaries, anchor, emptied, gaps, placed
from chatkeep.domain.tokens import message_tokens
from chatkeep.domain.wire import part_to_json
from chatkeep.ports.clock import Clock
from chatkeep.ports.embedder import Embedder
from chatkeep.ports.store import Store
from chatkeep.ports.tokenizer import Tokenizer
from chatkeep.services.lexicons import Lexicons, Ranking, Wish
from chatkeep.services.recent import RecentMessages, read_range
from chatkeep.services.retrying import retried
from chatkeep.services.summarising import Kept, SummaryShelf

_LARGE = 400
_ATTEMPTS = 5
_HEAD_MESSAGES = 3
_KNOWN_PROMPTS = 1_024
_KNOWN_COUNTS = 200_000
_CALIBRATION = "context/calibration"
_COUNTS = 3
"""So often a prompt is built until its size by the model's vocabulary is that of its estimate."""
_CLOSE = 0.01
_AT_ONCE = 8
"""For so many prompts the store is read at the same time, and so many follow each other in one turn of the loop at
most: others need not wait for all of a crowd."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """Whom the context is for.

    `upto_seq`: the message that the model shall answer, stored already; None: the newest one of the active path.
    `text`: a message that is not stored yet. `model` is the name by which its counting is known; `window_tokens` what
    it takes.
    """

    text: str | None = None
    upto_seq: int | None = None
    system: Sequence[str] = ()
    model: str = ""
    window_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A prompt, and what is needed to explain it message by message. `tokens` are those of single messages."""

    prompt: Prompt
    places: Places
    tokens: Mapping[int, int]

    def trace(self) -> Sequence[Decided]:
        """Return what became of each message of the path, in its order. Takes time with its length."""
        return traced(self.prompt.report, self.places, self.tokens)


class _Sent(NamedTuple):
    """A prompt that was kept: a mark of each message with its length, and the tokens of what stands first."""

    chain: list[tuple[int, int]]
    fixed_tokens: int


class ContextService:
    """Builds contexts. One read of the session, one of its summaries, and the messages that stand for themselves.

    `on_prompt` gets the report of each prompt that was kept. The embedder, if there is one, is used by the policies
    that ask for it; `close` ends what it does in the background. `tokenizer_of` gives the vocabulary of a model, if it
    has one.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        policy: ContextPolicy,
        *,
        on_prompt: Callable[[Report], None] = lambda _report: None,
        embedder: Embedder | None = None,
        tokenizer_of: Callable[[str], Tokenizer | None] = lambda _model: None,
    ) -> None:
        self.policy = policy
        self._store = store
        self._clock = clock
        self._summaries = SummaryShelf(store)
        self._on_prompt = on_prompt
        self._lexicons = Lexicons(store, embedder)
        self._tokenizer_of = tokenizer_of
        self._recent = RecentMessages(store)
        self._counts: dict[tuple[Tokenizer, int], int] = {}
        self._calibrations: dict[str, Calibration] = {}
        self._sent: OrderedDict[tuple[Scope, str], _Sent] = OrderedDict()
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        """Stop what is done in the background."""
        await self._lexicons.close()

    async def settled(self) -> None:
        """Wait until the messages of the sessions that were asked about have vectors, if there is an embedder."""
        await self._lexicons.settled()

    async def prepare(
        self,
        scope: Scope,
        session_id: str,
        question: Question,
        *,
        policy: ContextPolicy | None = None,
        keep: bool = True,
    ) -> Explained:
        """Return the prompt for the question, and why it is what it is.

        With `keep`, summaries that this prompt is the first to use are stored before it is returned, so that the next
        one begins like it; a store that fails then does not stop it. Raises NotFound, ContextOverflow, StoreError.
        """
        begun = time.perf_counter()
        policy = policy or self.policy
        for attempt in range(_ATTEMPTS):
            async with self._few:
                session, kept = await self._summaries.get_both(scope, session_id)
                calibration = await self._calibration(scope, session_id, question.model)
                head = session.head_seq if question.upto_seq is None else question.upto_seq
                path = path_ranges(head, session.jumps, session.first_seq)
                request = ContextRequest(
                    now=self._clock(),
                    system=question.system,
                    question=question.text,
                    window_tokens=question.window_tokens,
                    calibration=calibration,
                )
                view, relevance = await self._view(scope, session, path, kept.summaries, question, policy, request)
            built = await self._built(
                view, kept.summaries, request, replace(policy, relevance=relevance), question.model
            )
            if await self._is_kept(scope, session, kept, built, keep=keep) or attempt == _ATTEMPTS - 1:
                return self._explained(scope, session_id, view, built, begun, keep=keep)
        raise AssertionError("unreachable")

    async def past(self, scope: Scope, session_id: str, seq: int) -> Explained:
        """Return why the prompt that the answer `seq` was written to was what it was; its messages are not kept.

        Raises NotFound, also for a message without a report: one that no run of this service wrote, or a redacted one.
        """
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None:
            raise NotFound("session", session_id)
        entries = await read_range(self._store, scope, session_id, seq, seq)
        report = entries[0].content.context if entries and isinstance(entries[0], Message) else None
        if report is None:
            raise NotFound("report of what the model saw for message", seq)
        parent = parent_of(seq, session.jumps)
        places = Places(path_ranges(parent, session.jumps, session.first_seq))
        return Explained(Prompt((), Report.from_json(report)), places, {})

    async def segments(self, scope: Scope, session_id: str) -> Summaries:
        """Return the summaries of the session. Raises NotFound."""
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None:
            raise NotFound("session", session_id)
        return (await self._summaries.get(scope, session)).summaries

    async def forget(self, scope: Scope, session_id: str) -> None:
        """Remove all summaries of the session; they are made anew when they are needed. Raises NotFound, Closed."""
        await self._summaries.change(scope, session_id, emptied)

    async def _built(
        self, view: LogView, summaries: Summaries, request: ContextRequest, policy: ContextPolicy, model: str
    ) -> Built:
        """Build the prompt; until a provider has reported usage, as often as its counting by vocabulary asks for."""
        tokenizer = None if request.calibration.reports else self._tokenizer_of(model)
        for attempt in range(_COUNTS):
            if len(view.entries) > _LARGE:
                built = await asyncio.to_thread(build, view, summaries, request, policy)
            else:
                built = build(view, summaries, request, policy)
            if tokenizer is None or attempt == _COUNTS - 1:
                return built
            counted = await asyncio.to_thread(self._counted, built.prompt, tokenizer)
            if request.calibration.exact and abs(counted / request.calibration.factor - 1) <= _CLOSE:
                return built
            request = replace(request, calibration=Calibration(factor=counted, exact=True))
            if not self._calibrations.get(model, request.calibration).reports:
                self._calibrations[model] = request.calibration
        raise AssertionError("unreachable")

    def _counted(self, prompt: Prompt, tokenizer: Tokenizer) -> float:
        """Return what the prompt takes by the model's vocabulary, by its estimate; each message is counted once."""
        exact = estimated = 0
        for message in prompt.messages:
            key = (tokenizer, _mark(message)[0])
            known = self._counts.get(key)
            if known is None:
                if len(self._counts) >= _KNOWN_COUNTS:
                    self._counts.clear()
                known = self._counts[key] = message_tokens(message.parts, tokenizer.count)
            exact += known
            estimated += message_tokens(message.parts)
        return bounded(exact / max(1, estimated))

    async def _is_kept(self, scope: Scope, session: Session, kept: Kept, built: Built, *, keep: bool) -> bool:
        """Store the summaries if they changed; False when somebody else changed them meanwhile."""
        if not keep or built.summaries == kept.summaries:
            return True
        try:
            await self._summaries.put(scope, session, Kept(built.summaries, kept.version))
        except RevisionConflict:
            return False
        except StoreError as error:
            _log.warning("the summaries of a session were not stored: %s", error.code)
        return True

    async def _view(
        self,
        scope: Scope,
        session: Session,
        path: Ranges,
        summaries: Summaries,
        question: Question,
        policy: ContextPolicy,
        request: ContextRequest,
    ) -> tuple[LogView, Relevance]:
        """Return what the prompt may be made of, and how older messages were found.

        Where all that no summary stands for, or is about to, fits into the prompt, the others alone are looked through.
        """
        places, budget = Places(path), budget_of(policy, request)
        entries, costs = await self._recent.read(scope, session, summaries, _wanted(places, summaries, policy))
        query = _query(question, entries)
        found = Ranking((), policy.relevance)
        windows = {"recent": policy.max_messages, "window_summary": policy.recent}
        shown = min(len(entries), windows.get(policy.strategy, places.count))
        verbatim = sum(costs.values())
        is_partial = places.count > shown or verbatim > policy.tmax_tokens // 2
        is_roomy = policy.strategy == "anchored" and verbatim * request.calibration.factor <= budget.room
        stays = anchor(placed((*summaries.published, *summaries.ready), places)) if is_roomy else places.count
        if policy.relevance != "off" and query and is_partial and stays > 0:
            found = await self._lexicons.ranked(
                scope,
                session.id,
                session.incarnation,
                places.seqs(0, places.count - (1 if question.text is None else 0)),
                Wish(
                    query,
                    policy.relevance,
                    before_seq=places.seq(stays) if stays < places.count else None,
                    budget_tokens=budget.relevant,
                    erased=frozenset(summaries.redacted),
                ),
                epoch=summaries.epoch,
                first_seq=session.first_seq,
                known=entries,
            )
            if policy.relevance == "recency":
                found = Ranking(sorted(found.documents, key=lambda one: -one[0].seq), "recency")
        return LogView(places, entries, found.documents, query, costs), found.relevance

    async def _calibration(self, scope: Scope, session_id: str, model: str) -> Calibration:
        """Return what is known of the model's counting: by this process, else by the session."""
        known = self._calibrations.get(model)
        if known is not None or not model:
            return known or Calibration()
        stored, _ = await self._stored_calibrations(scope, session_id)
        if model in stored:
            self._calibrations[model] = stored[model]
        return self._calibrations.get(model, Calibration())

    def fixed_tokens(self, scope: Scope, session_id: str) -> int:
        """Return what stood first in the session's last prompt, whatever was said; 0 if this process has sent none."""
        sent = self._sent.get((scope, session_id))
        return 0 if sent is None else sent.fixed_tokens

    async def learn(self, scope: Scope, session_id: str, model: str, prompt: Prompt, *, reported_tokens: int) -> None:
        """Take the number of tokens that a provider has reported for the prompt, and keep it with the session."""
        estimated = sum(message_tokens(message.parts) for message in prompt.messages)
        before = self._calibrations.get(model, Calibration())
        after = before.learnt(estimated=estimated, reported=reported_tokens)
        self._calibrations[model] = after
        stored, version = await self._stored_calibrations(scope, session_id)
        stored[model] = after
        value = json.dumps({name: [round(one.factor, 4), one.reports] for name, one in stored.items()}).encode()
        try:
            await self._store.put_state(scope, session_id, _CALIBRATION, value, expected_version=version)
        except RevisionConflict:
            _log.debug("another process has just kept what a provider reported")

    async def _stored_calibrations(self, scope: Scope, session_id: str) -> tuple[dict[str, Calibration], int]:
        """Return what the session keeps of each model's counting, and its version; nothing if it cannot be read."""
        state = await retried(lambda: self._store.get_state(scope, session_id, _CALIBRATION))
        if state is None:
            return {}, 0
        try:
            stored: dict[str, tuple[float, int]] = json.loads(state.value)
            kept = {name: Calibration(factor=factor, reports=reports) for name, (factor, reports) in stored.items()}
        except (ValueError, TypeError, AttributeError):
            kept = {}
        return kept, state.version

    def _explained(
        self, scope: Scope, session_id: str, view: LogView, built: Built, begun: float, *, keep: bool
    ) -> Explained:
        prompt = built.prompt
        chain = list(map(_mark, prompt.messages))
        before = self._sent.get((scope, session_id))
        same = 0
        for (mark, size), (other, _) in zip(chain, before.chain if before else (), strict=False):
            if mark != other:
                break
            same += size
        if keep:
            fixed = sum(prompt.report.tokens[part] for part in ("system", "tools", "pinned"))
            self._sent[scope, session_id] = _Sent(chain, fixed)
            self._sent.move_to_end((scope, session_id))
            if len(self._sent) > _KNOWN_PROMPTS:
                self._sent.popitem(last=False)
        report = replace(
            prompt.report,
            prefix_fraction=same / max(1, sum(size for _, size in chain)),
            build_ms=(time.perf_counter() - begun) * 1000,
        )
        if keep:
            self._on_prompt(report)
        return Explained(Prompt(prompt.messages, report), view.places, view.tokens)


def _mark(message: PromptMessage) -> tuple[int, int]:
    """Return what tells the message from others in this process, and its length, by which a prompt's parts weigh."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text):
        said = parts[0].text
    else:
        said = json.dumps([part_to_json(part) for part in parts], ensure_ascii=False)
    return hash((message.role, len(parts), said)), len(said)


def _wanted(places: Places, summaries: Summaries, policy: ContextPolicy) -> Ranges:
    """Return the ranges of messages to read, ascending and apart."""
    if policy.strategy == "full":
        return places.seqs(0, places.count)
    if policy.strategy == "anchored":
        chain = placed(summaries.published, places)
        ranges = [pair for start, stop in gaps(chain) for pair in places.seqs(start, stop)]
        ranges += places.seqs(anchor(chain), places.count)
        pins = {pin for one in chain for pin in one.segment.pins}
        return tuple(sorted([*ranges, *((pin, pin) for pin in pins if not on_path(pin, tuple(ranges)))]))
    most = policy.max_messages if policy.strategy == "recent" else policy.recent + policy.summarised
    start = max(0, places.count - 4 * most - 50)
    head = places.seqs(0, min(start, _HEAD_MESSAGES))
    return (*head, *places.seqs(start, places.count))


def _query(question: Question, entries: Sequence[Entry]) -> str:
    if question.text is not None:
        return question.text
    asked = next((entry for entry in reversed(entries) if isinstance(entry, Message) and entry.role == "user"), None)
    return "" if asked is None else " ".join(part.text for part in asked.parts if isinstance(part, Text))
