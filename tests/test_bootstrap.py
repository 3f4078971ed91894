from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from chatkeep.bootstrap import Models, running
from chatkeep.domain.errors import Invalid, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.models.echo import EchoModel
from chatkeep.services.chat import ChatRequest
from chatkeep.settings import Settings

ALICE = Scope("default", "default", "alice")


def settings(**given: object) -> Settings:
    return Settings.model_validate({"store_url": "memory://", "model": "echo", **given})


async def test_a_running_application_answers_and_closes_everything() -> None:
    async with running(settings(echo_words_per_second=0)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
        events = [event async for event in app.chat.follow(ALICE, run.id)]
        store = app.keeping.opened.store

    assert events[-1].data["status"] == "complete"
    assert app.notice is None
    with pytest.raises(Unavailable):
        await store.ping()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_answers_under_way_are_kept_before_the_store_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chats.db"
    async with running(settings(store_url=url, echo_words_per_second=20)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="word " * 200))
        async for event in app.chat.follow(ALICE, run.id):
            if event.type == "delta":
                break

    async with running(settings(store_url=url)) as app:
        assert (await app.chat.get(ALICE, run.id)).status == "interrupted"
        statuses = [entry.status for entry in await app.keeping.history.read(ALICE, "s") if hasattr(entry, "status")]
    assert statuses == ["interrupted", "complete"]


async def test_each_run_that_ends_is_reported() -> None:
    ended: list[str] = []

    async with running(settings(echo_words_per_second=0), on_run_end=lambda run: ended.append(run.id)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
        _ = [event async for event in app.chat.follow(ALICE, run.id)]

    assert ended == [run.id]


@pytest.mark.parametrize(
    "given",
    [
        {"model": "eliza"},
        {"models": ("echo", "eliza")},
        {"agents": [{"name": "a", "model": "eliza"}]},
        {"store_url": "carrier://pigeon"},
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start_and_leaves_nothing_open(
    given: dict[str, object],
) -> None:
    with pytest.raises(Invalid):
        async with running(settings(**given)):
            raise AssertionError

    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_settings_reach_what_they_are_for() -> None:
    given = settings(
        retention="platform",
        session_ttl_days=3,
        models=("openai:tiny",),
        model_base_url="http://127.0.0.1:9/v1",
        agents=[{"name": "helper", "model": "openai:big", "instructions": "Help."}],
    )
    async with running(given) as app:
        session = await app.keeping.sessions.create(ALICE)

        assert app.models.names() == ("echo", "openai:tiny", "openai:big")
        assert [agent.name for agent in app.agents.configured()] == ["helper"]
        assert session.expires_at == session.created_at + timedelta(days=3)


def test_a_model_that_is_not_offered_is_refused_with_those_that_are() -> None:
    models = Models(EchoModel(0))

    assert models.get(None) is models.get("echo")
    with pytest.raises(Invalid, match="'gpt' cannot be chosen here; offered are echo"):
        models.get("gpt")
