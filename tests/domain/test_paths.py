"""Paths that are computed from jumps, against a walk from parent to parent."""

from __future__ import annotations

from hypothesis import given, strategies as st

from chatkeep.domain.paths import Families, clip, newest_leaf, on_path, parent_of, path_length, path_ranges

Parents = dict[int, int]


@st.composite
def forests(draw: st.DrawFn) -> Parents:
    """Draw a log: each message's parent is the one before it, mostly, or any earlier one, or none."""
    parents: Parents = {}
    for seq in range(1, draw(st.integers(0, 25)) + 1):
        parents[seq] = draw(st.sampled_from([seq - 1, seq - 1, seq - 1, *range(seq)]))
    return parents


def jumps_of(parents: Parents, first_seq: int = 1) -> tuple[tuple[int, int], ...]:
    return tuple((seq, parent) for seq, parent in parents.items() if parent != seq - 1 and seq >= first_seq)


def walked(parents: Parents, head: int, first_seq: int = 1) -> list[int]:
    path = []
    while head >= first_seq and head > 0:
        path.append(head)
        head = parents[head]
    return path[::-1]


def expanded(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [seq for low, high in ranges for seq in range(low, high + 1)]


@given(forests(), st.data())
def test_a_path_is_what_a_walk_over_the_parents_finds(parents: Parents, data: st.DataObject) -> None:
    head = data.draw(st.integers(0, len(parents)))
    first_seq = data.draw(st.integers(1, len(parents) + 1))

    ranges = path_ranges(head, jumps_of(parents, first_seq), first_seq)

    path = walked(parents, head, first_seq)
    assert expanded(ranges) == path
    assert path_length(ranges) == len(path)
    assert [seq for seq in range(len(parents) + 2) if on_path(seq, ranges)] == path


@given(forests(), st.data())
def test_clipping_keeps_what_lies_strictly_between_the_bounds(parents: Parents, data: st.DataObject) -> None:
    ranges = path_ranges(data.draw(st.integers(0, len(parents))), jumps_of(parents), 1)
    after = data.draw(st.integers(0, 27))
    before = data.draw(st.none() | st.integers(0, 27))

    clipped = clip(ranges, after_seq=after, before_seq=before)

    wanted = [seq for seq in expanded(ranges) if after < seq and (before is None or seq < before)]
    assert expanded(clipped) == wanted


@given(forests(), st.data())
def test_parents_and_siblings_follow_from_the_jumps(parents: Parents, data: st.DataObject) -> None:
    jumps = jumps_of(parents)
    first_seq = data.draw(st.integers(1, len(parents) + 1))
    families = Families(jumps, first_seq=first_seq, last_seq=len(parents))

    for seq, parent in parents.items():
        assert parent_of(seq, jumps) == parent
        same = tuple(other for other, origin in parents.items() if origin == parent and other >= first_seq)
        assert seq < first_seq or families.siblings(seq) == same


@given(forests(), st.data())
def test_the_newest_leaf_is_the_newest_message_whose_walk_passes(parents: Parents, data: st.DataObject) -> None:
    first_seq = data.draw(st.integers(1, len(parents) + 1))
    seq = data.draw(st.integers(0, len(parents)))

    leaf = newest_leaf(seq, jumps_of(parents, first_seq), first_seq=first_seq, last_seq=len(parents))

    passing = [end for end in parents if seq in walked(parents, end, first_seq)]
    assert leaf == max(passing, default=seq)


def test_an_empty_head_has_an_empty_path() -> None:
    assert path_ranges(0, (), 1) == ()
    assert path_ranges(3, (), 4) == ()
