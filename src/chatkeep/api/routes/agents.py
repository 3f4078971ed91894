"""Agents and models: what can be chosen."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from chatkeep.api.encoding import agent_json, listed, toggle_json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import SessionId
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import sessions as schemas
from chatkeep.domain.errors import Invalid

router = APIRouter(prefix="/v1/apps/{app}", tags=["agents"], route_class=StrictRoute)


@router.get(
    "/models",
    operation_id="listModels",
    summary="List models",
    response_model=schemas.ModelList,
    responses=problems(),
)
async def list_models(caller: Asked) -> Response:
    """The default one first."""
    names = caller.application.models.names()
    return listed([{"name": name, "default": at == 0} for at, name in enumerate(names)])


@router.get(
    "/agents",
    operation_id="listAgents",
    summary="List agents",
    response_model=schemas.AgentList,
    responses=problems(),
)
async def list_agents(caller: Asked) -> Response:
    """In the order of the configuration."""
    return listed([agent_json(agent) for agent in caller.application.agents.configured()])


@router.get(
    "/sessions/{session_id}/agents",
    operation_id="listSessionAgents",
    summary="List a session's agents",
    response_model=schemas.SessionAgentList,
    responses=problems(404),
)
async def list_session_agents(caller: Asked, session_id: SessionId) -> Response:
    """Each with its switch in this session."""
    toggles = await caller.application.agents.of_session(caller.scope, session_id)
    return listed([toggle_json(toggle) for toggle in toggles])


@router.put(
    "/sessions/{session_id}/agents",
    operation_id="switchSessionAgents",
    summary="Enable and disable agents",
    response_model=schemas.SessionAgentList,
    responses=problems(404, 409),
)
async def switch_session_agents(caller: Asked, session_id: SessionId, body: schemas.AgentSwitches) -> Response:
    """For this session, durably. Agents that are not named stay as they are."""
    both = set(body.enabled) & set(body.disabled)
    if both:
        raise Invalid(f"agent {min(both)!r} cannot be both enabled and disabled", field="enabled")
    switches = dict.fromkeys(body.enabled, True) | dict.fromkeys(body.disabled, False)
    toggles = await caller.application.agents.switch(caller.scope, session_id, switches)
    return listed([toggle_json(toggle) for toggle in toggles])
