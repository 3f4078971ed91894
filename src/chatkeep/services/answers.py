"""Storing the two messages of a run, each once, whoever of its owners gets there first."""

from __future__ import annotations

from dataclasses import dataclass

from chatkeep.domain.errors import Closed, IdReused, NotFound, SeqConflict
from chatkeep.domain.messages import Message, MessageStatus, NewMessage, user
from chatkeep.domain.paths import on_path
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.services.asks import Ask
from chatkeep.services.history import HistoryService


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer of a run in the log. `seq` None: its question is gone, so there is no place for it.

    `by_us` is false when another owner had stored it; `message` is None when it has been removed since.
    """

    seq: int | None
    message: Message | None
    by_us: bool

    def status(self, otherwise: MessageStatus) -> MessageStatus:
        """Return how the stored answer ended."""
        return otherwise if self.message is None else self.message.status


async def store_question(history: HistoryService, scope: Scope, run: Run) -> int:
    """Store the user's message, or for a regeneration find it; return its seq. Repeatable. Raises as an append."""
    ask = Ask.from_run(run)
    if ask.kind == "regenerate":
        return ask.parent_seq or 0
    stored = await history.append(
        scope,
        run.session_id,
        [user(ask.text)],
        idempotency_key=f"run/{run.id}/question",
        parent_seq=ask.parent_seq if ask.kind == "edit" else None,
        incarnation=run.incarnation,
    )
    return stored.session.last_seq if not stored.messages else stored.messages[0].seq


async def store_answer(
    history: HistoryService, scope: Scope, run: Run, question_seq: int, session: Session, answer: NewMessage
) -> StoredAnswer:
    """Store the answer behind its question, once for the run. Repeatable.

    Usually it continues the active path. When the reader has gone to another branch meanwhile, or asked for another
    answer to the same question, it becomes a branch behind the question.
    """
    follows = on_path(question_seq, session.path) and Ask.from_run(run).kind != "regenerate"
    try:
        stored = await history.append(
            scope,
            run.session_id,
            [answer],
            idempotency_key=f"run/{run.id}/answer",
            parent_seq=None if follows else question_seq,
            incarnation=run.incarnation,
        )
    except IdReused as error:
        seq = error.first_seq
        return StoredAnswer(seq, await _find(history, scope, run, seq), by_us=False)
    except (SeqConflict, NotFound, Closed):
        return StoredAnswer(None, None, by_us=True)
    first = stored.messages[0] if stored.messages else None
    return StoredAnswer(first.seq if first else None, first if isinstance(first, Message) else None, by_us=True)


async def _find(history: HistoryService, scope: Scope, run: Run, seq: int | None) -> Message | None:
    if seq is None:
        return None
    try:
        entry = await history.get(scope, run.session_id, seq)
    except NotFound:
        return None
    return entry if isinstance(entry, Message) else None
