"""A process that appends to one session under keys `<name>/0`, `<name>/1` …, and says each seq once it is durable.

Arguments: the file, its name, the first number, the number behind the last. Started again with the first number that
was not acknowledged, it repeats what its predecessor may or may not have stored.
"""

from __future__ import annotations

import asyncio
import sys

from chatkeep.domain.messages import assistant, user
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.testing.calls import digest

SCOPE = Scope("acme", "support", "alice")


async def main(path: str, name: str, first: int, end: int) -> None:
    """Append from `first` up to `end`."""
    store = await open_sqlite(path)
    for number in range(first, end):
        text = f"{name}/{number}"
        appended = await store.append(
            SCOPE,
            "s",
            [user(text), assistant(f"{text}!")],
            idempotency_key=text,
            digest=digest(text),
            create=NewSession(),
        )
        sys.stdout.write(f"{number} {appended.first_seq}\n")
        sys.stdout.flush()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
