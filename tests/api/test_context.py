from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from chatkeep.settings import Settings

NUMBERS = range(1, 13)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"context_tmax_tokens": 600})


async def told(api: httpx.AsyncClient) -> None:
    """Make session `a`: a dozen orders, the answers of the echo model behind them."""
    for number in NUMBERS:
        question = f"My order {number} is AB-{number * 111} from City{number}. {'Please look it up again. ' * 6}"
        answer = await api.post("/sessions/a/chat", json={"message": question, "stream": False, "agent": "billing"})
        answer.raise_for_status()


async def settled(api: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until the background worker, which tells nobody, has nothing more to do, and return the summaries."""
    before: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while before != (before := (await api.get("/sessions/a/segments")).json()):  # noqa: ASYNC110 -- see above
            await asyncio.sleep(0.2)
    return before


async def context(api: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await api.get("/sessions/a/context", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def texts(explained: dict[str, Any]) -> str:
    return "\n".join(part.get("text", "") for message in explained["messages"] for part in message["parts"])


async def test_a_hypothetical_context_names_every_message_once_and_adds_up(api: httpx.AsyncClient) -> None:
    await told(api)

    explained = await context(api, query="Where is AB-222?")

    assert [one["seq"] for one in explained["trace"]] == list(range(1, 25))
    assert {one["decision"] for one in explained["trace"]} == {"included", "relevant", "covered"}
    assert "AB-222" in texts(explained)
    assert explained["messages"][-1] == {"role": "user", "parts": [{"type": "text", "text": "Where is AB-222?"}]}
    tokens = dict(explained["tokens"])
    assert tokens.pop("total") == sum(tokens.values()) <= explained["budget_tokens"] == 600
    assert explained["wait_ms"] == 0


async def test_looking_at_a_context_changes_nothing(api: httpx.AsyncClient) -> None:
    await told(api)
    before = await settled(api)

    first = await context(api, query="And?", budget_tokens=300)
    second = await context(api, query="And?", budget_tokens=300)

    assert (await api.get("/sessions/a/segments")).json() == before
    assert {**first, "build_ms": 0} == {**second, "build_ms": 0}


async def test_a_past_context_tells_what_the_model_saw(api: httpx.AsyncClient) -> None:
    await told(api)

    early, late = await context(api, seq=2), await context(api, seq=24)

    assert [(one["seq"], one["decision"]) for one in early["trace"]] == [(1, "included")]
    assert [one["seq"] for one in late["trace"]] == list(range(1, 24))
    assert late["segments"][0]["first_seq"] == 1
    assert late["messages"] == []


async def test_the_instructions_of_an_agent_come_first_and_are_counted_but_not_shown(api: httpx.AsyncClient) -> None:
    await told(api)

    explained = await context(api, query="Hm?", agent="billing")

    hidden = {"role": "system", "parts": [{"type": "text", "text": "[the agent's instructions]"}]}
    assert explained["messages"][0] == hidden
    assert "Be exact." not in texts(explained)
    assert explained["tokens"]["system"] > 0


async def test_summaries_can_be_read_and_removed_and_come_again(api: httpx.AsyncClient) -> None:
    await told(api)
    summaries = (await settled(api))["items"]

    removed = await api.delete("/sessions/a/segments")

    assert summaries[0]["first_seq"] == 1
    assert summaries[0]["text"]
    assert removed.status_code == 204
    assert (await api.get("/sessions/a/segments")).json()["items"] == []
    assert (await context(api, query="And?"))["segments"]


async def test_what_is_redacted_leaves_the_summaries_at_once(api: httpx.AsyncClient) -> None:
    await told(api)
    kept = (await api.get("/sessions/a/segments")).json()["items"]
    covered = kept[0]

    for seq in (1, 2):
        (await api.delete(f"/sessions/a/messages/{seq}")).raise_for_status()

    told_now = (await api.get("/sessions/a/segments")).json()["items"]
    assert covered not in told_now
    assert "AB-111 " not in str(told_now)
    assert "AB-111 " not in texts(await context(api, query="What was my first order, from City1?"))


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"seq": 1}, 404),
        ({"seq": 999}, 404),
        ({"seq": 2, "query": "x"}, 422),
        ({"agent": "nobody"}, 404),
        ({"budget_tokens": 10}, 422),
        ({"query": "x" * 30_000}, 422),
    ],
)
async def test_what_cannot_be_explained_is_refused(api: httpx.AsyncClient, params: dict[str, Any], status: int) -> None:
    await api.post("/sessions/a/chat", json={"message": "hello", "stream": False})

    assert (await api.get("/sessions/a/context", params=params)).status_code == status


async def test_a_session_that_is_not_there_has_neither_context_nor_summaries(api: httpx.AsyncClient) -> None:
    for path in ("/sessions/a/context", "/sessions/a/segments"):
        assert (await api.get(path)).status_code == 404
    assert (await api.delete("/sessions/a/segments")).status_code == 404


async def test_a_question_that_does_not_fit_fails_its_run_and_says_why(api: httpx.AsyncClient) -> None:
    answer = await api.post("/sessions/a/chat", json={"message": "long " * 20_000, "stream": False})

    assert answer.json()["status"] in ("complete", "failed")
    explained = await context(api, seq=2)
    assert explained["tokens"]["total"] <= 600


async def test_metrics_tell_what_prompts_are_made_of(api: httpx.AsyncClient) -> None:
    await told(api)

    exposed = (await api.get("http://localhost/metrics")).text

    assert 'context_tokens_total{part="segments"}' in exposed
    assert "context_compression_ratio_count" in exposed
    assert "context_prefix_fraction_count 12.0" in exposed
    assert "context_wait_seconds_total 0.0" in exposed
