"""The built-in offline model."""

from __future__ import annotations

import asyncio
import math

import pytest

from chatkeep.domain.errors import Invalid, ModelUnavailable
from chatkeep.domain.messages import File, Text
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest, TextDelta

INTRODUCTION = "(echo, the built-in offline model) You said: "


def asks(text: str, max_output_tokens: int | None = None) -> ModelRequest:
    return ModelRequest([PromptMessage("user", (Text(text),))], max_output_tokens)


async def answer(request: ModelRequest, words_per_second: float = 0) -> list[ModelEvent]:
    return [event async for event in EchoModel(words_per_second).stream(request)]


def text_of(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("said", ["Hello there", "  two\n\n\tlines \u3000wide  \n", "x", " ", "Grüße 👩‍🚀"])
async def test_it_says_what_it_is_and_repeats_the_question_exactly(said: str) -> None:
    events = await answer(asks(said))

    assert text_of(events) == INTRODUCTION + said
    assert events[-1] == Finished("stop", "echo", None)
    assert all(event.text for event in events if isinstance(event, TextDelta))


async def test_it_streams_word_by_word() -> None:
    events = await answer(asks("one  two\nthree"))

    assert [event.text for event in events[-4:-1] if isinstance(event, TextDelta)] == [" one", "  two", "\nthree"]


async def test_the_newest_user_message_is_repeated() -> None:
    prompt = [PromptMessage("user", (Text("old"),)), PromptMessage("user", (Text("new"),))]

    events = await answer(ModelRequest([*prompt, PromptMessage("assistant", (Text("draft"),))]))

    assert text_of(events) == INTRODUCTION + "new"


async def test_a_question_without_words_is_answered_by_the_name_alone() -> None:
    events = await answer(ModelRequest([PromptMessage("user", (File("image/png", name="a.png"),))]))

    assert text_of(events) == "(echo, the built-in offline model)"


async def test_a_lone_surrogate_is_replaced() -> None:
    assert text_of(await answer(asks("half \ud83c"))) == INTRODUCTION + "half \ufffd"


async def test_the_pace_is_kept_without_drift() -> None:
    clock = asyncio.get_running_loop().time
    start = clock()
    words = 0

    async for event in EchoModel(words_per_second=100).stream(asks("w " * 43)):
        words += isinstance(event, TextDelta)
        await asyncio.sleep(0.005)

    # 51 words at 100 a second take 0.5 s; sleeping a full 10 ms after each reader's 5 ms would take 0.75 s and more.
    assert words == 51
    assert 0.5 <= clock() - start < 0.7


@pytest.mark.parametrize("pace", [0, math.inf])
async def test_no_pace_is_as_fast_as_it_can_be_and_lets_others_run(pace: float) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with asyncio.timeout(2):
        await answer(asks("word " * 1000), pace)
    ticking.cancel()

    assert ticks >= 1000


@pytest.mark.parametrize("pace", [-1, math.nan])
def test_a_pace_that_is_none_is_refused(pace: float) -> None:
    with pytest.raises(Invalid, match="choose 0"):
        EchoModel(pace)


async def test_the_bound_cuts_the_answer() -> None:
    events = await answer(asks("never reached", max_output_tokens=3))

    assert text_of(events) == "(echo, the built-in"
    assert events[-1] == Finished("length", "echo", None)


async def test_closing_ends_the_streams_under_way() -> None:
    model = EchoModel(words_per_second=50)
    stream = model.stream(asks("a b c"))
    await anext(stream)

    await model.close()

    with pytest.raises(ModelUnavailable, match="closed"):
        await anext(stream)
