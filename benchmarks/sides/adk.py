"""Google's Agent Development Kit; the session object is fetched anew with each read, as its runner does."""

from __future__ import annotations

import importlib
import os
from typing import Any

from benchmarks.workload import Said, sqlalchemy_url, turn

APP = "bench"


class DatabaseService:
    """DatabaseSessionService over SQLAlchemy. A turn is two events, each in a transaction of its own."""

    has_lists = True

    async def open(self, place: str) -> None:
        sessions = importlib.import_module("google.adk.sessions")
        self._config = importlib.import_module("google.adk.sessions.base_session_service").GetSessionConfig
        self._event = importlib.import_module("google.adk.events").Event
        self._types = importlib.import_module("google.genai.types")
        self._service = sessions.DatabaseSessionService(sqlalchemy_url(place))
        await self._make("u", f"first{os.getpid()}")

    async def _make(self, user: str, name: str) -> None:
        await self._service.create_session(app_name=APP, user_id=user, session_id=name)

    def _said(self, author: str, role: str, text: str) -> Any:
        content = self._types.Content(role=role, parts=[self._types.Part(text=text)])
        return self._event(author=author, invocation_id="i", content=content)

    async def session(self, name: str) -> dict[str, Any]:
        return {"name": name, "held": None}

    async def _fetch(self, session: dict[str, Any], count: int | None) -> Any:
        config = None if count is None else self._config(num_recent_events=count)
        named = {"app_name": APP, "user_id": "u", "session_id": session["name"]}
        found = await self._service.get_session(**named, config=config)
        if found is None:
            await self._make("u", session["name"])
            found = await self._service.get_session(**named, config=config)
        session["held"] = found
        return found

    async def append(self, session: dict[str, Any], question: str, answer: str) -> None:
        held = session["held"] or await self._fetch(session, 1)
        await self._service.append_event(held, self._said("user", "user", question))
        await self._service.append_event(held, self._said("bot", "model", answer))

    async def newest(self, session: dict[str, Any], count: int) -> list[Said]:
        return _texts((await self._fetch(session, count)).events)

    async def everything(self, session: dict[str, Any]) -> list[Said]:
        return _texts((await self._fetch(session, None)).events)

    async def seed(self, name: str, turns: int) -> None:
        session = await self.session(name)
        for at in range(turns):
            await self.append(session, *turn(f"{name}.seed{at}"))

    async def seed_list(self, user: str, count: int) -> None:
        await self._make(user, f"{user}.first")
        sql = importlib.import_module("sqlalchemy")
        async with self._service.db_engine.begin() as db:
            found = await db.run_sync(lambda at: sql.inspect(at).get_columns("sessions"))
            columns = [column["name"] for column in found]
            chosen = ", ".join(":more || id" if name == "id" else name for name in columns)
            copy = f"INSERT INTO sessions({', '.join(columns)}) SELECT {chosen} FROM sessions WHERE id = :id"  # noqa: S608 -- its own names
            await db.execute(sql.text(copy), [{"more": f"{at}.", "id": f"{user}.first"} for at in range(count - 1)])

    async def recent(self, user: str, count: int) -> int:
        found = await self._service.list_sessions(app_name=APP, user_id=user)
        return len(sorted(found.sessions, key=lambda session: session.last_update_time)[-count:])

    async def close(self) -> None:
        await self._service.close()


def _texts(events: list[Any]) -> list[Said]:
    return [Said(event.content.role, event.content.parts[0].text) for event in events]
