"""Summaries made of the conversation's own sentences."""

from __future__ import annotations

import asyncio
from functools import partial

from chatkeep.domain.extraction import Extract, extracted
from chatkeep.domain.summaries import Method
from chatkeep.ports.summarizer import SummaryRequest


class ExtractiveSummarizer:
    """Needs no model and never fails. The same request gives the same text."""

    method: Method = "extractive"
    name = None

    async def summarize(self, request: SummaryRequest) -> str:
        """See Summarizer."""
        chosen = await asyncio.to_thread(partial(extracted, request.lines, max_tokens=request.max_tokens))
        return "\n".join(map(_line, chosen))


def _line(extract: Extract) -> str:
    return f"{extract.line.speaker}: {extract.text}" if extract.line.speaker else extract.text
