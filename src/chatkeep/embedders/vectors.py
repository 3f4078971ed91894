"""Likeness of vectors, computed exactly: a conversation is small, and an approximate index would only add errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_FIRST_ROWS = 256
_ALONE = 0.05
_AROUND = 0.1
_NEIGHBOURS = ((1, 0.6), (2, 0.3))
"""How far a message's surroundings go, and what each distance counts."""
_BLOCK_ROWS = 2_048

Floats = NDArray[np.float32]


class ExactLikeness:
    """See Likeness."""

    def __init__(self, dimensions: int) -> None:
        self._count = 0
        self._vectors = np.zeros((_FIRST_ROWS, dimensions), np.int8)
        self._known = np.zeros(_FIRST_ROWS, np.bool_)
        self._sittings = np.zeros(_FIRST_ROWS, np.int32)

    def add(self, *, joined: bool) -> None:
        """See Likeness."""
        at = self._count
        if at == len(self._known):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._known = np.concatenate([self._known, np.zeros_like(self._known)])
            self._sittings = np.concatenate([self._sittings, np.zeros_like(self._sittings)])
        if at:
            self._sittings[at] = self._sittings[at - 1] + (not joined)
        self._count += 1

    def put(self, place: int, vector: bytes) -> None:
        """See Likeness. Raises ValueError for a vector of another size."""
        self._vectors[place] = np.frombuffer(vector, np.int8)
        self._known[place] = True

    def to(self, query: bytes, *, most: int) -> Mapping[int, float]:
        """See Likeness."""
        count = self._count
        known = self._known[:count]
        if np.count_nonzero(known) < 2:  # noqa: PLR2004 -- one message stands out against none
            return {}
        wanted = np.frombuffer(query, np.int8).astype(np.float32)
        alone = np.empty(count, np.float32)
        for low in range(0, count, _BLOCK_ROWS):
            high = min(count, low + _BLOCK_ROWS)
            alone[low:high] = self._vectors[low:high].astype(np.float32) @ wanted
        around = self._smoothed(alone, known)
        values = np.where(known, _ALONE * _standing_out(alone, known) + _AROUND * _standing_out(around, known), 0.0)
        best = np.argpartition(values, count - most)[count - most :] if count > most else np.arange(count)
        return {int(at): float(values[at]) for at in best if values[at] > 0}

    def _smoothed(self, alone: Floats, known: NDArray[np.bool_]) -> Floats:
        """Return the mean over each message's surroundings, as far as its sitting goes."""
        sittings = self._sittings[: self._count]
        total = alone.copy()
        weight = np.ones_like(alone)
        for distance, share in _NEIGHBOURS:
            together = sittings[distance:] == sittings[:-distance]
            later, earlier = together & known[distance:], together & known[:-distance]
            total[:-distance] += share * np.where(later, alone[distance:], 0)
            weight[:-distance] += share * later
            total[distance:] += share * np.where(earlier, alone[:-distance], 0)
            weight[distance:] += share * earlier
        smoothed: Floats = total / weight
        return smoothed


def _standing_out(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return the values in standard deviations from their mean, over what is known."""
    told = values[known]
    deviation = float(told.std()) or 1.0
    apart: Floats = (values - told.mean()) / np.float32(deviation)
    return apart
