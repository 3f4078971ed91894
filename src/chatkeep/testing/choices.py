"""What the state machine draws from: few names and small numbers, so that calls meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from chatkeep.domain.messages import STATUSES, Content, Data, Feedback, Foreign, NewMessage, Text, assistant, user
from chatkeep.domain.runs import OUTCOMES
from chatkeep.domain.sessions import HIDDEN_UNTIL_MESSAGE, HIDDEN_UNTIL_REVEAL, LISTED, NewSession, SessionPatch
from chatkeep.testing.calls import LEASE
from chatkeep.testing.clock import START

Offset = Callable[[datetime], NewSession]
"""A session to create, once the present moment is known."""

SESSION_IDS = ("s", "S", "s:\0")
RUN_IDS = ("r", "R", "r:1")
STATE_KEYS = ("k", "K")
MESSAGES_ONLY = frozenset({"append", "annotate", "claim_run", "prune", "redact", "select_head", "update_session"})
"""Calls that leave alone what is kept beside the messages of a session."""
PLAIN = NewSession()
BEGINNING = [user("one"), assistant("two"), user("three")]
TICK = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Writing:
    """A write of a run's owner, relative to what is stored."""

    token: int
    gap: int
    count: int


def _rarely(value: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return the value most of the time."""
    return st.sampled_from([value] * 3 * len(others) + list(others))


flags = st.booleans()
scopes = _rarely(0, 1)
session_ids = st.sampled_from([SESSION_IDS[0], *SESSION_IDS])
run_ids = st.sampled_from([RUN_IDS[0], *RUN_IDS])
state_keys = _rarely(*STATE_KEYS)
state_values = st.sampled_from([b"", b"a", b"\0\xff"])
versions = _rarely(0, -1, 1)
"""Relative to the stored one."""
keys = st.sampled_from(["k1", "k2", "K1", "k\0"])
fresh_keys = st.integers(0, 10**6)
seqs = st.integers(0, 9)
back = _rarely(0, 1, 2, 3, -1, 100)
"""How far behind the newest message."""
revisions = st.sampled_from([None, None, None, 0, -1])
"""Relative to the stored one."""
spans = st.sampled_from([TICK, TICK, timedelta(seconds=1), LEASE, HOUR - TICK, HOUR])
trash_times = _rarely(HOUR, timedelta(0), TICK)
ttls = st.sampled_from([None, None, None, HOUR, HOUR, TICK])
titles = st.sampled_from(["", "title", "other"])
metadata = st.sampled_from([{}, {"k": 1}, {"k": 1.0, "a": [True]}])
list_limits = st.sampled_from([1, 2, 200])
outcomes = st.sampled_from(OUTCOMES)
feedbacks = st.sampled_from([None, Feedback("up"), Feedback("down", "because")])
bodies = st.tuples(st.sampled_from(["one", "one", "two"]), st.sampled_from(["me", "you"]), st.booleans())
writings = st.builds(Writing, token=_rarely(0, -1, 1), gap=_rarely(0, -2, -1, 1), count=st.sampled_from([3, 3, 0, 1]))
contents = st.sampled_from(
    [
        Content(parts=(Text("a"),)),
        Content(parts=(Text("b \0 😀"),), model="m"),
        Content(),
        Content(parts=(Data("d", {"b": 1, "a": 1.0}), Foreign("f", "\ud800"))),
    ]
)
_times = _rarely(None, START - HOUR, START + HOUR)
messages = st.builds(
    NewMessage, st.sampled_from(["user", "assistant", "tool"]), contents, st.sampled_from(STATUSES), _times
)
batches = st.lists(messages, min_size=1, max_size=3)
patches = st.builds(
    SessionPatch,
    title=st.none() | titles,
    title_source=st.sampled_from(["user", "auto", "model"]),
    state=st.sampled_from([None, None, "active", "pinned", "unpinned", "archived"]),
    metadata=st.none() | metadata,
    reveal=st.booleans(),
    set_idle_ttl=st.booleans(),
    idle_ttl=ttls,
)
_drafts = st.fixed_dictionaries(
    {
        "title": titles,
        "title_source": st.sampled_from(["user", "auto", "model"]),
        "state": st.sampled_from(["active", "active", "pinned", "unpinned", "archived"]),
        "metadata": metadata,
        "idle_ttl": ttls,
        "hidden": st.sampled_from([LISTED, LISTED, LISTED, HIDDEN_UNTIL_MESSAGE, HIDDEN_UNTIL_REVEAL]),
    }
)


def _dated(draft: dict[str, Any], offset: timedelta | None) -> Offset:
    return lambda now: NewSession(**draft, created_at=None if offset is None else now + offset)


new_sessions = st.builds(_dated, _drafts, st.sampled_from([None, None, -HOUR, HOUR]))
creations = st.none() | new_sessions
append_options = st.fixed_dictionaries(
    {"expected_last_seq": st.sampled_from([None, 0, 1])},
    optional={
        "parent_seq": st.integers(0, 3),
        "idle_ttl": ttls,
        "title": st.none() | titles,
    },
)
read_options = st.fixed_dictionaries(
    {"limit": st.sampled_from([1, 2, 3, 1_000])},
    optional={
        "after_seq": seqs,
        "before_seq": st.none() | seqs,
        "newest_first": st.booleans(),
        "path": st.sampled_from(["active", "all"]),
    },
)
head_options = st.fixed_dictionaries({}, optional={"expected_last_seq": _rarely(0, 1), "expected_head_seq": seqs})
