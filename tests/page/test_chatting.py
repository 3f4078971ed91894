"""What a person does in a chat."""

from __future__ import annotations

import asyncio
import json
import re

import httpx
import pytest
from playwright.async_api import BrowserContext, Route, expect
from tests.page.conftest import PAGES_HELD, Tab, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_FIRST_SEEN = """
async element => {
  await new Promise(requestAnimationFrame);
  const tops = [...element.querySelectorAll("article")].map(each => [each, each.getBoundingClientRect().top]);
  const [seen, top] = tops.find(([, top]) => top > 150);
  return [seen.textContent.match(/number \\d+/)[0], top];
}
"""
LONG = "tell me a long story " + "with many words " * 40


async def test_a_question_is_answered_and_still_there_after_a_reload(tab: Tab) -> None:
    await tab.open()
    await tab.ask("Where is my refund?")
    await expect(tab.page).to_have_url(re.compile(rf"/{tab.app}/session/[a-z2-7]{{26}}$"))

    await tab.page.reload()

    await expect(tab.page.get_by_role("article", name="You")).to_have_text(re.compile("Where is my refund?"))
    await tab.answered("Where is my refund?")
    await tab.row("Where is my refund?")
    await expect(tab.page).to_have_title("Where is my refund? · Chatkeep")


async def test_markdown_is_shown_as_meant_and_html_as_text(tab: Tab) -> None:
    await tab.open()
    html = "<img src=x onerror=alert(1)> [l](javascript:alert(1))"
    await tab.say(f"Say **loud**\n\n```python\nx = 1\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n{html}")
    await tab.answered("loud")

    answer = tab.page.get_by_role("article", name="Answer")
    await expect(answer.locator("strong")).to_have_text("loud")
    await expect(answer.locator("table td").first).to_have_text("1")
    await expect(answer.locator("pre .hljs-number")).to_have_text("1")
    await answer.get_by_role("button", name="Copy").first.click()
    assert await tab.page.evaluate("navigator.clipboard.readText()") == "x = 1\n"
    await expect(answer.locator("img, script")).to_have_count(0)
    await expect(answer.locator("a[href^=javascript]")).to_have_count(0)


async def test_an_answer_that_is_stopped_keeps_what_was_said(tab: Tab) -> None:
    await tab.open()
    await tab.say(LONG * 4)
    await expect(tab.page.get_by_test_id("answering")).to_contain_text("story")

    await tab.page.get_by_role("button", name="Stop").click()

    await expect(tab.page.get_by_text("You stopped this answer.")).to_be_visible()
    await expect(tab.page.get_by_role("article", name="Answer")).to_contain_text("story")
    assert [message["status"] for message in await tab.stored()] == ["complete", "cancelled"]


async def test_an_answer_goes_on_through_a_reload(tab: Tab) -> None:
    await tab.open()
    await tab.say(LONG * 4)
    await expect(tab.page.get_by_test_id("answering")).to_contain_text("story")

    await tab.page.reload()

    await expect(tab.page.get_by_test_id("answering")).to_contain_text("with many")
    await expect(tab.page.get_by_test_id("answering")).to_have_count(0, timeout=30_000)
    question, answer = await tab.stored()
    assert answer["status"] == "complete"
    assert question["parts"][0]["text"] in answer["parts"][0]["text"]  # type: ignore[index]


async def test_another_wording_begins_a_branch_and_the_first_stays(tab: Tab) -> None:
    await tab.open()
    await tab.ask("first wording")
    await tab.page.get_by_role("article", name="You").hover()
    await tab.page.get_by_role("button", name="Edit").click()
    await tab.page.get_by_label("New wording").fill("second wording")
    await tab.page.get_by_role("button", name="Ask").click()
    await tab.answered("second wording")
    question = tab.page.get_by_role("article", name="You")
    await expect(question).to_contain_text("second wording")
    await expect(question).to_have_count(1)
    await question.hover()
    await expect(question.get_by_role("group", name="Versions")).to_have_text("2/2")
    await question.get_by_role("button", name="Earlier version").click()

    await tab.answered("first wording")
    await expect(question.get_by_role("group", name="Versions")).to_have_text("1/2")


