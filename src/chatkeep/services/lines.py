"""One line about each turn, for lists of them: by the model, or else the beginnings of the question and the answer.

A model's lines are kept beside the session and not in its messages, which are final, so that they go with what they
tell of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from chatkeep.domain.checks import MAX_SUMMARY_CHARS
from chatkeep.domain.errors import RevisionConflict
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.scope import Scope
from chatkeep.domain.titles import cut_line, shortened
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried

MAX_LINES = 1_000
"""So many of the newest questions keep a model's line."""
_KEY = "turn-lines"
_ATTEMPTS = 20
_QUESTION_CHARS = 60
_ANSWER_CHARS = 80


def plain_line(question: str, answer: str) -> str | None:
    """Return the line of a turn for which no model wrote one; None for a question without words."""
    asked, answered = shortened(question, _QUESTION_CHARS), shortened(answer, _ANSWER_CHARS)
    return cut_line(f"{asked} → {answered}", MAX_SUMMARY_CHARS) if asked and answered else asked or None


def lines_of(entries: Sequence[Message | Unreadable], written: Mapping[int, str]) -> Mapping[int, str]:
    """Return one line about the turn of each question among `entries`, by the question's seq.

    Its own, one of those that a model has `written`, or the beginnings of the question and of the answer, if that is
    among them.
    """
    messages = [entry for entry in entries if isinstance(entry, Message)]
    answers: dict[int, str] = {}
    for entry in messages:
        if entry.role == "assistant":
            answers.setdefault(entry.parent_seq, entry.text)
    found: dict[int, str] = {}
    for entry in messages:
        if entry.role == "user":
            own, text = None, entry.plain_text
            if text is None:
                if not entry.parts:
                    continue
                own, text = entry.content.query_summary, entry.text
            line = own or written.get(entry.seq) or plain_line(text, answers.get(entry.seq, ""))
            if line is not None:
                found[entry.seq] = line
    return found


class TurnLines:
    """The lines that a model wrote, by the seqs of their questions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, scope: Scope, session_id: str) -> Mapping[int, str]:
        """Return the lines of the session. Raises NotFound, StoreError."""
        state = await retried(lambda: self._store.get_state(scope, session_id, _KEY))
        return {} if state is None else _read(state.value)

    async def put(self, scope: Scope, session_id: str, question_seq: int, line: str, *, incarnation: str) -> None:
        """Keep the line of a question. Raises NotFound, Closed, StoreError."""

        def add(lines: dict[int, str]) -> dict[int, str]:
            newest = sorted({**lines, question_seq: line}.items())[-MAX_LINES:]
            return dict(newest)

        await self._change(scope, session_id, add, incarnation)

    async def forget(self, scope: Scope, session_id: str, *seqs: int) -> None:
        """Remove the lines of these questions. Raises NotFound, Closed, StoreError."""
        await self._change(
            scope, session_id, lambda lines: {seq: line for seq, line in lines.items() if seq not in seqs}, None
        )

    async def forget_below(self, scope: Scope, session_id: str, first_seq: int) -> None:
        """Remove the lines of all questions below `first_seq`. Raises NotFound, Closed, StoreError."""
        await self._change(
            scope, session_id, lambda lines: {seq: line for seq, line in lines.items() if seq >= first_seq}, None
        )

    async def _change(
        self,
        scope: Scope,
        session_id: str,
        step: Callable[[dict[int, str]], dict[int, str]],
        incarnation: str | None,
    ) -> None:
        for attempt in range(_ATTEMPTS):
            state = await retried(lambda: self._store.get_state(scope, session_id, _KEY))
            before = {} if state is None else _read(state.value)
            after = step(before)
            if after == before:
                return
            version = 0 if state is None else state.version
            value = json.dumps(after, ensure_ascii=False).encode()
            try:
                await self._store.put_state(
                    scope, session_id, _KEY, value, expected_version=version, incarnation=incarnation
                )
            except RevisionConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return


def _read(value: bytes) -> dict[int, str]:
    try:
        return {int(seq): str(line) for seq, line in json.loads(value).items()}
    except (ValueError, AttributeError):
        return {}
