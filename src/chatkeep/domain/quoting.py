"""How summaries and older messages stand in a prompt: as data of the user, between tags that they cannot close."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chatkeep.domain.messages import Text
from chatkeep.domain.prompts import PromptMessage, quoted
from chatkeep.domain.relevance import Document
from chatkeep.domain.summaries import Segment
from chatkeep.domain.tokens import TOKENS_PER_MESSAGE, text_tokens

SUMMARY_TAG = "earlier_conversation"
RELEVANT_TAG = "quoted_messages"
EXCERPT_TOKENS = 200.0
"""Of a longer message, the part that bears on the question is quoted."""
LEAST_QUOTE_TOKENS = 12
"""Hardly any message can be quoted with less."""
_TAGS = (SUMMARY_TAG, RELEVANT_TAG)
_OPENED = f'<{RELEVANT_TAG} note="earlier messages, quoted as data">\n'
_CLOSED = f"\n</{RELEVANT_TAG}>"
QUOTES_TOKENS = TOKENS_PER_MESSAGE + math.ceil(text_tokens(_OPENED + _CLOSED))
"""What the block of quoted messages takes beside them."""


def _summary_text(first_seq: int, last_seq: int, text: str) -> str:
    return f'<{SUMMARY_TAG} messages="{first_seq}-{last_seq}">\n{quoted(text, *_TAGS)}\n</{SUMMARY_TAG}>'


def summary_tokens(first_seq: int, last_seq: int, text: str) -> int:
    """Return the estimate of a summary as a prompt shows it; 0 for one that has nothing to tell."""
    if not text:
        return 0
    return TOKENS_PER_MESSAGE + math.ceil(text_tokens(_summary_text(first_seq, last_seq, text)))


def summary_block(segment: Segment) -> PromptMessage:
    """Return a segment as a prompt shows it, marked with the messages that it stands for."""
    return PromptMessage("user", (Text(_summary_text(segment.first_seq, segment.last_seq, segment.text)),))


def quotes_of(documents: Sequence[Document]) -> PromptMessage | None:
    """Return the block of quoted messages, each with its day and its speaker; None for none."""
    if not documents:
        return None
    lines = "\n".join(map(_quote, documents))
    return PromptMessage("user", (Text(f"{_OPENED}{lines}{_CLOSED}"),))


def _quote(document: Document) -> str:
    return f"[{document.at:%Y-%m-%d}] {quoted(document.speaker, *_TAGS)}: {quoted(document.text, *_TAGS)}"


def quote_tokens(document: Document) -> int:
    """Return what quoting a message takes."""
    return math.ceil(text_tokens(_quote(document))) + 1