async def test_an_answer_can_be_asked_for_again(tab: Tab) -> None:
    await tab.open()
    await tab.ask("again please")

    await tab.page.get_by_role("button", name="Answer again").click()

    answer = tab.page.get_by_role("article", name="Answer")
    await expect(answer.get_by_role("group", name="Versions")).to_have_text("2/2")
    await expect(answer).to_have_count(1)


async def test_what_was_written_and_not_sent_is_kept_for_each_chat(tab: Tab) -> None:
    await tab.open()
    await tab.ask("one")
    message = tab.page.get_by_label("Message", exact=True)
    await message.fill("half a thought")
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(message).to_have_value("")
    await message.fill("another thought")

    await tab.page.reload()
    await expect(message).to_have_value("another thought")
    await tab.page.get_by_role("link", name="one").click()
    await expect(message).to_have_value("half a thought")


async def test_a_question_asked_offline_is_kept_and_asked_once(tab: Tab, context: BrowserContext) -> None:
    await tab.open()
    await tab.ask("before")
    await context.set_offline(True)
    await expect(tab.page.get_by_text("You are offline.")).to_be_visible()
    await tab.say("in the tunnel")
    await expect(tab.page.get_by_text("Reconnecting…")).to_be_visible()
    await expect(tab.page.get_by_text("in the tunnel")).to_be_visible()

    await context.set_offline(False)

    await tab.answered("in the tunnel")
    assert [message["role"] for message in await tab.stored()] == ["user", "assistant"] * 2


async def test_a_question_that_could_not_be_sent_is_kept_and_sent_again_by_hand(tab: Tab) -> None:
    await tab.open()
    await tab.ask("before")
    await tab.page.route(
        "**/chat", lambda route: route.fulfill(status=500, json={"detail": "broken", "code": "internal"})
    )
    await tab.say("please")
    await expect(tab.page.get_by_role("alert")).to_contain_text("Your words are kept")
    await tab.page.unroute("**/chat")

    await tab.page.get_by_role("button", name="Try again").click()

    await tab.answered("please")
    assert len(await tab.stored()) == 4


async def _unreachable(route: Route) -> None:
    await route.abort("connectionrefused")


@pytest.mark.parametrize("before", [[], ["before"]], ids=["new", "known"])
async def test_a_question_outlives_the_page_it_was_asked_in(
    tab: Tab, context: BrowserContext, before: list[str]
) -> None:
    await tab.open()
    for each in before:
        await tab.ask(each)
    await context.route("**/chat", _unreachable)
    await tab.say("asked in a tunnel")
    await expect(tab.page.get_by_text("Reconnecting…")).to_be_visible()
    session = tab.page.url.split("/session/")[1]
    await tab.page.close()
    await context.unroute("**/chat")

    again = Tab(await context.new_page(), tab.service, tab.app)
    await again.open()
    await again.row(*before or ["asked in a tunnel"])
    await again.open(f"/session/{session}")
    await again.answered("asked in a tunnel")

    turns = [*before, "asked in a tunnel"]
    assert [message["role"] for message in await again.stored()] == ["user", "assistant"] * len(turns)
    await again.page.reload()
    await again.answered("asked in a tunnel")
    await expect(again.page.get_by_role("article", name="You")).to_contain_text(turns)
    assert len(await again.stored()) == 2 * len(turns)


async def test_a_question_is_answered_though_the_page_is_closed_in_the_same_moment(tab: Tab) -> None:
    await tab.open()
    await tab.ask("before")
    session = tab.page.url.split("/session/")[1]
    await tab.page.get_by_label("Message", exact=True).fill("and now I am gone")

    busy = await tab.use_all_connections()

    await tab.page.get_by_label("Message", exact=True).evaluate("each => each.form.requestSubmit()")
    await tab.page.close()
    await busy.close()

    async def roles() -> list[object]:
        return [message["role"] for message in await tab.stored(session)]

    await until(roles, ["user", "assistant"] * 2)


