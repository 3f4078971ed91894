"""Words, matches and snippets."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.search import SNIPPET_CHARS, matches, snippet, words

PIECES = ["a", "B", "\u00e9", "e\u0301", "\u00df", "\ufb01", "\u0130", "\u4e2d", "1", " ", "\n", "_", "-", "😀"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=300).map("".join)


@given(st.text(max_size=60))
def test_words_are_folded_and_hold_no_separators(text: str) -> None:
    found = words(text)

    assert all(word and "_" not in word and not any(char.isspace() for char in word) for word in found)
    assert words(" ".join(found)) == found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ünïcödé CAFÉ", "unicode cafe"),
        ("STRASSE", "straße"),
        ("\ufb01n", "FIN"),
        ("e\u0301", "\u00c9"),
        ("\uff21", "a"),
    ],
)
def test_case_width_and_diacritics_make_no_difference(one: str, other: str) -> None:
    assert words(one) == words(other)


@given(TEXTS, st.integers(0, 5))
def test_a_text_matches_its_own_words_and_the_beginning_of_the_last(text: str, cut: int) -> None:
    found = words(text)
    if not found:
        return

    assert matches(found, found)
    assert matches(found, [*found[:-1], found[-1][: cut + 1]])
    assert not matches(found, [*found, "absent"])
    assert not matches(found, ["absent", found[0]])


@given(TEXTS, st.sampled_from(["a", "be", "ss", "fi", "1", "absent"]))
def test_a_snippet_shows_a_part_of_the_text_and_marks_the_wanted_words_in_it(text: str, wanted: str) -> None:
    shown, places = snippet(text, [wanted])

    assert len(shown) <= SNIPPET_CHARS + 2
    assert shown.strip("…") in " ".join(text.split("\n")) or "…" in text
    reached = 0
    for low, high in places:
        assert reached <= low < high <= len(shown)
        reached = high
        assert any(word.startswith(wanted) for word in words(shown[low:high]))
    assert bool(places) == any(word.startswith(wanted) for word in words(text))


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_has_the_words_that_it_has_beside_others(text: str) -> None:
    assert [*words(text), "e"] == words(f"{text} é")


def test_nothing_but_separators_has_no_words() -> None:
    assert words(" _-\n…") == []
    assert snippet("", ["a"]) == ("", ())
