from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.messages import Text
from chatkeep.domain.relevance import Document, Lexicon, best, excerpt
from chatkeep.domain.stems import stems
from chatkeep.domain.tokens import message_tokens, text_tokens

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def lexicon(*said: str | tuple[str, str, datetime]) -> Lexicon:
    """Index texts, one a minute, or (speaker, text, time)."""
    index = Lexicon()
    for at, one in enumerate(said):
        speaker, text, moment = ("user", one, START + timedelta(minutes=at)) if isinstance(one, str) else one
        index.add(Document(at + 1, speaker, text, moment, message_tokens([Text(text)])))
    return index


def ranked(index: Lexicon, query: str) -> list[int]:
    return [seq for seq, _ in best(index.documents, index.scores(query), budget_tokens=10_000, without=lambda _: False)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("running", "runs"),
        ("went", "goes"),
        ("studies", "studied"),
        ("adoption", "adopted"),
        ("organization", "organize"),
        ("children", "kids"),
        ("happily", "happy"),
        ("classes", "class"),
        ("Café", "cafe"),
    ],
)
def test_forms_of_a_word_have_one_stem(one: str, other: str) -> None:
    assert stems(one) == stems(other)


def test_words_that_tell_nothing_have_no_stem_and_others_stay_apart() -> None:
    assert stems("What did you say about the thing, really?") == stems("say thing")
    assert stems("universe") != stems("unit")


def test_scripts_that_part_no_words_are_cut_into_pairs() -> None:
    assert stems("東京タワー") == ["東京", "京タ", "タワ", "ワー"]
    assert set(stems("東京")) <= set(stems("私は東京に住んでいます"))


@given(st.text(max_size=100))
def test_any_text_has_stems(text: str) -> None:
    assert all(stems(text))


def test_the_message_that_shares_rare_words_comes_first() -> None:
    index = lexicon("my dog is called Max", "the weather is fine", "I bought a telescope", "the dog sleeps")

    assert ranked(index, "Which telescope did I buy?")[0] == 3


def test_an_answer_is_found_beside_the_question_that_matches() -> None:
    index = lexicon(
        "the rain has stopped", "Where did you adopt the puppy?", "In Stamford, last week.", "so nice", "of you", "bye"
    )

    assert {2, 3} <= set(ranked(index, "adopt puppy")[:3])


def test_nothing_passes_from_one_sitting_to_the_next() -> None:
    later = START + timedelta(days=3)
    index = lexicon(("user", "I adopted a puppy", START), ("user", "We painted the fence", later))

    assert ranked(index, "puppy") == [1]


def test_a_person_whom_the_question_names_more_likely_said_it() -> None:
    index = lexicon(("Ann", "I love chess", START), ("Ben", "I love chess", START + timedelta(days=1)))

    assert ranked(index, "Does Ben love chess?")[0] == 2


def test_a_month_or_year_in_the_question_finds_messages_of_that_time() -> None:
    march = datetime(2025, 3, 4, tzinfo=UTC)
    index = lexicon(("user", "we went hiking", START), ("user", "we went hiking", march))

    assert ranked(index, "Where did we hike in March 2025?")[0] == 2


def test_a_long_message_has_to_be_worth_its_tokens() -> None:
    later = START + timedelta(days=1)
    index = lexicon(("user", "the code is blue " + "and so on " * 300, START), ("user", "the code is blue", later))

    assert ranked(index, "which code?")[0] == 2


def test_what_does_not_fit_leaves_its_place_to_what_does() -> None:
    index = lexicon("telescope telescope " + "lens " * 100, "a telescope")
    scores = index.scores("telescope")

    chosen = best(index.documents, scores, budget_tokens=15, without=lambda _: False)

    assert [seq for seq, _ in chosen] == [2]


def test_the_end_of_a_conversation_is_found_like_its_middle() -> None:
    index = lexicon(*["nothing at all"] * 300, "a telescope", "it is blue")

    assert set(ranked(index, "telescope")[:2]) == {301, 302}


def test_words_that_stand_nearly_everywhere_are_passed_over_in_a_long_conversation() -> None:
    index = lexicon(*["the market opens"] * 4_000, "the market sells a telescope")

    assert ranked(index, "market telescope")[0] == 4_001


def test_what_is_seen_already_is_left_out() -> None:
    index = lexicon("a telescope", "another telescope")

    chosen = best(index.documents, index.scores("telescope"), budget_tokens=100, without=lambda seq: seq == 2)

    assert [seq for seq, _ in chosen] == [1]


def test_a_question_of_common_words_or_none_finds_nothing() -> None:
    index = lexicon("a telescope", "the weather")

    assert ranked(index, "") == ranked(index, "what is it?") == []


def test_an_excerpt_is_the_part_that_answers() -> None:
    text = "First things first. " * 40 + "The warranty lasts 36 months. " + "And so it goes on. " * 40

    short = excerpt(text, "How long does the warranty last?", max_tokens=60)

    assert "The warranty lasts 36 months." in short
    assert text_tokens(short) <= 66
    assert short.startswith("… ")
    assert short.endswith(" …")


def test_a_short_text_is_its_own_excerpt() -> None:
    assert excerpt("As it\n is.", "x", max_tokens=50) == "As it\n is."


def test_only_messages_before_the_given_one_are_looked_at() -> None:
    index = lexicon("a telescope", "it is blue", "a telescope in May 2026", "another telescope")

    assert set(index.scores("telescope in May 2026", before_seq=3)) == {0, 1}
    assert set(index.scores("telescope", before_seq=3, likeness={1: 0.5, 3: 0.5})) == {0, 1}


def test_a_question_of_common_words_is_answered_by_the_newest_messages_that_hold_them() -> None:
    index = lexicon(*["the market opens", "nothing at all"] * 2_000)

    found = ranked(index, "market")

    assert found
    assert min(found) > 2_700


def test_the_less_may_be_quoted_the_fewer_messages_are_told_of() -> None:
    index = lexicon(*["a telescope", *["nothing at all"] * 20] * 100)

    assert len(index.scores("telescope", budget_tokens=100)) < len(index.scores("telescope", budget_tokens=1_000))
    assert len(index.scores("telescope", budget_tokens=100_000)) == len(index.scores("telescope"))
