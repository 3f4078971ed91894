"""Health and metrics, for whoever operates the server."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from chatkeep.api.encoding import Json
from chatkeep.api.errors import problems
from chatkeep.api.house import House, InHouse
from chatkeep.api.schemas import chat as schemas
from chatkeep.domain.errors import ChatkeepError

PATIENCE_SECONDS = 2.0

router = APIRouter(tags=["operation"])


@router.get("/health", operation_id="isLive", summary="Is the process alive?", response_model=schemas.Live)
async def is_live() -> Response:
    """Always `ok`; looks at nothing else."""
    return Json({"status": "ok"})


@router.get(
    "/health/ready",
    operation_id="isReady",
    summary="Can requests be served?",
    response_model=schemas.Ready,
    responses={503: {"description": "Not now.", "model": schemas.Ready}},
)
async def is_ready(house: InHouse) -> Response:
    """Asks the store."""
    healthy = await _store_answers(house)
    status = "ok" if healthy and not house.closing.is_set() else "unavailable"
    return Json({"status": status, "store": _engine(house)}, 200 if status == "ok" else 503)


@router.get(
    "/health/sessions",
    operation_id="getSessionsHealth",
    summary="How is each component?",
    response_model=schemas.SessionsHealth,
)
async def get_sessions_health(house: InHouse) -> Response:
    """A report, with status 200 whatever it says."""
    healthy = await _store_answers(house)
    application = house.open()
    return Json(
        {
            "status": "ok" if healthy else "unavailable",
            "store": _engine(house),
            "store_healthy": healthy,
            "redis_healthy": None,
            "active_sessions": await _active_sessions(house) if healthy else None,
            "active_runs": application.chat.active_runs,
            "model": application.models.names()[0],
            "notice": application.notice,
        }
    )


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def get_metrics(house: InHouse) -> Response:
    """In the text format."""
    return Response(house.metrics.text(), media_type="text/plain; version=0.0.4")


def _engine(house: House) -> str:
    return house.open().keeping.opened.store.engine


async def _store_answers(house: House) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await house.open().keeping.opened.store.ping()
    except (ChatkeepError, TimeoutError):
        return False
    return True


async def _active_sessions(house: House) -> int | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await house.open().keeping.opened.maintenance.count_sessions()
    except (ChatkeepError, TimeoutError):
        return None
