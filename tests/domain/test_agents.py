from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.agents import Agent, AgentToggle, choose, read_disabled, write_disabled
from chatkeep.domain.errors import Invalid, NotFound

BILLING = Agent(name="billing", description="Invoices, refunds and payments")
TRAVEL = Agent(name="travel", description="Flights and hotels")


def toggles(*, billing: bool = True, travel: bool = True) -> list[AgentToggle]:
    return [AgentToggle(BILLING, billing), AgentToggle(TRAVEL, travel)]


@pytest.mark.parametrize(
    ("question", "agent"),
    [
        ("Where are my REFUNDS?", BILLING),
        ("cheap hotels, please", TRAVEL),
        ("Travel!", TRAVEL),
        ("flights flights flights or refunds and payments", BILLING),
        ("something else", BILLING),
        ("", BILLING),
    ],
)
def test_the_agent_that_shares_the_most_words_answers_and_the_first_wins_a_tie(question: str, agent: Agent) -> None:
    assert choose(toggles(), None, question) == agent


def test_a_disabled_agent_is_never_chosen() -> None:
    assert choose(toggles(billing=False), None, "refunds") == TRAVEL


def test_a_named_agent_answers_whatever_the_question() -> None:
    assert choose(toggles(), "travel", "refunds") == TRAVEL


def test_names_are_compared_exactly() -> None:
    with pytest.raises(NotFound, match="agent 'Travel'"):
        choose(toggles(), "Travel", "")


def test_a_named_but_disabled_agent_is_refused_with_what_to_do() -> None:
    with pytest.raises(Invalid, match="'billing' is disabled in this session; enable it first"):
        choose(toggles(billing=False), "billing", "")


def test_with_every_agent_disabled_none_can_answer() -> None:
    with pytest.raises(Invalid, match="every agent is disabled"):
        choose(toggles(billing=False, travel=False), None, "")


def test_without_agents_nobody_is_chosen_and_no_name_is_known() -> None:
    assert choose([], None, "Hi") is None
    with pytest.raises(NotFound):
        choose([], "billing", "Hi")


@given(st.frozensets(st.text()))
def test_switches_come_back_as_they_were_written(disabled: frozenset[str]) -> None:
    assert read_disabled(write_disabled(disabled)) == disabled
    assert read_disabled(None) == frozenset()