async def test_a_question_of_a_page_that_is_closed_is_asked_by_one_that_is_open(
    tab: Tab, context: BrowserContext
) -> None:
    other = Tab(await context.new_page(), tab.service, tab.app)
    await other.open()
    await tab.open()
    await tab.page.route("**/chat", _unreachable)
    await tab.say("who sends me?")
    await expect(tab.page.get_by_text("Reconnecting…")).to_be_visible()
    await expect(other.drawer.get_by_role("link")).to_have_count(0)

    await tab.page.close()

    await other.row("who sends me?")
    await other.drawer.get_by_role("link", name="who sends me?").click()
    await other.answered("who sends me?")
    assert len(await other.stored()) == 2


async def test_a_question_is_shown_once_though_its_receipt_was_lost(tab: Tab) -> None:
    sent: list[str] = []

    async def lose(route: Route) -> None:
        if not sent:
            sent.append(route.request.headers["idempotency-key"])
            async with httpx.AsyncClient() as http:
                await http.post(
                    route.request.url,
                    json={**json.loads(route.request.post_data or ""), "stream": False},
                    headers={"idempotency-key": sent[0]},
                )
            await route.abort("connectionreset")
        elif len(sent) == 1:
            sent.append("held")
            held.set()
            await release.wait()
            await route.continue_()

    held, release = asyncio.Event(), asyncio.Event()
    await tab.open()
    await tab.ask("before")
    await tab.page.route("**/chat", lose)
    await tab.say("only once, please")
    await held.wait()
    await expect(tab.page.get_by_role("article", name="You")).to_contain_text(["before", "only once, please"])
    await expect(tab.page.get_by_text("only once, please", exact=True)).to_have_count(1)
    release.set()

    await expect(tab.page.get_by_test_id("answering")).to_have_count(0)
    await expect(tab.page.get_by_text("only once, please", exact=True)).to_have_count(1)
    assert len(await tab.stored()) == 4


async def test_a_question_that_was_refused_stands_there_until_it_is_dismissed(tab: Tab) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=500, json={"detail": "broken", "code": "internal"})

    refused = tab.page.get_by_role("alert")
    await tab.open()
    await tab.ask("before")
    await tab.page.route("**/chat", refuse)
    await tab.say("please")
    await expect(refused).to_contain_text("Your words are kept")

    await tab.page.reload()
    await expect(refused).to_contain_text("Your words are kept")
    await expect(tab.page.get_by_text("please")).to_be_visible()
    await expect(tab.page.get_by_role("article", name="You")).to_contain_text(["before"])
    await tab.page.get_by_label("Message", exact=True).fill("another")
    await expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()
    await tab.page.get_by_role("button", name="New chat", exact=True).click()
    await tab.page.reload()
    await tab.page.get_by_role("button", name="Show").click()
    await expect(refused).to_contain_text("Your words are kept")

    await tab.page.get_by_role("button", name="Dismiss").last.click()
    await expect(refused).to_have_count(0)
    await tab.page.unroute("**/chat")
    await tab.page.reload()
    await expect(tab.page.get_by_role("article", name="You")).to_contain_text(["before"])
    await expect(refused).to_have_count(0)
    assert len(await tab.stored()) == 2


