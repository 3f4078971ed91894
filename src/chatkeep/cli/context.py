"""The command `chatkeep context`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Annotated

import typer

from chatkeep.cli.documents import context_json
from chatkeep.cli.output import bold
from chatkeep.cli.place import Place, command
from chatkeep.domain.budgets import LEAST_BUDGET_TOKENS
from chatkeep.domain.folding import part_text
from chatkeep.domain.reports import Decided, Report
from chatkeep.services.context import Question

group = typer.Typer()


@command(group, "context")
async def context(
    at: Place,
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What might be asked next.")] = None,
    *,
    seq: Annotated[int | None, typer.Option(metavar="SEQ", min=1, help="What the model saw for this answer.")] = None,
    budget: Annotated[
        int | None, typer.Option(metavar="TOKENS", min=LEAST_BUDGET_TOKENS, help="Another budget than the setting's.")
    ] = None,
    messages: Annotated[bool, typer.Option("--messages", help="The messages themselves, too.")] = False,
) -> None:
    """Show what the model would see of a session, or saw, and why."""
    async with at.keeping(embedding=seq is None) as keeping:
        service = keeping.context
        if seq is not None:
            explained = await service.past(at.scope, session_id, seq)
        else:
            policy = service.policy if budget is None else replace(service.policy, tmax_tokens=budget)
            asked = Question(text=question)
            explained = await service.prepare(at.scope, session_id, asked, policy=policy, keep=False)
            if explained.prompt.report.relevance != policy.relevance:  # there is time to embed what was never embedded
                await service.settled()
                explained = await service.prepare(at.scope, session_id, asked, policy=policy, keep=False)
    if at.out.as_json:
        at.out.document(context_json(explained))
        return
    report = explained.prompt.report
    at.out.table(("messages", "decision", "tokens", "why"), _rows(explained.trace()))
    at.out.line()
    at.out.record(_totals(report))
    for message in explained.prompt.messages if messages else ():
        at.out.line(f"\n{bold(message.role)}")
        at.out.line("\n".join(filter(None, map(part_text, message.parts))))


def _rows(trace: Sequence[Decided]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for (decision, reason), group_ in groupby(trace, key=lambda one: (one.decision, one.reason)):
        run = list(group_)
        seqs = f"{run[0].seq}–{run[-1].seq}" if len(run) > 1 else str(run[0].seq)
        tokens = sum(one.tokens for one in run)
        rows.append((seqs, decision, str(tokens) if tokens else "", reason))
    return rows


def _totals(report: Report) -> dict[str, object]:
    parts = ", ".join(f"{name} {count}" for name, count in report.tokens.items() if count and name != "total")
    return {
        "tokens": f"{report.tokens['total']} of {report.budget_tokens} ({parts or 'nothing'})",
        "summaries": f"stand for {report.source_tokens} tokens" if report.source_tokens else None,
        "strategy": f"{report.strategy}, relevance {report.relevance}",
        "counted by": report.estimate,
    }
