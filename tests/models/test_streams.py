"""What every model promises of its stream, on each protocol, against a local server that speaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.models.conftest import Cut, ModelServer, Pause, Reply, Wire

from chatkeep.domain.errors import ModelRefused, ModelTimeout, ModelUnavailable
from chatkeep.domain.messages import Data, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.ports.models import (
    ChatModel,
    Finished,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
)

OpenWire = Callable[..., ChatModel]


async def collect(model: ChatModel, request: ModelRequest, into: list[ModelEvent] | None = None) -> list[ModelEvent]:
    events = [] if into is None else into
    async for event in model.stream(request):
        events.append(event)
    return events


async def read_on(model: ChatModel, request: ModelRequest, has_begun: asyncio.Event) -> None:
    async for _ in model.stream(request):
        has_begun.set()


def text_of(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_an_answer_comes_in_its_pieces_and_ends_with_finished(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), wire.text(" \n sunny."), *wire.end()])

    events = await collect(open_wire(), question)

    assert events == [
        TextDelta("It is"),
        TextDelta(" \n sunny."),
        Finished("stop", "tiny-served", Usage(11, 7)),
    ]


async def test_a_piece_is_handed_on_before_the_next_one_is_sent(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("early"), Pause(), wire.text("never"), *wire.end()])
    stream = open_wire().stream(question)

    first = await asyncio.wait_for(anext(stream), 2)

    assert first == TextDelta("early")
    await stream.aclose()


async def test_a_slow_answer_is_whole_if_no_silence_is_too_long(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    pieces = [step for word in ("a", "b", "c", "d", "e") for step in (Pause(0.15), wire.text(word))]
    server.reply = Reply([*wire.begin(), *pieces, *wire.end()])

    events = await collect(open_wire(timeout_seconds=0.5), question)

    assert text_of(events) == "abcde"
    assert isinstance(events[-1], Finished)


async def test_reasoning_is_kept_apart_from_the_answer(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply(
        [*wire.begin(), wire.thought("look "), wire.thought("outside"), wire.text("Sun."), *wire.end()]
    )

    events = await collect(open_wire(), question)

    assert events[:3] == [ReasoningDelta("look "), ReasoningDelta("outside"), TextDelta("Sun.")]


async def test_an_empty_answer_is_only_finished(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), *wire.end()])

    events = await collect(open_wire(), question)

    assert events == [Finished("stop", "tiny-served", Usage(11, 7))]


async def test_an_answer_that_a_bound_has_cut_says_length(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It"), *wire.end(is_cut_by_bound=True)])

    events = await collect(open_wire(), question)

    assert events[-1] == Finished("length", "tiny-served", Usage(11, 7))


async def test_characters_survive_any_split_of_the_bytes(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    whole = b"".join([*wire.begin(), wire.text("Grüße, 世界 "), wire.text("👩‍🚀\u2028!"), *wire.end()])
    server.reply = Reply([bytes([byte]) for byte in whole])

    events = await collect(open_wire(), question)

    assert text_of(events) == "Grüße, 世界 👩‍🚀\u2028!"


async def test_a_silence_in_mid_answer_is_a_timeout_and_the_text_so_far_stands(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), Pause()])
    events: list[ModelEvent] = []

    with pytest.raises(ModelTimeout, match=r"sent nothing for 0\.3 s"):
        await collect(open_wire(timeout_seconds=0.3), question, events)

    assert events == [TextDelta("It is")]


async def test_a_connection_that_is_cut_breaks_the_answer_off_and_the_text_so_far_stands(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), Cut()])
    events: list[ModelEvent] = []

    with pytest.raises(ModelUnavailable, match="broke off"):
        await collect(open_wire(), question, events)

    assert events == [TextDelta("It is")]


async def test_a_stream_that_ends_without_its_end_mark_broke_off(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is")])
    events: list[ModelEvent] = []

    with pytest.raises(ModelUnavailable, match="broke off: no end mark came"):
        await collect(open_wire(), question, events)

    assert events == [TextDelta("It is")]


async def test_an_error_in_the_stream_breaks_it_off_with_the_words_of_the_server(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), wire.error_event("the GPU fell over"), *wire.end()])
    events: list[ModelEvent] = []

    with pytest.raises(ModelUnavailable, match="broke off: the GPU fell over"):
        await collect(open_wire(), question, events)

    assert events == [TextDelta("It is")]


async def test_an_answer_that_is_not_of_the_protocol_broke_off(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    garbled = wire.text("X").replace(b'{"', b"{{", 1)
    server.reply = Reply([*wire.begin(), wire.text("It is"), garbled, *wire.end()])

    with pytest.raises(ModelUnavailable, match="broke off"):
        await collect(open_wire(), question)


@pytest.mark.parametrize(
    ("status", "expected", "advice"),
    [
        (400, ModelRefused, ""),
        (401, ModelRefused, "check the API key"),
        (404, ModelRefused, "check the model's name"),
        (429, ModelUnavailable, "try again later"),
        (500, ModelUnavailable, "try again later"),
        (503, ModelUnavailable, "try again later"),
    ],
)
async def test_an_http_error_is_refused_or_unavailable_by_its_status(
    status: int,
    expected: type[Exception],
    advice: str,
    wire: Wire,
    server: ModelServer,
    open_wire: OpenWire,
    question: ModelRequest,
) -> None:
    server.reply = Reply([wire.error_body("what the server says")], status=status)

    with pytest.raises(
        expected, match=f"{wire.kind}:tiny: the server answered {status}: what the server says"
    ) as caught:
        await collect(open_wire(), question)

    assert advice in str(caught.value)
    assert caught.value.__cause__ is not None
    assert len(server.received) == 1


async def test_nobody_listening_is_unavailable(wire: Wire, question: ModelRequest, unused_tcp_port: int) -> None:
    model = wire.model(f"http://127.0.0.1:{unused_tcp_port}", 5)

    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        await collect(model, question)

    await model.close()


async def test_a_connection_that_is_cut_before_any_answer_is_unavailable(
    server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([Cut()])

    with pytest.raises(ModelUnavailable):
        await collect(open_wire(), question)


async def test_closing_the_iterator_early_hangs_up_at_once(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), Pause()])
    stream = open_wire().stream(question)
    await anext(stream)
    assert not server.disconnected.is_set()

    await stream.aclose()

    await asyncio.wait_for(server.disconnected.wait(), 1)


async def test_cancelling_the_reader_hangs_up_at_once(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), Pause()])
    has_begun = asyncio.Event()
    reading = asyncio.create_task(read_on(open_wire(), question, has_begun))
    await has_begun.wait()

    reading.cancel()

    await asyncio.wait_for(server.disconnected.wait(), 1)
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_closing_the_model_ends_the_streams_under_way(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), wire.text("It is"), Pause()])
    model = open_wire(timeout_seconds=30)
    has_begun = asyncio.Event()
    reading = asyncio.create_task(read_on(model, question, has_begun))
    await has_begun.wait()

    await model.close()

    with pytest.raises(ModelUnavailable, match="the model was closed"):
        await asyncio.wait_for(reading, 2)
    await asyncio.wait_for(server.disconnected.wait(), 1)


async def test_a_closed_model_answers_no_more_and_closes_again(open_wire: OpenWire, question: ModelRequest) -> None:
    model = open_wire()
    await model.close()
    await model.close()

    with pytest.raises(ModelUnavailable, match="the model was closed"):
        await collect(model, question)


async def test_one_model_serves_many_streams_at_once(
    wire: Wire, server: ModelServer, open_wire: OpenWire, question: ModelRequest
) -> None:
    server.reply = Reply([*wire.begin(), Pause(0.2), wire.text("Sun."), *wire.end()])
    model = open_wire()

    answers = await asyncio.gather(*(collect(model, question) for _ in range(30)))

    assert {text_of(events) for events in answers} == {"Sun."}


async def test_a_prompt_with_nothing_to_send_is_refused_without_a_request(
    server: ModelServer, open_wire: OpenWire
) -> None:
    with pytest.raises(ModelRefused, match="no text"):
        await collect(open_wire(), ModelRequest([PromptMessage("user", (Data("cart", [1]),))]))

    assert server.received == []
