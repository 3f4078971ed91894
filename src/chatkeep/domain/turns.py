"""Turns: a user message up to the next one, and where a log may be cut."""

from __future__ import annotations

from collections.abc import Sequence

from chatkeep.domain.messages import Message, ToolCall, ToolResult, Unreadable


def turn_starts(path: Sequence[Message | Unreadable]) -> list[int]:
    """Return the seqs at which a turn begins: the user messages, and the very first message. `path` is ascending."""
    starts = [entry.seq for entry in path if isinstance(entry, Message) and entry.role == "user"]
    if path and starts[:1] != [path[0].seq]:
        starts.insert(0, path[0].seq)
    torn = _inside_groups(path)
    return [seq for seq in starts if seq not in torn] if torn else starts


def _inside_groups(path: Sequence[Message | Unreadable]) -> set[int]:
    """Return the seqs that a cut in front of would tear a tool call from its result."""
    open_since: dict[str, int] = {}
    torn: set[int] = set()
    for at, entry in enumerate(path):
        if not isinstance(entry, Message) or not entry.uses_tools:
            continue
        for part in entry.parts:
            if isinstance(part, ToolCall):
                open_since[part.id] = at
            elif isinstance(part, ToolResult) and part.id in open_since:
                called = open_since.pop(part.id)
                torn.update(other.seq for other in path[called + 1 : at + 1])
    return torn


def prune_border(path: Sequence[Message | Unreadable], *, keep: int) -> int | None:
    """Return the seq below which whole turns can go so that about `keep` messages stay, or None if none can.

    The newest turn always stays, so more than `keep` may stay; fewer than `keep` stay only when the oldest kept turn
    would have to be torn.
    """
    if len(path) <= keep:
        return None
    for start in turn_starts(path):
        kept = sum(1 for entry in path if entry.seq >= start)
        if kept <= keep:
            return start
    newest = turn_starts(path)[-1:]
    return newest[0] if newest and newest[0] != path[0].seq else None
