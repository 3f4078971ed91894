"""A release runs on its own schema and on the next one."""

from __future__ import annotations

import pytest

from chatkeep.domain.errors import MigrationNeeded, NotSupported
from chatkeep.stores.versions import check_schema

STEPS = ("conversations", "runs", "search")


@pytest.mark.parametrize("found", [3, 4])
def test_its_own_and_the_next(found: int) -> None:
    check_schema(found, STEPS)


def test_an_older_one_needs_the_steps_behind_it() -> None:
    with pytest.raises(MigrationNeeded, match="schema 1, this release needs 3: run `chatkeep migrate`") as error:
        check_schema(1, STEPS)

    assert error.value.steps == ("2 runs", "3 search")


def test_a_later_one_is_refused() -> None:
    with pytest.raises(NotSupported, match="schema 5, this release of Chatkeep runs on 3 and 4: upgrade"):
        check_schema(5, STEPS)
