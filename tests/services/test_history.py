from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.services.conftest import ALICE, BOB, Clock, Desk, DeskMaker

from chatkeep.domain.errors import Conflict, IdReused, Invalid, LimitExceeded, NotFound, SeqConflict
from chatkeep.domain.messages import (
    Feedback,
    File,
    Message,
    NewMessage,
    ToolCall,
    ToolResult,
    Unreadable,
    assistant,
    tool,
    user,
)
from chatkeep.domain.sessions import Session, SessionPatch
from chatkeep.models.echo import EchoModel
from chatkeep.services.chat import ChatRequest
from chatkeep.services.history import Entry


async def keep(desk: Desk, *messages: NewMessage, session_id: str = "s") -> None:
    await desk.history.append(ALICE, session_id, messages, create=True)


def seqs(entries: object) -> list[int]:
    assert isinstance(entries, list | tuple)
    return [entry.seq for entry in entries]


def corrupt(desk: Desk, seq: int, session_id: str = "s") -> None:
    """Spoil a stored row, as a failing disk would."""
    rows = desk.store._tables.shelves[ALICE][session_id].rows
    rows[seq] = rows[seq]._replace(body=b"\x00" + rows[seq].body[1:])


async def path(desk: Desk) -> list[Entry]:
    return list(await desk.history.read(ALICE, "s", newest_first=False))


async def test_a_repeated_append_stores_once_and_returns_what_is_stored_now(desks: DeskMaker) -> None:
    desk = desks()
    batch = [user("secret"), assistant("ok")]
    first = await desk.history.append(ALICE, "s", batch, idempotency_key="k", create=True)
    await desk.history.redact(ALICE, "s", 1)

    again = await desk.history.append(ALICE, "s", batch, idempotency_key="k", create=True)

    assert (first.repeated, again.repeated) == (False, True)
    assert [entry.seq for entry in again.messages] == [1, 2]
    assert [entry.text for entry in again.messages if isinstance(entry, Message)] == ["", "ok"]
    assert (await desk.sessions.get(ALICE, "s")).last_seq == 2


async def test_a_repeat_after_pruning_and_clearing_stores_nothing_again(desks: DeskMaker) -> None:
    desk = desks()
    batch = [user("1"), assistant("2")]
    await desk.history.append(ALICE, "s", batch, idempotency_key="k", create=True)
    await desk.history.clear(ALICE, "s")

    again = await desk.history.append(ALICE, "s", batch, idempotency_key="k", create=True)

    assert again.repeated
    assert again.messages == ()
    assert await path(desk) == []


async def test_a_key_reused_for_other_words_or_another_place_is_refused(desks: DeskMaker) -> None:
    desk = desks()
    await desk.history.append(ALICE, "s", [user("1")], idempotency_key="k", create=True)

    with pytest.raises(IdReused):
        await desk.history.append(ALICE, "s", [user("2")], idempotency_key="k")
    with pytest.raises(IdReused):
        await desk.history.append(ALICE, "s", [user("1")], idempotency_key="k", parent_seq=0)


