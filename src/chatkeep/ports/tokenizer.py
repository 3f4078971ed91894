"""Who counts tokens as a model does."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """The vocabulary of a model. One instance serves any number of threads."""

    def count(self, text: str) -> int:
        """Return how many tokens the text takes; marks of a chat template in it count as text."""
