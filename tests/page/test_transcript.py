"""What stands in a conversation beside words, and who answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, expect
from tests.e2e.conftest import ServiceMaker
from tests.page.conftest import Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _show(tab: Tab, *messages: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as http:
        await http.put(f"{tab.api}/sessions/shown")
        answer = await http.post(f"{tab.api}/sessions/shown/messages", json={"messages": messages})
        assert answer.status_code == 201, answer.text
    await tab.open("/session/shown")


def _said(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "text": text}], **more}


async def test_another_wording_is_kept_while_it_is_written(tab: Tab) -> None:
    await _show(tab, *(_said(("user", "assistant")[n % 2], f"number {n + 1} " * 60) for n in range(40)))
    question = tab.page.get_by_role("article", name="You").last
    await question.hover()
    await question.get_by_role("button", name="Edit").click()
    wording = tab.page.get_by_label("New wording")
    await wording.fill("half a thought")
    scroller = tab.page.get_by_test_id("transcript")

    await scroller.evaluate("element => { element.scrollTop = 0; }")
    await expect(wording).to_have_count(0)
    await scroller.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    await expect(wording).to_have_value("half a thought")
    await tab.page.reload()
    await expect(wording).to_have_value("half a thought")

    await tab.page.get_by_role("button", name="Cancel").click()
    await tab.page.reload()
    await expect(tab.page.get_by_role("article", name="You").last).to_contain_text("number 39")
    await expect(wording).to_have_count(0)


async def test_sources_agents_and_suggestions_are_shown_and_a_suggestion_is_a_question(tab: Tab) -> None:
    sources = [{"title": "Terms", "url": "https://example.org/terms"}, {"title": "Bad", "url": "javascript:alert(1)"}]
    await _show(
        tab,
        _said("user", "May I return it?"),
        _said(
            "assistant",
            "Within 14 days.",
            agent_name="billing",
            model="some-model",
            duration_ms=1_234,
            usage={"input_tokens": 10, "output_tokens": 7},
            sources=sources,
            suggestions=["How do I send it back?"],
        ),
    )

    answer = tab.page.get_by_role("article", name="billing")
    await expect(answer).to_contain_text("some-model · 1.2 s · 7 tokens")
    links = answer.get_by_role("list", name="Sources").get_by_role("link")
    await expect(links).to_have_text(["Terms"])
    await expect(links).to_have_attribute("rel", "noreferrer noopener")
    await tab.page.get_by_role("button", name="How do I send it back?").click()
    await tab.answered("How do I send it back?")


async def test_tools_and_reasoning_are_folded_and_can_be_read(tab: Tab) -> None:
    call = {"type": "tool_call", "id": "1", "name": "look_up", "arguments": {"order": 42}}
    result = {"type": "tool_result", "id": "1", "content": "it is on its way"}
    await _show(
        tab,
        _said("user", "Where is order 42?"),
        {"role": "assistant", "parts": [{"type": "reasoning", "text": "I should look"}, call]},
        {"role": "tool", "parts": [result]},
        _said("assistant", "On its way."),
    )

    await expect(tab.page.get_by_text("it is on its way")).to_be_hidden()
    await tab.page.get_by_text("Tool result").click()
    await expect(tab.page.get_by_text("it is on its way")).to_be_visible()
    await tab.page.get_by_text("Tool: look_up").click()
    await expect(tab.page.get_by_text('"order": 42')).to_be_visible()
    await expect(tab.page.get_by_text("Reasoning")).to_be_visible()


async def test_formulas_are_formulas_and_money_is_money(tab: Tab) -> None:
    text = "So \\(x^2\\) and $y_1$, for $5 or $10:\n\n\\[\n\\frac{a}{b}\n\\]\n\nand `$z$`, and \\(\\wrong{\\)."
    await _show(tab, _said("user", "math?"), _said("assistant", text))

    answer = tab.page.get_by_role("article", name="Answer")
    await expect(answer.locator("math")).to_have_count(3)
    await expect(answer.locator("math[display=block] mfrac")).to_be_visible()
    await expect(answer.locator("math annotation").first).to_have_text("x^2")
    await expect(answer).to_contain_text("for $5 or $10:")
    await expect(answer.locator("code")).to_have_text("$z$")
    await expect(answer).to_contain_text("\\wrong{")


async def test_text_from_right_to_left_stands_so(tab: Tab) -> None:
    await _show(tab, _said("user", "שלום עולם"), _said("assistant", "مرحبا بالعالم"), _said("assistant", "hello"))
    await expect(tab.page.get_by_role("article", name="Answer").last).to_contain_text("hello")

    directions = await tab.page.get_by_test_id("transcript").evaluate(
        "element => [...element.querySelectorAll('article [dir=auto]')].map(each => getComputedStyle(each).direction)"
    )

    assert directions == ["rtl", "rtl", "ltr"]


async def test_an_erased_message_says_so(tab: Tab) -> None:
    await _show(tab, _said("user", "my secret"), _said("assistant", "noted"))
    await expect(tab.page.get_by_text("my secret").first).to_be_visible()

    async with httpx.AsyncClient() as http:
        await http.delete(f"{tab.api}/sessions/shown/messages/1")

    await expect(tab.page.get_by_text("This message was erased.")).to_be_visible()
    await expect(tab.page.get_by_role("article", name="You")).to_have_count(0)


async def test_a_chat_that_is_not_there_says_so(tab: Tab) -> None:
    await tab.open("/session/nothing")

    await expect(tab.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    await tab.page.get_by_role("main").get_by_role("button", name="New chat").click()
    await tab.ask("a new one")


async def test_an_agent_is_chosen_and_named(context: BrowserContext, serve: ServiceMaker) -> None:
    agents = [
        {"name": "billing", "description": "Invoices and refunds", "instructions": "Be brief."},
        {"name": "smalltalk", "description": "Weather and wishes", "instructions": "Be kind."},
    ]
    service = serve(CHATKEEP_AGENTS=json.dumps(agents))
    tab = Tab(await context.new_page(), service, "agents")
    await tab.open()
    await tab.page.get_by_label("Agent").select_option("smalltalk")
    await tab.say("How do you do?")

    await expect(tab.page.get_by_role("article", name="smalltalk")).to_contain_text("How do you do?")
