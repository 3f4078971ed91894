from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.policies import AGENT, KEEP, PLATFORM, PRESETS, RetentionPolicies, RetentionPolicy


def test_the_default_keeps_everything() -> None:
    assert PRESETS["keep"] == RetentionPolicy() == RetentionPolicies().of("any")
    assert not KEEP.prunes
    assert (KEEP.idle_ttl, KEEP.keep_last_sessions, KEEP.trash) == (None, None, timedelta(days=7))


def test_the_presets_hold_the_numbers_that_are_promised() -> None:
    assert (PLATFORM.idle_ttl, PLATFORM.max_age) == (timedelta(days=7), timedelta(days=30))
    assert (AGENT.idle_ttl, AGENT.max_messages) == (timedelta(days=7), 200)
    assert PLATFORM.prunes
    assert AGENT.prunes


def test_an_app_has_its_own_policy_or_the_default() -> None:
    policies = RetentionPolicies(PLATFORM, {"bots": AGENT})

    assert (policies.of("bots"), policies.of("Bots")) == (AGENT, PLATFORM)


@pytest.mark.parametrize(
    "fields",
    [
        {"idle_ttl": timedelta(0)},
        {"max_age": timedelta(days=-1)},
        {"trash": timedelta(microseconds=1)},
        {"max_messages": 0},
        {"keep_last_sessions": -5},
    ],
)
def test_a_number_that_would_keep_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        RetentionPolicy(**fields)

    assert refused.value.field == next(iter(fields))
