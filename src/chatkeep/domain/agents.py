"""Agents: named ways of answering, from configuration, each on or off in a session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from chatkeep.domain.errors import Invalid, NotFound
from chatkeep.domain.search import words

STATE_KEY = "agents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent. `description` tells the supervisor when to pick it; `model` None is the deployment's model."""

    name: str
    instructions: str = ""
    description: str = ""
    model: str | None = None


@dataclass(frozen=True, slots=True)
class AgentToggle:
    """An agent as one session sees it."""

    agent: Agent
    enabled: bool


def read_disabled(value: bytes | None) -> frozenset[str]:
    """Return the names that are disabled, from what the session's state holds under STATE_KEY."""
    if value is None:
        return frozenset()
    return frozenset(json.loads(value)["disabled"])


def write_disabled(disabled: frozenset[str]) -> bytes:
    """Return the state value that `read_disabled` reads."""
    return json.dumps({"disabled": sorted(disabled)}).encode()


def choose(toggles: Sequence[AgentToggle], name: str | None, question: str) -> Agent | None:
    """Return the agent that answers: the named one, the only one, or the one whose description fits the question best.

    The fit is the number of distinct words of the question that stand in the agent's name or description; the first
    configured agent wins a tie. None when no agent is configured. Raises NotFound for an unknown name, Invalid for a
    disabled one or when all are disabled.
    """
    if name is not None:
        for toggle in toggles:
            if toggle.agent.name == name:
                if not toggle.enabled:
                    raise Invalid(f"agent {name!r} is disabled in this session; enable it first", field="agent")
                return toggle.agent
        raise NotFound("agent", name)
    if not toggles:
        return None
    enabled = [toggle.agent for toggle in toggles if toggle.enabled]
    if not enabled:
        raise Invalid("every agent is disabled in this session; enable one first", field="agent")
    asked = set(words(question))
    return max(enabled, key=lambda agent: len(asked & set(words(f"{agent.name} {agent.description}"))))
