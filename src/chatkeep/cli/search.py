"""The command `chatkeep search`."""

from __future__ import annotations

from typing import Annotated

import typer

from chatkeep.cli.documents import hit_json
from chatkeep.cli.output import bold, moment_text, one_line, shown
from chatkeep.cli.place import Place, command
from chatkeep.domain.messages import from_us
from chatkeep.domain.pages import Hit, HitPosition
from chatkeep.services.search import MAX_HITS

group = typer.Typer()


@command(group, "search")
async def search(
    at: Place,
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="Words; the last may be the beginning of one.")],
    limit: Annotated[int, typer.Option(min=1, help="How many results at most.")] = 20,
) -> None:
    """Find one's own messages and titles by the words in them, the newest first."""
    after: HitPosition | None = None
    left = limit
    async with at.keeping() as keeping:
        while left > 0:
            page = await keeping.search.search(at.scope, " ".join(query), limit=min(left, MAX_HITS), after=after)
            for hit in page.items:
                if at.out.as_json:
                    at.out.document(hit_json(hit))
                else:
                    _tell(at, hit)
            left -= len(page.items)
            after = page.next
            if after is None:
                break
    if left == limit:
        at.out.note("nothing was found")
    elif after is not None:
        at.out.note(f"the first {limit}; --limit shows more")


def _tell(at: Place, hit: Hit) -> None:
    place = f"{hit.session.id} #{hit.seq}" if hit.seq else hit.session.id
    at.out.line(f"{place} · {one_line(hit.session.title)} · {moment_text(from_us(hit.at_us))}")
    pieces, reached = ["  "], 0
    for start, end in hit.highlights:
        pieces += [shown(hit.snippet[reached:start]), bold(shown(hit.snippet[start:end]))]
        reached = end
    at.out.raw("".join([*pieces, shown(hit.snippet[reached:]), "\n"]))
