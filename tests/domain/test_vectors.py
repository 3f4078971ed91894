from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.vectors import PAGE_SEQS, VectorPage, by_page, from_bytes, last_seq, page_of, to_bytes


@given(st.integers(0, 10**6), st.sets(st.integers(1, PAGE_SEQS)), st.integers(1, 40), st.text(max_size=20))
def test_a_page_is_read_as_it_was_written(number: int, slots: set[int], size: int, name: str) -> None:
    page = VectorPage(name, {number * PAGE_SEQS + slot: bytes([slot]) * size for slot in slots})

    assert from_bytes(number, to_bytes(page)) == page


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error_or_a_page(value: bytes) -> None:
    try:
        page = from_bytes(3, value)
    except ValueError:
        return
    assert all(page_of(seq) == 3 for seq in page.vectors)


@pytest.mark.parametrize("cut", [0, 5, 9, 20])
def test_a_page_that_was_cut_off_is_a_value_error(cut: int) -> None:
    value = to_bytes(VectorPage("name", {1: b"12345678", 2: b"12345678"}))

    with pytest.raises(ValueError, match=r".*"):
        from_bytes(0, value[:cut])


def test_every_seq_has_one_page() -> None:
    assert [page_of(seq) for seq in (1, PAGE_SEQS, PAGE_SEQS + 1)] == [0, 0, 1]
    assert last_seq(page_of(PAGE_SEQS)) == PAGE_SEQS
    assert by_page([1, 2, PAGE_SEQS + 1]) == {0: [1, 2], 1: [PAGE_SEQS + 1]}
