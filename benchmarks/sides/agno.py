"""Agno's database as its agents use it: for each turn one run, with both messages, and the session's row."""

from __future__ import annotations

import importlib
import time
import uuid
from typing import Any

from benchmarks.workload import Said, turn


class Agno:
    """AsyncSqliteDb."""

    has_lists = False  # a list is part of it, but filling one through it takes longer than all the rest

    async def open(self, place: str) -> None:
        kinds = importlib.import_module("agno.db.base").SessionType
        self._agent = kinds.AGENT
        self._message = importlib.import_module("agno.models.message").Message
        self._run = importlib.import_module("agno.run.agent").RunOutput
        self._session = importlib.import_module("agno.session.agent").AgentSession
        self._db = importlib.import_module("agno.db.sqlite").AsyncSqliteDb(db_file=place)
        await self.append(await self.session("first"), *turn("first"))

    async def session(self, name: str) -> Any:
        return self._session(session_id=name, agent_id="a", user_id="u", created_at=int(time.time()))

    async def append(self, session: Any, question: str, answer: str) -> None:
        said = [self._message(role="user", content=question), self._message(role="assistant", content=answer)]
        owner = {"agent_id": "a", "session_id": session.session_id, "user_id": "u"}
        await self._db.upsert_session(session)
        run = self._run(run_id=uuid.uuid4().hex, content=answer, messages=said, **owner)
        await self._db.upsert_run(run, session_id=session.session_id, user_id="u")

    async def newest(self, session: Any, count: int) -> list[Said]:
        return self._said(await self._found(session, runs_limit=count // 2))

    async def everything(self, session: Any) -> list[Said]:
        return self._said(await self._found(session))

    async def _found(self, session: Any, **options: int) -> Any:
        return await self._db.get_session(session.session_id, session_type=self._agent, **options)

    def _said(self, session: Any) -> list[Said]:
        runs = session.runs if session and session.runs else []
        return [Said(message.role, message.content) for run in runs for message in run.messages]

    async def seed(self, name: str, turns: int) -> None:
        session = await self.session(name)
        for at in range(turns):
            await self.append(session, *turn(f"{name}.seed{at}"))

    async def seed_list(self, user: str, count: int) -> None:
        raise NotImplementedError

    async def recent(self, user: str, count: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        await self._db.close()
