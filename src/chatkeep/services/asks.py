"""What a run keeps of its request until it is over."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from chatkeep.domain.runs import Run


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, and where it stands.

    `parent_seq`: for `edit` the parent of the new question; for `regenerate` the question itself, stored already.
    """

    kind: Literal["chat", "edit", "regenerate"]
    text: str
    parent_seq: int | None = None
    agent: str | None = None
    model: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `from_run` reads."""
        return asdict(self)

    @staticmethod
    def from_run(run: Run) -> Ask:
        """Return what a run that is not over was asked."""
        return Ask(**json.loads(run.request))
