"""Changes of a session's record, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.errors import Conflict, LimitExceeded, RevisionConflict, RunActive, SeqConflict
from chatkeep.domain.paths import MAX_JUMPS
from chatkeep.domain.sessions import (
    MAX_QUEUED_RUNS,
    NewSession,
    Session,
    SessionPatch,
    appended,
    claimed,
    created,
    is_gone,
    patched,
    pruned,
    released,
    restored,
    trashed,
    with_head,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def session(**options: Any) -> Session:
    return created("s", "incarnation", NewSession(**options), NOW, by_append=False)


def grown(record: Session, count: int = 1, **options: Any) -> Session:
    given_options = {"expected_last_seq": None, "parent_seq": None, "active_at": None, "idle_ttl": None, "title": None}
    return appended(record, count, NOW, **{**given_options, **options})


@st.composite
def logs(draw: st.DrawFn) -> tuple[Session, dict[int, int], int]:
    """Draw a record after appends, choices of heads and prunings, with the parents and the border of a naive log."""
    record, parents, first = session(), dict[int, int](), 1
    for _ in range(draw(st.integers(0, 12))):
        action = draw(st.sampled_from(["append", "append", "branch", "head", "prune"]))
        if action == "append":
            parent: int | None = None
        elif action == "branch":
            parent = draw(st.sampled_from([0, *range(first, len(parents) + 1)]))
        elif action == "head":
            record = with_head(
                record, draw(st.sampled_from([0, *range(first, len(parents) + 1)])), expected_last_seq=None
            )
            continue
        else:
            before = draw(st.integers(0, len(parents) + 2))
            record = pruned(record, before)
            first = max(first, min(before, len(parents) + 1))
            continue
        count = draw(st.integers(1, 3))
        above = record.head_seq if parent is None else parent
        for _ in range(count):
            parents[len(parents) + 1] = above
            above = len(parents)
        record = grown(record, count, parent_seq=parent)
    return record, parents, first


@given(logs())
def test_every_path_of_a_record_is_that_of_a_naive_log(log: tuple[Session, dict[int, int], int]) -> None:
    record, parents, first = log

    assert (record.first_seq, record.last_seq) == (first, len(parents))
    for head in (0, *range(first, len(parents) + 1)):
        chosen = with_head(record, head, expected_last_seq=None)
        walked, at = [], head
        while at >= first:
            walked.append(at)
            at = parents[at]
        assert [seq for low, high in chosen.path for seq in range(low, high + 1)] == walked[::-1]
        assert chosen.message_count == len(walked)


@given(logs(), st.integers(-2, 40))
def test_pruning_never_goes_back_nor_beyond_the_end_and_repeats_itself(
    log: tuple[Session, dict[int, int], int], before: int
) -> None:
    record = log[0]

    shorter = pruned(record, before)

    assert record.first_seq <= shorter.first_seq <= record.last_seq + 1
    assert pruned(shorter, before) == shorter
    assert shorter.head_seq in (0, record.head_seq)
    assert (shorter.last_seq, shorter.revision) == (record.last_seq, record.revision)


def test_a_seq_outside_of_the_log_is_no_head_and_no_parent() -> None:
    record = pruned(grown(session(), 3), 2)

    for seq in (-1, 1, 4):
        with pytest.raises(SeqConflict):
            with_head(record, seq, expected_last_seq=None)
        with pytest.raises(SeqConflict):
            grown(record, parent_seq=seq)


def test_branch_points_have_a_bound_that_names_the_way_out() -> None:
    record = grown(session())
    for _ in range(MAX_JUMPS):
        record = grown(record, parent_seq=1 if record.last_seq > 1 else 0)

    with pytest.raises(LimitExceeded, match="fork"):
        grown(record, parent_seq=1)

    assert len(record.jumps) == MAX_JUMPS
    assert grown(record).last_seq == record.last_seq + 1


@given(
    st.builds(
        SessionPatch,
        title=st.none() | st.sampled_from(["", "a", "b"]),
        title_source=st.sampled_from(["user", "auto", "model"]),
        state=st.none() | st.sampled_from(["active", "pinned", "unpinned", "archived"]),
        metadata=st.none() | st.sampled_from([{}, {"k": 1}]),
        reveal=st.booleans(),
        set_idle_ttl=st.booleans(),
        idle_ttl=st.none() | st.just(HOUR),
    ),
    st.sampled_from(["user", "auto", "model"]),
    st.sampled_from([0, 1, 2]),
)
def test_a_patch_counts_once_and_its_repeat_does_not(patch: SessionPatch, source: Any, hidden: Any) -> None:
    before = session(title="a", title_source=source, hidden=hidden)

    after = patched(before, patch, NOW, expected_revision=None)

    assert after.revision == before.revision + (after._replace(revision=before.revision) != before)
    assert patched(after, patch, NOW, expected_revision=before.revision) == after
    assert (after.title == before.title) or patch.title_source == "user" or source != "user"
    assert (after.pinned_at_ms is not None) == (after.state == "pinned")
    assert (after.expires_at_ms is None) == (after.pinned or after.idle_ttl_ms is None)


def test_a_stale_patch_is_refused() -> None:
    with pytest.raises(RevisionConflict):
        patched(session(), SessionPatch(title="x"), NOW, expected_revision=2)


@given(st.sampled_from(["active", "pinned", "unpinned", "archived"]), st.none() | st.just(HOUR))
def test_a_trip_to_the_trash_changes_the_revision_only(state: Any, ttl: timedelta | None) -> None:
    before = session(state=state, idle_ttl=ttl)

    inside = trashed(before, NOW + HOUR)
    back = restored(inside, NOW)

    assert trashed(inside, NOW + 2 * HOUR) == inside
    assert back == before._replace(revision=before.revision + 2)
    assert restored(back, NOW) == back


def test_a_session_is_gone_from_the_exact_moment_on() -> None:
    tick = timedelta(milliseconds=1)
    mortal = session(idle_ttl=HOUR)
    inside = trashed(session(), NOW + HOUR)

    for record in (mortal, inside):
        assert not is_gone(record, NOW + HOUR - tick)
        assert is_gone(record, NOW + HOUR)
    assert not is_gone(session(), NOW + 10_000 * HOUR)
    assert not is_gone(session(state="pinned", idle_ttl=HOUR), NOW + 10_000 * HOUR)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40))
def test_runs_leave_the_queue_in_the_order_in_which_they_came(steps: list[tuple[bool, int]]) -> None:
    record, line = session(), list[str]()

    for comes, n in steps:
        run_id = f"r{n}"
        if comes:
            record = claimed(record, run_id, queue=True)
            if run_id not in line:
                line.append(run_id)
        else:
            record = released(record, run_id)
            line = [other for other in line if other != run_id]
        assert [*filter(None, [record.active_run_id]), *record.queued_run_ids] == line


def test_a_taken_slot_and_a_full_queue_are_refused() -> None:
    record = claimed(session(), "r", queue=False)
    with pytest.raises(RunActive):
        claimed(record, "other", queue=False)
    for n in range(MAX_QUEUED_RUNS):
        record = claimed(record, f"waits {n}", queue=True)

    with pytest.raises(Conflict):
        claimed(record, "one too many", queue=True)
    assert claimed(record, "waits 3", queue=False) == record


@given(st.timedeltas(-HOUR, HOUR), st.timedeltas(-HOUR, HOUR))
def test_activity_never_goes_back_nor_into_the_future(first: timedelta, second: timedelta) -> None:
    one = grown(session(), active_at=NOW + first)
    two = grown(one, active_at=NOW + second)

    assert session().modified_at_ms <= one.modified_at_ms <= two.modified_at_ms
    assert two.modified_at <= NOW
