"""What reading any server's stream has in common: text that can be stored, and errors that say what to do."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping

from chatkeep.domain.errors import ModelError, ModelRefused, ModelTimeout, ModelUnavailable
from chatkeep.domain.messages import Usage
from chatkeep.models.prompts import clean
from chatkeep.ports.models import Finished, ModelEvent, ReasoningDelta, TextDelta

MALFORMED = (ValueError, TypeError, AttributeError)
"""What reading an answer raises where a server breaks its protocol: the clients parse, but do not check."""

_MAX_SAID = 500
_ADVICE = {
    401: "check the API key",
    403: "check the API key and what it may use",
    404: "check the model's name and the base URL",
}


class Answer:
    """One answer as it arrives: its events, and what is known of it when it ends.

    `finish_reason` stays None until the server has sent its end mark; `has_begun` tells a request that nobody answered
    from a stream that broke off.
    """

    def __init__(self, name: str, model: str) -> None:
        self._name = name
        self.model = model
        self.has_begun = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self._text = _Pieces()
        self._reasoning = _Pieces()

    def add(self, *, reasoning: str | None = None, text: str | None = None) -> Iterator[ModelEvent]:
        """Give the events for the next pieces, as far as they bring anything."""
        if thought := self._reasoning.add(reasoning or ""):
            yield ReasoningDelta(thought)
        if said := self._text.add(text or ""):
            yield TextDelta(said)

    def end(self) -> Iterator[ModelEvent]:
        """Give what still waits, and `Finished`; raise ModelUnavailable if the end mark is missing."""
        if self.finish_reason is None:
            raise broke_off(self._name, "no end mark came")
        if thought := self._reasoning.end():
            yield ReasoningDelta(thought)
        if said := self._text.end():
            yield TextDelta(said)
        yield Finished(self.finish_reason, clean(self.model), self.usage)


class _Pieces:
    """Puts U+FFFD for each lone surrogate, but joins a pair that the server has split between two pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, piece: str) -> str:
        return self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"))

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)


def status_error(name: str, status: int, said: str) -> ModelError:
    """Return the error for an answer with an HTTP status that is not a success."""
    message = f"{name}: the server answered {status}: {_line(said)}"
    if status == 429 or not 400 <= status < 500:  # noqa: PLR2004 - HTTP's own numbers
        return ModelUnavailable(f"{message}; try again later")
    return ModelRefused(f"{message}; {_ADVICE[status]}" if status in _ADVICE else message)


def unreachable(name: str, error: BaseException) -> ModelUnavailable:
    """Return the error for a request that got no answer at all."""
    return ModelUnavailable(
        f"{name}: the server cannot be reached ({_line(_reason(error))}); is it running, and is the base URL right?"
    )


def broke_off(name: str, reason: str | BaseException) -> ModelUnavailable:
    """Return the error for a stream that ended before its end mark, or said that it failed."""
    said = reason if isinstance(reason, str) else _reason(reason)
    return ModelUnavailable(f"{name}: the answer broke off: {_line(said)}")


def timed_out(name: str, timeout_seconds: float) -> ModelTimeout:
    """Return the error for a server that sent nothing for `timeout_seconds`."""
    return ModelTimeout(f"{name}: the server sent nothing for {timeout_seconds:g} s")


def closed(name: str) -> ModelUnavailable:
    """Return the error for a stream of a model that has been closed."""
    return ModelUnavailable(f"{name}: the model was closed")


def nothing_to_send(name: str) -> ModelRefused:
    """Return the error for a prompt of which no part can be sent."""
    return ModelRefused(f"{name}: the prompt holds no text, file or tool result to send")


def said_by(body: object, otherwise: str) -> str:
    """Return the message of an error body in any of the usual shapes, or `otherwise`."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    message = inner.get("message") if isinstance(inner, Mapping) else inner
    return message if isinstance(message, str) and message else otherwise


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error) or type(error.__cause__ or error).__name__


def _line(said: str) -> str:
    return clean(" ".join(said.split()))[:_MAX_SAID]
