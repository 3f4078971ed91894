"""Retention: when sessions and messages may go. The default keeps everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What one app keeps; None means for ever.

    `idle_ttl`: a session that is not pinned expires so long after its last activity. `max_age`: whole turns are
    pruned when their newest message is older, counted from the import for imported ones. `max_messages`: the oldest
    whole turns of a session are pruned beyond it. `keep_last_sessions`: a user's older sessions that are not pinned
    go to the trash. `trash`: how long a deleted session can be restored.
    """

    idle_ttl: timedelta | None = None
    max_age: timedelta | None = None
    max_messages: int | None = None
    keep_last_sessions: int | None = None
    trash: timedelta = timedelta(days=7)

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

    def of(self, app: str) -> RetentionPolicy:
        """Return the policy of `app`."""
        return self.by_app.get(app, self.default)
