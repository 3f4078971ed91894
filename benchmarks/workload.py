"""What every side is asked to do: the work of a chat server for a turn. Needs nothing but Python."""

from __future__ import annotations

import random
from typing import Any, NamedTuple, Protocol

QUESTION_CHARS = 200
ANSWER_CHARS = 800
WINDOW = 20

_WORDS = ("session", "history", "message", "model", "answer", "question", "token", "user", "assistant", "when", "where")


class Said(NamedTuple):
    """A message as the prompt needs it: its role known, its text read."""

    role: str
    text: str


def _filler(size: int) -> str:
    source = random.Random(size)  # noqa: S311 -- filler
    return " ".join(source.choice(_WORDS) for _ in range(size))[:size]


_QUESTION, _ANSWER = _filler(QUESTION_CHARS), _filler(ANSWER_CHARS)


def turn(mark: str) -> tuple[str, str]:
    """Return a question and an answer of the usual sizes, which begin with a mark of their own."""
    return f"{mark} q {_QUESTION}"[:QUESTION_CHARS], f"{mark} a {_ANSWER}"[:ANSWER_CHARS]


def mark_of(text: str) -> tuple[str, str]:
    """Return the mark of a text, and whether it is the question (q) or the answer (a)."""
    mark, which, _ = text.split(" ", 2)
    return mark, which


def sqlalchemy_url(place: str) -> str:
    """Return what SQLAlchemy calls a file, or a PostgreSQL database."""
    return place.replace("postgresql:", "postgresql+asyncpg:") if "://" in place else f"sqlite+aiosqlite:///{place}"


class Side(Protocol):
    """One way to keep conversations. A session is whatever a server would hold on to between turns."""

    has_lists: bool

    async def open(self, place: str) -> None:
        """Open the database, a file or a URL, making it if there is none."""

    async def session(self, name: str) -> Any:
        """Return the session of that name, which need not exist yet."""

    async def append(self, session: Any, question: str, answer: str) -> None:
        """Add a turn; it is kept when this returns."""

    async def newest(self, session: Any, count: int) -> list[Said]:
        """Return the last messages, oldest first."""

    async def everything(self, session: Any) -> list[Said]:
        """Return all messages."""

    async def seed(self, name: str, turns: int) -> None:
        """Make a session of so many turns, by the quickest way."""

    async def seed_list(self, user: str, count: int) -> None:
        """Give a user so many sessions."""

    async def recent(self, user: str, count: int) -> int:
        """Fetch the user's newest sessions, with what a list shows of them; return how many there were."""

    async def close(self) -> None:
        """Close the database."""