async def test_an_answer_is_judged_and_the_judgement_stays(tab: Tab) -> None:
    await tab.open()
    await tab.ask("judge me")
    await tab.page.get_by_role("button", name="Good answer").click()
    await expect(tab.page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")

    await tab.page.reload()
    await expect(tab.page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    await tab.page.get_by_role("button", name="Good answer").click()
    await expect(tab.page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "false")

    await tab.page.get_by_role("button", name="Bad answer").click()
    await tab.page.get_by_label("What was wrong?").fill("it only repeats me")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_text("You said of this answer: it only repeats me")).to_be_visible()
    await tab.page.reload()
    await expect(tab.page.get_by_text("You said of this answer: it only repeats me")).to_be_visible()
    assert (await tab.stored())[1]["feedback"] == {"rating": "down", "comment": "it only repeats me"}


async def test_the_inspector_says_what_the_model_saw(tab: Tab) -> None:
    await tab.open()
    await tab.ask("the first of two")
    await tab.ask("the second of two")

    await tab.page.get_by_role("button", name="What the model saw").last.click()

    sheet = tab.page.get_by_role("dialog", name="What the model saw")
    await expect(sheet).to_contain_text("of 8,192 tokens")
    await expect(
        sheet.get_by_role("img", name=re.compile("Recent messages [0-9]+, New question [0-9]+"))
    ).to_be_visible()
    await expect(sheet).to_contain_text("1–3")
    await expect(sheet).to_contain_text("In full")
    await expect(sheet).to_contain_text("everything still fits")


async def test_an_incognito_chat_is_stored_nowhere_until_it_is_saved(tab: Tab) -> None:
    await tab.open()
    await tab.page.get_by_role("button", name="New incognito chat").click()
    await expect(tab.page.get_by_text("This page alone holds this chat.")).to_be_visible()
    await tab.ask("a secret")
    await expect(tab.drawer.get_by_role("link")).to_have_count(0)

    await tab.page.get_by_role("button", name="Save this chat").click()

    await expect(tab.page).to_have_url(re.compile("/session/"))
    await tab.answered("a secret")
    assert [message["role"] for message in await tab.stored()] == ["user", "assistant"]


async def test_a_long_conversation_is_read_from_its_end_and_nothing_jumps_above(tab: Tab) -> None:
    async with httpx.AsyncClient() as http:
        for at in range(4):
            said = [
                {
                    "role": ("user", "assistant")[n % 2],
                    "parts": [{"type": "text", "text": f"number {at * 50 + n + 1} " * 9}],
                }
                for n in range(50)
            ]
            await http.put(f"{tab.api}/sessions/long")
            answer = await http.post(f"{tab.api}/sessions/long/messages", json={"messages": said})
            assert answer.status_code == 201
    await tab.open("/session/long")
    await expect(tab.page.get_by_text("number 200 number").first).to_be_visible()
    scroller = tab.page.get_by_test_id("transcript")
    settled = asyncio.Event()

    async def once_settled(route: Route) -> None:
        await settled.wait()
        await route.continue_()

    await tab.page.route(re.compile("before_seq"), once_settled)
    await scroller.evaluate("element => { element.scrollTop = 700; }")
    await tab.page.wait_for_timeout(300)
    number, before = await scroller.evaluate(_FIRST_SEEN)
    height = await scroller.evaluate("element => element.scrollHeight")
    settled.set()
    await tab.page.wait_for_function(
        "height => document.querySelector('[data-testid=transcript]').scrollHeight > height + 1000", arg=height
    )
    await tab.page.wait_for_timeout(200)
    box = await tab.page.get_by_role("article").filter(has_text=f"{number} number").bounding_box()
    assert box is not None
    assert abs(box["y"] - before) < 2

    for _ in range(60):
        await scroller.evaluate("element => element.scrollBy(0, -600)")
        await tab.page.wait_for_timeout(40)
        if await tab.page.get_by_text("number 1 number").count():
            break

    await expect(tab.page.get_by_text("number 1 number").first).to_be_visible()
    assert await scroller.locator("article").count() < 60
    await tab.page.get_by_role("button", name="Latest").click()
    await expect(tab.page.get_by_text("number 200 number").first).to_be_visible()

    await expect(tab.page.get_by_role("button", name="Latest")).to_have_count(0)
    fetched: list[str] = []
    tab.page.on("request", lambda request: fetched.append(request.url) if "/messages?" in request.url else None)
    async with httpx.AsyncClient() as http:
        await http.post(f"{tab.api}/sessions/long/messages", json={"question": "from elsewhere", "answer": "yes"})
    await expect(tab.page.get_by_text("from elsewhere").first).to_be_visible()
    assert len(fetched) == PAGES_HELD, "what was scrolled past is fetched anew at every change"
