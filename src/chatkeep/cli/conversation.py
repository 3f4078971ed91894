"""One conversation at the command line: say something, watch the answer arrive, stop it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatkeep.cli.documents import event_json
from chatkeep.cli.output import Output, moment_text
from chatkeep.domain.errors import ChatkeepError, NotFound, RunActive
from chatkeep.domain.messages import Message
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionPatch, SessionState
from chatkeep.services.chat import ChatRequest
from chatkeep.services.live import StreamEvent

if TYPE_CHECKING:
    from chatkeep.bootstrap import Application

SHOWN_ON_RESUME = 4
_STATES: tuple[SessionState, ...] = ("pinned", "active", "unpinned")
_ENDS = {
    "cancelled": "stopped; what was said is kept",
    "interrupted": "the answer was interrupted; what was said is kept, and /retry answers anew",
    "failed": "the model failed",
}
_FAULTS = {
    "model_unavailable": "its server cannot be reached or broke off; see that it runs, or take another with --model",
    "model_timeout": "its server sent nothing for too long; try again, or raise CHATKEEP_MODEL_TIMEOUT_SECONDS",
    "model_refused": "its server refused; `chatkeep doctor` tells why",
}


class Conversation:
    """A session under way. `session_id` None: the first message begins one."""

    def __init__(
        self, application: Application, scope: Scope, session_id: str | None, agent: str | None, out: Output
    ) -> None:
        self._chat = application.chat
        self._keeping = application.keeping
        self._scope = scope
        self._agent = agent
        self._out = out
        self.session_id = session_id
        self._answering: str | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def resume_last(self) -> None:
        """Go on with the session of the latest activity, if there is any."""
        newest: Session | None = None
        for state in _STATES:
            page = await self._keeping.sessions.list(self._scope, SessionFilter(state=state), limit=1)
            for session in page.items:
                if newest is None or session.modified_at_ms > newest.modified_at_ms:
                    newest = session
        self.session_id = None if newest is None else newest.id

    async def show(self) -> None:
        """Show where the conversation stands, and the rest of an answer that is being written elsewhere."""
        session = await self._session()
        if session is None:
            self._out.note("a new session; /help lists the commands")
            return
        self._out.note(f"{session.title or '(no title)'} · {session.id} · {session.message_count} messages")
        newest = await self._keeping.history.read(self._scope, session.id, limit=SHOWN_ON_RESUME)
        for entry in reversed(newest):
            if isinstance(entry, Message) and not self._out.as_json:
                mark = "" if entry.status == "complete" else f" ({entry.status})"
                self._out.line(f"{'> ' if entry.role == 'user' else ''}{entry.text}{mark}\n")
        if session.active_run_id is not None:
            self._out.note("this session is answering; here is the answer")
            await self.follow(session.active_run_id)

    async def say(self, text: str) -> str:
        """Send a message and show the answer; return how it ended. An answer under way is waited for first."""
        request = ChatRequest(text=text, agent=self._agent)
        while True:
            try:
                run = await self._chat.chat(self._scope, self.session_id, request)
            except RunActive as error:
                self._out.note("this session is answering already; here is that answer, and then yours")
                await self._follow_if_there(error.run_id)
                continue
            return await self._answer(run)

    async def retry(self) -> str | None:
        """Answer the newest question again, on a branch of its own; return how it ended."""
        session = await self._session()
        if session is None or session.head_seq == 0:
            self._out.note("there is nothing to answer again")
            return None
        return await self._answer(
            await self._chat.regenerate(
                self._scope, session.id, session.head_seq, ChatRequest(text="", agent=self._agent)
            )
        )

    async def _answer(self, run: Run) -> str:
        self.session_id = run.session_id
        return await self.follow(run.id)

    async def _follow_if_there(self, run_id: str) -> None:
        try:
            await self.follow(run_id)
        except NotFound:  # it ended and went between the two calls
            await asyncio.sleep(0.1)

    async def follow(self, run_id: str) -> str:
        """Show the answer of a run from its beginning, wherever it is written; return how it ended."""
        self._attend_to(run_id)
        told, status = 0, "interrupted"
        try:
            async for event in self._chat.follow(self._scope, run_id):
                if self._out.as_json:
                    self._tell_json(event)
                elif event.type == "delta":
                    told = self._tell_text(event, told)
                else:
                    self._tell(event)
                if event.type == "done":
                    status = str(event.data["status"])
        finally:
            self._answering = None
            if self._stopping is not None:
                await asyncio.wait([self._stopping])
        self._tell_end(status, told)
        return status

    def _attend_to(self, run_id: str) -> None:
        self._answering, self._stopping = run_id, None

    def _tell_json(self, event: StreamEvent) -> None:
        if event.type:
            self._out.document(event_json(event))
            self._out.flush()

    def _tell_text(self, event: StreamEvent, told: int) -> int:
        """Show the part of a text that was not shown yet; return how far the answer is shown."""
        offset, text = int(event.data["offset"]), str(event.data["text"])
        if offset + len(text) > told:
            self._out.write(text[told - offset :])
        return max(told, offset + len(text))

    def _tell(self, event: StreamEvent) -> None:
        if event.type == "error":
            code = str(event.data["code"])
            self._out.note(f"\nthe model failed: {_FAULTS.get(code, code)}")

    def _tell_end(self, status: str, told: int) -> None:
        if not self._out.as_json:
            self._out.write("\n\n" if told else "")
        if status in _ENDS and status != "failed":
            self._out.note(_ENDS[status])

    def stop(self) -> bool:
        """Stop the answer under way; return False if there is none, or if it was asked to stop before."""
        if self._answering is None or self._stopping is not None:
            return False
        self._stopping = asyncio.create_task(self._cancel(self._answering))
        return True

    async def _cancel(self, run_id: str) -> None:
        try:
            await self._chat.cancel(self._scope, run_id)
        except ChatkeepError as error:
            self._out.note(f"it could not be stopped: {error}; Ctrl-C again leaves")

    async def rename(self, title: str) -> None:
        """Give the session a title."""
        if self.session_id is None:
            self._out.note("a session gets its title after its first message")
            return
        patch = SessionPatch(title=title)
        session = await self._keeping.sessions.update(self._scope, self.session_id, patch)
        self._out.note(f"it is called {session.title!r} now")

    async def list_sessions(self) -> None:
        """Show the latest sessions."""
        page = await self._keeping.sessions.list(self._scope, SessionFilter(), limit=20)
        for session in page.items:
            here = "*" if session.id == self.session_id else " "
            self._out.note(f"{here} {session.id}  {moment_text(session.modified_at)}  {session.title or '(no title)'}")
        self._out.note("/open ID goes on with one of them" if page.items else "no sessions yet")

    async def open(self, session_id: str) -> None:
        """Go on with another session."""
        await self._keeping.sessions.get(self._scope, session_id)
        self.session_id = session_id
        await self.show()

    async def _session(self) -> Session | None:
        if self.session_id is None:
            return None
        return await self._keeping.sessions.find(self._scope, self.session_id)
