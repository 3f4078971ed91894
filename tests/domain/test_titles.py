from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.titles import TITLE_CHARS, auto_title, shortened


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("  What is\n\tthis?  ", "What is this?"),
        ("x" * 50, "x" * 50),
        ("x" * 51, "x" * 49 + "…"),
        ("word " * 10, ("word " * 10).strip()),
        ("word " * 11, "word " * 9 + "word…"),
        ("a" * 45 + " bcd efg", "a" * 45 + " bcd…"),
        ("a" * 45 + " bcde fgh", "a" * 45 + "…"),
        (
            "Well, that is a rather long question, and it has, commas",
            "Well, that is a rather long question, and it has…",
        ),
        ("ein Satz mit Umlauten äöü und noch viel mehr Wörtern darin", "ein Satz mit Umlauten äöü und noch viel mehr…"),
        ("漢" * 60, "漢" * 49 + "…"),
        ("", ""),
        (" \n\t ", ""),
    ],
)
def test_a_title_is_the_beginning_up_to_a_words_end(text: str, title: str) -> None:
    assert auto_title(text) == title


@given(st.text(), st.integers(2, 80))
def test_a_shortened_text_is_one_line_that_fits_and_begins_the_same(text: str, most: int) -> None:
    line = shortened(text, most)

    assert len(line) <= most
    assert line == " ".join(line.split())
    whole = " ".join(text.split())
    assert line == whole or (line.endswith("…") and whole.startswith(line[:-1]))


@given(st.text(max_size=200))
def test_a_title_of_a_title_is_the_title(text: str) -> None:
    assert auto_title(auto_title(text)) == auto_title(text)
    assert len(auto_title(text)) <= TITLE_CHARS
