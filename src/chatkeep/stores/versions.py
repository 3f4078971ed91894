"""On which schemas a release runs, in every engine: its own, and the next one, so that servers can be upgraded one
after the other. A migration leaves what the release before it does as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatkeep.domain.errors import MigrationNeeded, NotSupported


def check_schema(found: int, steps: Sequence[str]) -> None:
    """Raise unless a release runs on a schema; `steps` are what led to its own, the last of them makes it.

    Raises MigrationNeeded for an older one, NotSupported for one that is too new.
    """
    own = len(steps)
    if found < own:
        raise MigrationNeeded(found, own, [f"{number} {name}" for number, name in enumerate(steps, 1)][found:])
    if found > own + 1:
        raise NotSupported(
            f"the store has schema {found}, this release of Chatkeep runs on {own} and {own + 1}: upgrade Chatkeep, "
            "or restore the backup made before the upgrade"
        )
