"""Ending a run whose process is gone."""

from __future__ import annotations

from functools import partial

from chatkeep.domain.errors import IdReused, NotFound
from chatkeep.domain.messages import Content, Message, NewMessage, Text
from chatkeep.domain.runs import OUTCOMES, Run, RunEnd, RunOutcome
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import Store
from chatkeep.services.generation import answer_key, message_event, store_question
from chatkeep.services.history import HistoryService
from chatkeep.services.live import StreamEvent, decode_event, encode_event, text_of
from chatkeep.services.retrying import retried

_TAIL = 200


async def recover(store: Store, history: HistoryService, scope: Scope, run: Run) -> RunEnd:
    """End a run that the caller has taken over; what it had said becomes its message. Repeatable at every step.

    If its process had stored the answer already, the run ends as that message says. Raises NotFound, LeaseLost.
    """
    events = await _all_events(store, scope, run)
    await store_question(history, scope, run)
    text = text_of(events)
    outcome: RunOutcome = "cancelled" if run.cancel_requested else "interrupted"
    content = Content(parts=(Text(text),) if text else (), run_id=run.id)
    try:
        stored = await history.append(
            scope,
            run.session_id,
            [NewMessage("assistant", content, outcome)],
            idempotency_key=answer_key(run.id),
        )
        message = stored.messages[0] if stored.messages else None
    except IdReused:
        message = await _answer_of(history, scope, run)
        outcome = _outcome_of(message)
    seq = 0 if message is None else message.seq
    found = message if isinstance(message, Message) else None
    n = run.last_event
    last = [
        encode_event(n + 1, "message", message_event(seq, found)),
        encode_event(n + 2, "done", {"status": outcome, "message_seq": seq, "durable": True}),
    ]
    return await retried(
        lambda: store.finish_run(scope, run.id, outcome, token=run.token, events=last, message_seq=seq)
    )


async def _all_events(store: Store, scope: Scope, run: Run) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    while True:
        after = events[-1].n or 0 if events else 0
        batch = await retried(partial(store.read_events, scope, run.id, after=after))
        if not batch:
            return events
        events.extend(map(decode_event, batch))


async def _answer_of(history: HistoryService, scope: Scope, run: Run) -> Message:
    for entry in await history.read(scope, run.session_id, limit=_TAIL, path="all"):
        if isinstance(entry, Message) and entry.content.run_id == run.id:
            return entry
    raise NotFound("answer of run", run.id)


def _outcome_of(message: Message) -> RunOutcome:
    return next((outcome for outcome in OUTCOMES if outcome == message.status), "complete")
