"""Who tells what texts are about, as vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Likeness(Protocol):
    """The vectors of one conversation, by place, in its order. Not for use by two threads at once."""

    def add(self, *, joined: bool) -> None:
        """Take the next message, whose vector is not known yet; `joined`: it belongs to the sitting of the last one."""

    def put(self, place: int, vector: bytes) -> None:
        """Set the vector of a message that was added."""

    def to(self, query: bytes, *, most: int) -> Mapping[int, float]:
        """Return how much messages are like the query, by place: those that stand out the most, up to `most`.

        The figure is above 0, and a tenth is the standard deviation over the conversation. It counts the message and,
        more, those around it in the same sitting. A message without a vector is like nothing.
        """


class Embedder(Protocol):
    """Turns texts into vectors. One instance serves any number of calls at once."""

    @property
    def name(self) -> str:
        """What tells its vectors from those of others: model and precision, at most 100 bytes."""

    @property
    def is_ready(self) -> bool:
        """Whether `embed` answers soon; until then nobody waits for it."""

    async def load(self) -> None:
        """Get ready, however long that takes; a repeat is free. Raises Invalid, ModelUnavailable."""

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Return a vector for each text: of length 1, a signed byte for each dimension, times 127.

        The beginning of a long text stands for all of it. The same text gives the same vector. Raises ModelError.
        """

    def likeness(self) -> Likeness:
        """Return an empty collection."""
