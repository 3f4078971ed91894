"""Where a log may be cut."""

from __future__ import annotations

from hypothesis import given, strategies as st

from chatkeep.domain.messages import (
    Content,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unreadable,
)
from chatkeep.domain.turns import prune_border, turn_starts
from chatkeep.stores.codec import decode, encode

Path = list[Message | Unreadable]


def message(seq: int, role: Role, *parts: Part) -> Message:
    body = encode(Content(parts=parts or (Text("x"),)))
    return Message(seq, seq - 1, b"", role, "complete", 0, 0, None, body, decode)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Draw a path with gaps in its seqs, tool calls, results near and far, and unreadable rows."""
    path: Path = []
    seq = 0
    for _ in range(draw(st.integers(0, 15))):
        seq += draw(st.integers(1, 3))
        kind = draw(st.sampled_from(["user", "user", "assistant", "call", "result", "unreadable"]))
        call_id = draw(st.sampled_from(["a", "b"]))
        if kind == "call":
            path.append(message(seq, "assistant", ToolCall(call_id, "n", {})))
        elif kind == "result":
            path.append(message(seq, "tool", ToolResult(call_id, "r")))
        elif kind == "unreadable":
            path.append(Unreadable(seq, "damaged"))
        else:
            path.append(message(seq, "user" if kind == "user" else "assistant"))
    return path


def pairs(path: Path) -> list[tuple[int, int]]:
    """Return the seqs of each call and its result: the latest open call of that id."""
    opened: dict[str, int] = {}
    found = []
    for entry in path:
        for part in entry.parts if isinstance(entry, Message) else ():
            if isinstance(part, ToolCall):
                opened[part.id] = entry.seq
            elif isinstance(part, ToolResult) and part.id in opened:
                found.append((opened.pop(part.id), entry.seq))
    return found


@given(paths())
def test_a_turn_begins_at_the_start_or_with_a_user_and_tears_no_call_from_its_result(path: Path) -> None:
    by_seq = {entry.seq: entry for entry in path}

    for start in turn_starts(path):
        entry = by_seq[start]
        assert entry is path[0] or (isinstance(entry, Message) and entry.role == "user")
        assert not [pair for pair in pairs(path) if pair[0] < start <= pair[1]]


@given(paths(), st.integers(0, 16))
def test_pruning_cuts_between_whole_turns_and_keeps_the_newest(path: Path, keep: int) -> None:
    border = prune_border(path, keep=keep)

    starts = turn_starts(path)
    if border is None:
        assert len(path) <= keep or len(starts) < 2
        return
    assert border in starts
    assert border != path[0].seq
    kept = [entry for entry in path if entry.seq >= border]
    assert kept
    assert len(kept) <= keep or border == starts[-1]


@given(paths(), st.integers(1, 16))
def test_pruning_removes_no_turn_more_than_it_must(path: Path, keep: int) -> None:
    border = prune_border(path, keep=keep)

    if border is not None:
        earlier = [start for start in turn_starts(path) if start < border]
        assert all(sum(entry.seq >= start for entry in path) > keep for start in earlier)


def test_a_path_that_is_short_enough_is_not_cut() -> None:
    path: Path = [message(seq, "user") for seq in (1, 2, 3)]

    assert prune_border(path, keep=3) is None
    assert prune_border(path, keep=2) == 2
    assert prune_border([], keep=0) is None


def test_a_call_with_a_late_result_keeps_its_turns_together() -> None:
    path: Path = [
        message(1, "user"),
        message(2, "assistant", ToolCall("a", "n", {})),
        message(3, "user"),
        message(4, "tool", ToolResult("a", "r")),
        message(5, "user"),
    ]

    assert turn_starts(path) == [1, 5]
    assert prune_border(path, keep=3) == 5
