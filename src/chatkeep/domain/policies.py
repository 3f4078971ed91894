"""Retention: when sessions and messages may go. The default keeps everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from chatkeep.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What one app keeps; None means for ever.

    `idle_ttl`: a session that is not pinned expires so long after its last activity. `max_age`: the oldest turns are
    pruned as long as all their messages are older, counted from the import for imported ones. `max_messages`: the
    oldest whole turns of a session are pruned beyond it; the newest turn stays. `keep_last_sessions`: a user's older
    sessions that are not pinned go to the trash. `trash`: how long a deleted session can be restored. Raises Invalid
    for a number that would keep nothing.
    """

    idle_ttl: timedelta | None = None
    max_age: timedelta | None = None
    max_messages: int | None = None
    keep_last_sessions: int | None = None
    trash: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        for name in ("idle_ttl", "max_age", "trash"):
            span = getattr(self, name)
            if span is not None and span < timedelta(milliseconds=1):
                raise Invalid(f"{name} must be a positive time, not {span}", field=name)
        for name in ("max_messages", "keep_last_sessions"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise Invalid(f"{name} must be at least 1, not {count}; None sets no bound", field=name)

    @property
    def prunes(self) -> bool:
        """Whether messages of live sessions are ever pruned."""
        return self.max_age is not None or self.max_messages is not None


KEEP = RetentionPolicy()
PLATFORM = RetentionPolicy(idle_ttl=timedelta(days=7), max_age=timedelta(days=30))
AGENT = RetentionPolicy(idle_ttl=timedelta(days=7), max_messages=200)

PRESETS: Mapping[str, RetentionPolicy] = {"keep": KEEP, "platform": PLATFORM, "agent": AGENT}


@dataclass(frozen=True, slots=True)
class RetentionPolicies:
    """The policy of each app."""

    default: RetentionPolicy = KEEP
    by_app: Mapping[str, RetentionPolicy] = field(default_factory=dict)

    @property
    def work_on_live_sessions(self) -> bool:
        """Whether any of them ever prunes a session or puts one into the trash."""
        every = (self.default, *self.by_app.values())
        return any(policy.prunes or policy.keep_last_sessions is not None for policy in every)

    def of(self, app: str) -> RetentionPolicy:
        """Return the policy of `app`."""
        return self.by_app.get(app, self.default)