async def test_what_an_append_returns_equals_what_is_read_later(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"))

    stored = await desk.history.append(ALICE, "s", [user("3"), assistant("4")], parent_seq=1)

    read = await desk.history.read(ALICE, "s", after_seq=2, newest_first=False)
    for ours, theirs in zip(stored.messages, read, strict=True):
        assert isinstance(ours, Message)
        assert isinstance(theirs, Message)
        assert (ours.seq, ours.parent_seq, ours.id, ours.role, ours.created_at, ours.content) == (
            theirs.seq,
            theirs.parent_seq,
            theirs.id,
            theirs.role,
            theirs.created_at,
            theirs.content,
        )


async def test_an_append_to_a_missing_session_is_not_found_unless_it_creates(desks: DeskMaker) -> None:
    desk = desks()

    with pytest.raises(NotFound):
        await desk.history.append(ALICE, "s", [user("1")])
    await desk.history.append(ALICE, "s", [user("1")], create=True)

    with pytest.raises(NotFound):
        await desk.history.append(BOB, "s", [user("1")])


async def test_a_refused_batch_leaves_nothing(desks: DeskMaker) -> None:
    desk = desks()

    with pytest.raises(LimitExceeded):
        await desk.history.append(ALICE, "s", [user("fine"), user("x" * 300_000)], create=True)
    with pytest.raises(Invalid, match=r"messages\[1\]"):
        await desk.history.append(ALICE, "s", [user("fine"), user("\ud800")], create=True)
    with pytest.raises(Invalid):
        await desk.history.append(ALICE, "s", [], create=True)

    assert await desk.sessions.find(ALICE, "s") is None


async def test_messages_keep_the_time_that_their_writer_says(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    old = datetime(2020, 1, 1, tzinfo=UTC)

    await keep(desk, user("then", created_at=old), user("now"))

    assert [entry.created_at for entry in await path(desk) if isinstance(entry, Message)] == [old, clock.now]


async def test_the_title_comes_from_the_first_user_message_with_words(desks: DeskMaker) -> None:
    desk = desks()

    await keep(desk, assistant("Welcome!"), user(File("image/png", url="https://example.org/a.png")))
    empty = await desk.sessions.get(ALICE, "s")
    await keep(desk, user("  What is\nthis? "))
    named = await desk.sessions.get(ALICE, "s")
    await keep(desk, user("Another question"))

    assert empty.title == ""
    assert (named.title, named.title_source) == ("What is this?", "auto")
    assert (await desk.sessions.get(ALICE, "s")).title == "What is this?"


@pytest.mark.parametrize("title", ["Mine", ""])
async def test_a_title_that_the_user_set_is_never_overwritten(desks: DeskMaker, title: str) -> None:
    desk = desks()
    await desk.sessions.create(ALICE, "s")
    await desk.sessions.update(ALICE, "s", SessionPatch(title="First"))
    await desk.sessions.update(ALICE, "s", SessionPatch(title=title))

    await keep(desk, user("What is this?"))
    await desk.sessions.update(ALICE, "s", SessionPatch(title="Model", title_source="model"))

    session = await desk.sessions.get(ALICE, "s")
    assert (session.title, session.title_source) == (title, "user")


async def test_pop_takes_back_one_message_after_the_other(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"))

    popped = [await desk.history.pop(ALICE, "s") for _ in range(3)]

    assert [entry and entry.text for entry in popped] == ["2", "1", None]
    assert await path(desk) == []
    assert seqs(await desk.history.read(ALICE, "s", newest_first=False, path="all")) == [1, 2]
    await keep(desk, user("3"))
    assert seqs(await path(desk)) == [3]


async def test_concurrent_pops_take_every_message_once(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, *[user(str(n)) for n in range(1, 13)])

    popped = await asyncio.gather(*[desk.history.pop(ALICE, "s") for _ in range(12)])

    assert sorted(entry.seq for entry in popped if entry) == list(range(1, 13))


async def test_an_append_beside_pops_is_never_taken_back_unseen(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"), user("3"))

    popped, _ = await asyncio.gather(desk.history.pop(ALICE, "s"), desk.history.append(ALICE, "s", [user("4")]))

    assert popped is not None
    left = seqs(await path(desk))
    assert popped.seq not in left
    assert set(left) | {popped.seq} >= {1, 2}


async def test_pop_ends_where_the_log_was_pruned(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"), user("3"), assistant("4"))
    await desk.store.prune(ALICE, "s", before_seq=3)

    popped = [await desk.history.pop(ALICE, "s") for _ in range(3)]

    assert [entry and entry.seq for entry in popped] == [4, 3, None]


async def test_pop_of_a_cleared_session_finds_nothing_and_the_seqs_go_on(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"))
    await desk.history.clear(ALICE, "s")

    assert await desk.history.pop(ALICE, "s") is None
    assert await desk.history.pop_turn(ALICE, "s") == []
    await keep(desk, user("3"))

    assert seqs(await path(desk)) == [3]


async def test_clear_forgets_a_title_made_from_the_messages_and_the_next_question_gives_another(
    desks: DeskMaker,
) -> None:
    desk = desks()
    await keep(desk, user("Where is my refund?"), assistant("On its way."))

    cleared = await desk.history.clear(ALICE, "s")
    await keep(desk, user("And the lamp?"))

    assert cleared.title == ""
    assert (await desk.sessions.get(ALICE, "s")).title == "And the lamp?"


async def test_clear_keeps_a_title_of_the_users(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("Where is my refund?"))
    await desk.sessions.update(ALICE, "s", SessionPatch(title="Refund"))

    assert (await desk.history.clear(ALICE, "s")).title == "Refund"


async def test_clear_keeps_a_title_that_comes_while_it_clears(
    desks: DeskMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks()
    await keep(desk, user("Where is my refund?"))
    prune = desk.store.prune

    async def prune_and_rename(*arguments: Any, **options: Any) -> Session:
        pruned = await prune(*arguments, **options)
        await desk.sessions.update(ALICE, "s", SessionPatch(title="Refund"))
        return pruned

    monkeypatch.setattr(desk.store, "prune", prune_and_rename)
    await desk.history.clear(ALICE, "s")

    assert (await desk.sessions.get(ALICE, "s")).title == "Refund"


async def test_many_that_pop_at_once_each_take_another(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, *(user(str(at)) for at in range(40)))

    popped = await asyncio.gather(*(desk.history.pop(ALICE, "s") for _ in range(48)))

    taken = [entry.text for entry in popped if isinstance(entry, Message)]
    assert sorted(taken, key=int) == [str(at) for at in range(40)]
    assert popped.count(None) == 8


async def test_pop_turn_takes_the_question_with_all_behind_it(desks: DeskMaker) -> None:
    desk = desks()
    call, result = assistant(ToolCall("c", "look", {})), tool(ToolResult("c", "x", is_error=False))
    await keep(desk, user("1"), assistant("2"), user("3"), call, result, assistant("6"))

    taken = await desk.history.pop_turn(ALICE, "s")

    assert seqs(taken) == [3, 4, 5, 6]
    assert seqs(await path(desk)) == [1, 2]


async def test_pop_turn_takes_a_very_long_turn_whole(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("old"), assistant("old"))
    await keep(desk, user("do it"))
    for _ in range(3):
        await keep(desk, *[assistant(f"step {n}") for n in range(70)])

    taken = await desk.history.pop_turn(ALICE, "s")

    assert seqs(taken) == list(range(3, 214))
    assert seqs(await path(desk)) == [1, 2]


async def test_pop_turn_without_any_question_takes_everything(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, assistant("Welcome"), assistant("Hello?"))

    taken = await desk.history.pop_turn(ALICE, "s")

    assert seqs(taken) == [1, 2]
    assert await path(desk) == []


async def test_pop_passes_over_rows_that_cannot_be_read(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), *[assistant(f"lost {n}") for n in range(30)])
    for seq in range(2, 32):
        corrupt(desk, seq)

    popped = await desk.history.pop(ALICE, "s")

    assert popped is not None
    assert popped.text == "1"
    assert await path(desk) == []


async def test_popping_and_clearing_nothing_is_not_found(desks: DeskMaker) -> None:
    desk = desks()

    for call in (desk.history.pop, desk.history.pop_turn, desk.history.clear):
        with pytest.raises(NotFound):
            await call(ALICE, "s")


async def test_a_row_that_cannot_be_read_stands_in_its_place(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"), user("3"))
    corrupt(desk, 2)

    entries = await path(desk)

    assert seqs(entries) == [1, 2, 3]
    assert isinstance(entries[1], Unreadable)
    assert isinstance(await desk.history.get(ALICE, "s", 2), Unreadable)


async def test_redaction_blanks_the_message_its_events_and_the_title_made_from_it(desks: DeskMaker) -> None:
    desk = desks()
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="My password is hunter2"))
    await desk.collect(run.id)

    await desk.history.redact(ALICE, "s", 1)
    await desk.history.redact(ALICE, "s", 2)

    assert await desk.texts("s") == [("user", "complete", ""), ("assistant", "complete", "")]
    assert list(await desk.store.read_events(ALICE, run.id)) == []
    session = await desk.sessions.get(ALICE, "s")
    assert session.title == ""
    assert "hunter2" not in repr(desk.store._tables)


async def test_redaction_removes_a_models_title_of_the_first_turn_but_not_the_users(desks: DeskMaker) -> None:
    desk = desks()
    for session_id, source in (("model", "model"), ("user", "user"), ("later", "model")):
        await keep(desk, user("secret"), assistant("ok"), user("more"), session_id=session_id)
        patch = SessionPatch(title="Title", title_source="model" if source == "model" else "user")
        await desk.sessions.update(ALICE, session_id, patch)

    await desk.history.redact(ALICE, "model", 1)
    await desk.history.redact(ALICE, "user", 1)
    await desk.history.redact(ALICE, "later", 3)

    titles = [(await desk.sessions.get(ALICE, session_id)).title for session_id in ("model", "user", "later")]
    assert titles == ["", "Title", "Title"]


async def test_an_answer_that_is_still_written_cannot_be_redacted_away_from_its_run(desks: DeskMaker) -> None:
    desk = desks(EchoModel(40))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="word " * 100))
    await desk.history.append(ALICE, "s", [assistant("early", run_id=run.id)])

    with pytest.raises(Conflict):
        await desk.history.redact(ALICE, "s", 2)


async def test_an_unreadable_message_can_be_redacted(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"))
    corrupt(desk, 1)

    left = await desk.history.redact(ALICE, "s", 1)

    assert left.parts == ()


async def test_feedback_is_set_replaced_and_removed(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"))

    rated = await desk.history.rate(ALICE, "s", 2, Feedback("down", "wrong"))
    removed = await desk.history.rate(ALICE, "s", 2, None)

    assert rated.feedback == Feedback("down", "wrong")
    assert removed.feedback is None


@pytest.mark.parametrize(
    "feedback",
    [Feedback("best", None), Feedback("up", "\ud800"), Feedback(None, "x" * 4_001)],  # type: ignore[arg-type]  # on purpose
)
async def test_a_bad_feedback_is_refused(desks: DeskMaker, feedback: Feedback) -> None:
    desk = desks()
    await keep(desk, user("1"))

    with pytest.raises(Invalid):
        await desk.history.rate(ALICE, "s", 1, feedback)


@pytest.mark.parametrize("limit", [0, -1, 1_001])
async def test_a_read_beyond_the_bounds_is_refused(desks: DeskMaker, limit: int) -> None:
    desk = desks()
    await keep(desk, user("1"))

    with pytest.raises(Invalid, match="between 1 and 1000"):
        await desk.history.read(ALICE, "s", limit=limit)


async def test_a_branch_is_selected_only_while_nothing_has_changed(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, user("1"), assistant("2"))
    await desk.history.append(ALICE, "s", [user("uno")], parent_seq=0)

    with pytest.raises(SeqConflict):
        await desk.history.select(ALICE, "s", 2, expected_last_seq=2)
    with pytest.raises(SeqConflict):
        await desk.history.select(ALICE, "s", 9)
    await desk.history.select(ALICE, "s", 2, expected_last_seq=3)

    assert seqs(await path(desk)) == [1, 2]


async def test_an_append_applies_the_policy_that_its_app_has_now(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, user("1"))
    await desk.sessions.update(ALICE, "s", SessionPatch(set_idle_ttl=True, idle_ttl=timedelta(days=1)))
    clock.advance(hours=20)

    await keep(desk, user("2"))

    assert (await desk.sessions.get(ALICE, "s")).expires_at is None
