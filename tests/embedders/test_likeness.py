from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chatkeep.embedders.vectors import ExactLikeness

ALIKE, OTHER = bytes([100, 0]), bytes([0, 100])


def _filled(vectors: Sequence[bytes | None], new_sittings: tuple[int, ...] = ()) -> ExactLikeness:
    made = ExactLikeness(2)
    for place, vector in enumerate(vectors):
        made.add(joined=place > 0 and place not in new_sittings)
        if vector is not None:
            made.put(place, vector)
    return made


def test_the_message_that_is_alike_stands_out_and_then_its_neighbours() -> None:
    found = _filled([OTHER] * 10 + [ALIKE] + [OTHER] * 10).to(ALIKE, most=21)

    assert max(found, key=found.__getitem__) == 10
    assert set(found) == {8, 9, 10, 11, 12}


def test_another_sitting_is_no_neighbour() -> None:
    found = _filled([OTHER] * 10 + [ALIKE] + [OTHER] * 10, new_sittings=(10,)).to(ALIKE, most=21)

    assert set(found) == {10, 11, 12}


def test_a_message_without_a_vector_is_like_nothing() -> None:
    found = _filled([OTHER] * 5 + [None, ALIKE, None] + [OTHER] * 5).to(ALIKE, most=13)

    assert 6 in found
    assert not {5, 7} & set(found)


@pytest.mark.parametrize("vectors", [[], [ALIKE], [None, None], [ALIKE, None], [ALIKE] * 5])
def test_where_nothing_stands_out_nothing_is_told(vectors: Sequence[bytes | None]) -> None:
    assert _filled(vectors).to(ALIKE, most=5) == {}


def test_of_many_the_most_alike_are_told() -> None:
    chance = np.random.default_rng(1)
    made = ExactLikeness(16)
    for place in range(5_000):
        made.add(joined=place > 0)
        made.put(place, chance.integers(-50, 50, 16, np.int8).tobytes())
    query = bytes(chance.integers(0, 50, 16, np.int8))

    everything, some = made.to(query, most=5_000), made.to(query, most=40)

    assert len(some) == 40
    assert min(some.values()) >= sorted(everything.values())[-40]


def test_a_vector_of_another_size_is_refused() -> None:
    made = ExactLikeness(2)
    made.add(joined=False)

    with pytest.raises(ValueError, match="shape"):
        made.put(0, b"123")
    assert made.to(ALIKE, most=1) == {}
