"""Ending a run whose process is gone."""

from __future__ import annotations

from functools import partial

from chatkeep.domain.errors import Closed, NotFound, SeqConflict
from chatkeep.domain.messages import Content, NewMessage, Text
from chatkeep.domain.runs import OUTCOMES, Run, RunEnd, RunOutcome
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import Store
from chatkeep.services.answers import StoredAnswer, store_answer, store_question
from chatkeep.services.asks import Ask
from chatkeep.services.generation import message_event
from chatkeep.services.history import HistoryService
from chatkeep.services.live import StreamEvent, decode_event, encode_event, text_of
from chatkeep.services.retrying import retried


async def recover(store: Store, history: HistoryService, scope: Scope, run: Run) -> RunEnd:
    """End a run that the caller has taken over; what it had said becomes its message. Repeatable at every step.

    If its process had stored the answer already, the run ends as that message says. Raises NotFound, LeaseLost.
    """
    events = await _all_events(store, scope, run)
    text = text_of(events)
    outcome: RunOutcome = "cancelled" if run.cancel_requested else "interrupted"
    context = next((event.data for event in events if event.type == "context"), {})
    report = {name: value for name, value in context.items() if name not in ("agent", "messages")}
    content = Content(
        parts=(Text(text),) if text else (),
        agent_name=context.get("agent"),
        model=Ask.from_run(run).model,
        run_id=run.id,
        context=report or None,
    )
    try:
        question_seq = await store_question(history, scope, run)
        session = await retried(lambda: store.find_session(scope, run.session_id))
        if session is None:
            raise NotFound("session", run.session_id)
        answer = NewMessage("assistant", content, outcome)
        stored = await store_answer(history, scope, run, question_seq, session, answer)
    except (SeqConflict, Closed):
        stored = StoredAnswer(None, None, by_us=True)
    status = stored.status(outcome)
    outcome = next((known for known in OUTCOMES if known == status), "complete")
    n = run.last_event
    last = [
        encode_event(n + 1, "message", message_event(stored)),
        encode_event(n + 2, "done", {"status": outcome, "message_seq": stored.seq, "durable": stored.seq is not None}),
    ]
    return await retried(
        lambda: store.finish_run(scope, run.id, outcome, token=run.token, events=last, message_seq=stored.seq)
    )


async def _all_events(store: Store, scope: Scope, run: Run) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    while True:
        after = events[-1].n or 0 if events else 0
        batch = await retried(partial(store.read_events, scope, run.id, after=after))
        if not batch:
            return events
        events.extend(map(decode_event, batch))
