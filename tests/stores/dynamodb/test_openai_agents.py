"""Sessions of the OpenAI Agents SDK in a server's database."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.stores.dynamodb.conftest import DynamoHarness

from chatkeep.adapters.openai_agents import ChatkeepSession


async def test_an_agents_session_lives_in_dynamodb(harness: DynamoHarness) -> None:
    url = f"dynamodb://eu-west-1/{harness.address.prefix}?endpoint={harness.address.endpoint}"
    items: list[Any] = [{"role": "user", "content": f"{at}"} for at in range(30)]
    sessions = [ChatkeepSession("trip", url, user=user) for user in ("alice", "bob")]

    await asyncio.gather(*(session.add_items(items) for session in sessions))
    popped = await sessions[0].pop_item()
    page = await ChatkeepSession.list_sessions(url, user="alice")
    read = [await session.get_items() for session in sessions]
    for session in sessions:
        session.close()

    assert popped == items[-1]
    assert read == [items[:-1], items]
    assert [listed.id for listed in page.items] == ["trip"]
