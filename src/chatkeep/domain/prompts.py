"""Which stored messages the model sees: the newest whole turns that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatkeep.domain.messages import Message, Reasoning, Text, Unreadable
from chatkeep.domain.turns import turn_starts
from chatkeep.domain.wire import part_to_json

_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 4


@dataclass(frozen=True, slots=True)
class Window:
    """The messages that fit, ascending, and what was left out.

    `tokens` is an estimate of the included ones. `omitted` counts the older messages of the path that were read and did
    not fit; `unreadable` those whose rows cannot be decoded.
    """

    included: tuple[Message, ...]
    tokens: int
    omitted: int
    unreadable: int


def estimated_tokens(message: Message) -> int:
    """Return a cautious estimate of the tokens of a message: its text in UTF-8, three bytes to a token."""
    size = 0
    for part in message.parts:
        if isinstance(part, Text):
            size += len(part.text.encode())
        elif not isinstance(part, Reasoning):
            size += len(str(part_to_json(part)).encode(errors="replace"))
    return _TOKENS_PER_MESSAGE + size // _BYTES_PER_TOKEN


def recent_turns(path: Sequence[Message | Unreadable], *, budget_tokens: int) -> Window:
    """Return the newest whole turns of the ascending `path` that fit into the budget; the newest turn always.

    Where `path` begins in mid-turn, because older messages were not read, that turn is left out. Empty messages
    (redacted, or failed before the first word) are left out silently.
    """
    readable = [entry for entry in path if isinstance(entry, Message)]
    cost = {entry.seq: estimated_tokens(entry) if entry.parts else 0 for entry in readable}
    starts = turn_starts(path)
    if len(starts) > 1 and _is_inside_turn(path[0]):
        starts = starts[1:]
    begin = starts[-1] if starts else 0
    spent = 0
    border = path[-1].seq + 1 if path else 0
    for start in reversed(starts):
        spent += sum(tokens for seq, tokens in cost.items() if start <= seq < border)
        if spent > budget_tokens:
            break
        begin = border = start
    included = tuple(entry for entry in readable if entry.seq >= begin and entry.parts)
    return Window(
        included=included,
        tokens=sum(cost[entry.seq] for entry in included),
        omitted=sum(1 for entry in readable if entry.seq < begin and entry.parts),
        unreadable=len(path) - len(readable),
    )


def _is_inside_turn(entry: Message | Unreadable) -> bool:
    return isinstance(entry, Unreadable) or (entry.role != "user" and entry.parent_seq > 0)
