"""What the model would see, or saw, and why; the summaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from chatkeep.api.encoding import Json, context_json, listed, segment_json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import MAX_SEQ, SessionId
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import context as schemas
from chatkeep.domain.budgets import LEAST_BUDGET_TOKENS
from chatkeep.domain.errors import Invalid, NotFound
from chatkeep.domain.messages import Text
from chatkeep.domain.prompts import PromptMessage
from chatkeep.services.context import Explained, Question

router = APIRouter(prefix="/v1/apps/{app}", tags=["context"], route_class=StrictRoute)


@router.get(
    "/sessions/{session_id}/context",
    operation_id="explainContext",
    summary="Explain a context",
    response_model=schemas.Context,
    responses=problems(404),
)
async def explain(
    caller: Asked,
    session_id: SessionId,
    query: Annotated[str | None, Query(max_length=32_000, description="A question that nobody has asked yet.")] = None,
    seq: Annotated[int | None, Query(ge=1, le=MAX_SEQ, description="An answer: what its model saw.")] = None,
    agent: Annotated[str | None, Query(max_length=256, description="Whose instructions come first.")] = None,
    budget_tokens: Annotated[
        int | None, Query(ge=LEAST_BUDGET_TOKENS, le=10_000_000, description="Another budget than the setting's.")
    ] = None,
) -> Response:
    """Without parameters, what a model would see that answers the newest message. Nothing is stored, no model asked.
    An agent's instructions are counted, and not shown.
    """
    context = caller.keeping.context
    if seq is not None:
        if query is not None:
            raise Invalid("give either seq, for what was seen, or query, for what would be", field="seq")
        return Json(context_json(await context.past(caller.scope, session_id, seq)))
    policy = context.policy if budget_tokens is None else replace(context.policy, tmax_tokens=budget_tokens)
    model = caller.application.models.get(None)
    question = Question(
        text=query,
        system=_instructions(caller, agent),
        model=model.name,
        window_tokens=model.window_tokens if budget_tokens is None else None,
    )
    explained = await context.prepare(caller.scope, session_id, question, policy=policy, keep=False)
    return Json(context_json(explained if not any(question.system) else _without_instructions(explained)))


def _without_instructions(explained: Explained) -> Explained:
    """Return it without the words of the agent's instructions, which are the operator's and not for every user."""
    hidden = PromptMessage("system", (Text("[the agent's instructions]"),))
    prompt = explained.prompt
    return replace(explained, prompt=replace(prompt, messages=(hidden, *prompt.messages[1:])))


def _instructions(caller: Asked, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    for agent in caller.application.agents.configured():
        if agent.name == name:
            return (agent.instructions,)
    raise NotFound("agent", name)


@router.get(
    "/sessions/{session_id}/segments",
    operation_id="listSegments",
    summary="List summaries",
    response_model=schemas.SegmentList,
    responses=problems(404),
)
async def list_segments(caller: Asked, session_id: SessionId) -> Response:
    """Those in use first, then those that are ready; each in the order of its messages."""
    found = await caller.keeping.context.segments(caller.scope, session_id)
    return listed(
        [
            segment_json(segment, published=published)
            for kept, published in ((found.published, True), (found.ready, False))
            for segment in sorted(kept, key=lambda one: (one.first_seq, one.last_seq))
        ]
    )


@router.delete(
    "/sessions/{session_id}/segments",
    operation_id="deleteSegments",
    summary="Remove all summaries",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409),
)
async def delete_segments(caller: Asked, session_id: SessionId) -> Response:
    """The messages stay. Summaries are made anew when a context needs them."""
    await caller.keeping.context.forget(caller.scope, session_id)
    return Response(status_code=204)
