"""What a person does with many chats."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, Route, expect
from tests.e2e.conftest import ServiceMaker
from tests.page.conftest import PAGES_HELD, Tab, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _chats(tab: Tab, *titles: str) -> None:
    async with httpx.AsyncClient() as http:
        for title in titles:
            answer = await http.post(f"{tab.api}/sessions", json={"title": title})
            assert answer.status_code == 201


async def _titles(tab: Tab, **where: str) -> list[str]:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{tab.api}/sessions", params=where)
    return [session["title"] for session in answer.json()["items"]]


async def test_a_chat_is_renamed_by_a_double_click_and_by_a_key(tab: Tab) -> None:
    await _chats(tab, "old name")
    await tab.open()
    await tab.drawer.get_by_role("link", name="old name").dblclick()
    await tab.page.get_by_label("New title").fill("new name")
    await tab.page.keyboard.press("Enter")
    await tab.row("new name")

    await tab.drawer.get_by_role("link", name="new name").focus()
    await tab.page.keyboard.press("F2")
    await tab.page.get_by_label("New title").fill("third name")
    await tab.page.keyboard.press("Enter")
    await tab.row("third name")
    await until(lambda: _titles(tab), ["third name"])
    await tab.page.reload()
    await tab.row("third name")


async def test_a_change_is_made_though_the_page_is_closed_in_the_same_moment(tab: Tab) -> None:
    await _chats(tab, "old name")
    await tab.open()
    await tab.drawer.get_by_role("link", name="old name").focus()
    await tab.page.keyboard.press("F2")
    await tab.page.get_by_label("New title").fill("new name")
    busy = await tab.use_all_connections()

    await tab.page.keyboard.press("Enter")
    await tab.row("new name")
    await tab.page.close()
    await busy.close()

    await until(lambda: _titles(tab), ["new name"])


async def test_two_changes_of_a_chat_are_made_in_their_order(tab: Tab) -> None:
    made: list[str] = []

    async def late(route: Route) -> None:
        if route.request.method == "PATCH":
            made.append(route.request.post_data or "")
            await asyncio.sleep(0.5 if len(made) == 1 else 0)
        await route.continue_()

    await _chats(tab, "old name")
    await tab.open()
    await tab.page.route("**/sessions/*", late)
    for before, after in (("old name", "new name"), ("new name", "third name")):
        await tab.drawer.get_by_role("link", name=before).focus()
        await tab.page.keyboard.press("F2")
        await tab.page.get_by_label("New title").fill(after)
        await tab.page.keyboard.press("Enter")
        await tab.row(after)

    async with tab.page.expect_response(lambda response: "third name" in (response.request.post_data or "")):
        assert len(made) == 1
    assert await _titles(tab) == ["third name"]
    await tab.row("third name")


async def test_a_chat_is_pinned_from_its_menu_and_unpinned_by_a_right_click(tab: Tab) -> None:
    await _chats(tab, "first", "second")
    await tab.open()
    await tab.menu("first", "Pin")
    await expect(tab.drawer.get_by_role("heading").first).to_have_text("Pinned")
    await expect(tab.drawer.get_by_role("link").first).to_have_text("first")

    await tab.drawer.get_by_role("link", name="first").click(button="right")
    await tab.page.get_by_role("menuitem", name="Unpin").click()

    await expect(tab.drawer.get_by_role("heading", name="Pinned")).to_have_count(0)


async def test_what_is_archived_or_deleted_can_be_taken_back(tab: Tab) -> None:
    await _chats(tab, "keep me")
    await tab.open()
    await tab.menu("keep me", "Archive")
    await expect(tab.drawer.get_by_role("link")).to_have_count(0)
    await tab.page.get_by_role("button", name="Undo").click()
    await tab.row("keep me")

    await tab.menu("keep me", "Delete")
    await expect(tab.drawer.get_by_role("link")).to_have_count(0)
    await tab.drawer.get_by_role("button", name="Trash").click()
    await tab.row("keep me")
    async with tab.page.expect_response(lambda response: response.url.endswith("/restore")):
        await tab.menu("keep me", "Restore")  # the row is gone before the service has answered
    await expect(tab.page.get_by_text("The trash is empty.")).to_be_visible()
    assert await _titles(tab) == ["keep me"]


async def test_several_chats_are_archived_and_deleted_at_once(tab: Tab) -> None:
    await _chats(tab, "a", "b", "c")
    await tab.open()
    await tab.menu("a", "Choose")
    await tab.page.get_by_label("Choose b").check()
    await tab.page.get_by_role("toolbar", name="Chosen chats").get_by_role("button", name="Archive").click()
    await expect(tab.drawer.get_by_role("link")).to_have_text(["c"])

    await tab.drawer.get_by_role("button", name="Archived chats").click()
    await expect(tab.drawer.get_by_role("link")).to_have_count(2)

    async def archived() -> list[str]:
        return sorted(await _titles(tab, state="archived"))

    await until(archived, ["a", "b"])


async def test_a_change_that_is_refused_is_taken_back_and_told(tab: Tab) -> None:
    await _chats(tab, "stays")
    await tab.open()
    await tab.row("stays")
    refusal = {"status": 503, "code": "unavailable", "title": "", "detail": "the store is away"}
    await tab.page.route("**/sessions/*", lambda route: route.fulfill(status=503, json=refusal))

    await tab.menu("stays", "Delete")

    await expect(tab.page.get_by_text("the store is away")).to_be_visible()
    await tab.row("stays")


async def test_a_word_is_found_and_the_chat_opens_at_it(tab: Tab) -> None:
    said = [
        {
            "role": ("user", "assistant")[n % 2],
            "parts": [{"type": "text", "text": f"line {n + 1} " + ("xylophone" if n == 40 else "")}],
        }
        for n in range(50)
    ]
    async with httpx.AsyncClient() as http:
        for at in range(4):
            await http.put(f"{tab.api}/sessions/s")
            messages = (
                said if at == 1 else [{**one, "parts": [{"type": "text", "text": "filler " * 20}]} for one in said]
            )
            await http.post(f"{tab.api}/sessions/s/messages", json={"messages": messages})
    await tab.open()
    await tab.row("filler")
    await tab.page.keyboard.press("Control+k")
    await expect(tab.page.get_by_role("combobox")).to_be_focused()
    await tab.page.keyboard.type("xylophone")
    await expect(tab.page.get_by_role("option")).to_have_count(1)
    await expect(tab.page.get_by_role("option").locator("mark")).to_have_text("xylophone")

    await tab.page.keyboard.press("Enter")

    await expect(tab.page).to_have_url(re.compile(r"/session/s\?at=91$"))
    await expect(tab.page.get_by_text("line 41 xylophone")).to_be_in_viewport()


async def test_chats_of_two_tabs_are_in_step_and_news_are_marked(tab: Tab, context: BrowserContext) -> None:
    await tab.open()
    await tab.ask("hello")
    other = Tab(await context.new_page(), tab.service, tab.app)
    await other.open()
    await other.row("hello")

    await other.page.wait_for_timeout(1_100)  # the feed tells of each second once
    session = tab.page.url.rpartition("/")[2]
    async with httpx.AsyncClient() as http:
        await http.post(f"{tab.api}/sessions/{session}/chat", json={"message": "more of it", "stream": False})
    await tab.answered("more of it")
    await expect(other.drawer.get_by_role("link", name="hello")).to_be_visible()
    await other.drawer.get_by_role("link", name="hello").click()
    await other.answered("more of it")
    await tab.menu("hello", "Pin")

    await expect(other.drawer.get_by_role("heading").first).to_have_text("Pinned")


async def test_what_came_meanwhile_is_marked_until_it_is_read(tab: Tab) -> None:
    await _chats(tab, "quiet", "busy")
    await tab.open()
    await tab.row("busy")
    await expect(tab.drawer.get_by_text("unread")).to_have_count(0)
    async with httpx.AsyncClient() as http:
        found = (await http.get(f"{tab.api}/sessions")).json()["items"]
        busy = next(session["id"] for session in found if session["title"] == "busy")
        await http.post(f"{tab.api}/sessions/{busy}/messages", json={"question": "news?", "answer": "yes"})
    await expect(tab.drawer.get_by_text("unread")).to_be_attached()

    await tab.drawer.get_by_role("link", name="busy").click()

    await expect(tab.page.get_by_text("news?")).to_be_visible()
    await expect(tab.drawer.get_by_text("unread")).to_have_count(0)


async def test_very_many_chats_are_scrolled_through_and_only_some_are_in_the_page(tab: Tab) -> None:
    await _chats(tab, *(f"chat {n:04}" for n in range(250)))
    await tab.open()
    await tab.row("chat 0249")
    drawer = tab.page.get_by_test_id("drawer")

    for _ in range(60):
        await drawer.evaluate("element => element.scrollBy(0, 800)")
        await tab.page.wait_for_timeout(50)
        if await tab.drawer.get_by_role("link", name="chat 0000").count():
            break

    await expect(tab.drawer.get_by_role("link", name="chat 0000")).to_be_visible()
    assert await tab.drawer.get_by_role("link").count() < 80

    await drawer.evaluate("element => element.scrollTo(0, 0)")
    await tab.row("chat 0249")
    fetched: list[str] = []
    tab.page.on("request", lambda request: fetched.append(request.url) if "/sessions?" in request.url else None)
    await _chats(tab, "one more")
    await tab.row("one more")
    assert len(fetched) == PAGES_HELD, "what was scrolled past is fetched anew at every change"


async def test_a_chat_is_exported_and_imported_again(tab: Tab, tmp_path: Path) -> None:
    await tab.open()
    await tab.ask("carry me over")
    async with tab.page.expect_download() as download:
        await tab.menu("carry me over", "Export as JSON lines")
    file = tmp_path / "chat.jsonl"
    await (await download.value).save_as(file)
    await tab.menu("carry me over", "Delete")
    await tab.drawer.get_by_role("button", name="Trash").click()
    await tab.menu("carry me over", "Delete for good")

    await tab.page.get_by_role("button", name="Settings").click()
    await tab.page.get_by_label("File to import").set_input_files(file)

    await expect(tab.page.get_by_text("1 new, 0 continued, 0 unchanged, 0 not taken; 2 messages.")).to_be_visible()
    assert await _titles(tab) == ["carry me over"]


async def test_all_chats_are_exported_at_once_and_imported_again(tab: Tab, tmp_path: Path) -> None:
    await tab.open()
    await tab.ask("first of two")
    await tab.page.get_by_role("button", name="New chat", exact=True).click()
    await tab.ask("second of two")
    await tab.menu("first of two", "Archive")
    await tab.page.get_by_role("button", name="Settings").click()

    async with tab.page.expect_download() as download:
        await tab.page.get_by_role("button", name="Export all chats").click()
    file = tmp_path / (await download.value).suggested_filename
    await (await download.value).save_as(file)

    await expect(tab.page.get_by_text(re.compile(r"^Saved: 2 chats, 4 messages, \d+ kB\.$"))).to_be_visible()
    other = Tab(tab.page, tab.service, f"{tab.app}-other")
    await other.open()
    await tab.page.get_by_role("button", name="Settings").click()
    await tab.page.get_by_label("File to import").set_input_files(file)
    await expect(tab.page.get_by_text("2 new, 0 continued, 0 unchanged, 0 not taken; 4 messages.")).to_be_visible()
    assert await _titles(other) == ["second of two"]


async def test_an_import_tells_how_far_it_is(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    with file.open("w") as lines:
        for n in range(2_000):
            lines.write(f'{{"kind":"session","version":1,"id":"s{n}"}}\n')
            parts = json.dumps([{"type": "text", "text": "words " * 500}])
            lines.write(f'{{"kind":"message","session_id":"s{n}","seq":1,"role":"user","parts":{parts}}}\n')
    await tab.open()
    await tab.page.get_by_role("button", name="Settings").click()
    await tab.page.evaluate("""() => {
        window.parts = new Set();
        new MutationObserver(() => {
            const bar = document.querySelector('progress');
            if (bar) window.parts.add(bar.value);
        }).observe(document.body, { subtree: true, childList: true, attributes: true });
    }""")

    await tab.page.get_by_label("File to import").set_input_files(file)

    await expect(
        tab.page.get_by_text("2,000 new, 0 continued, 0 unchanged, 0 not taken; 2,000 messages.")
    ).to_be_visible(timeout=60_000)
    parts = await tab.page.evaluate("[...window.parts]")
    assert len([part for part in parts if 0 < part < 1]) >= 2, parts


async def test_everything_is_deleted_with_a_receipt(tab: Tab) -> None:
    await tab.open()
    await tab.ask("forget me")
    await tab.page.get_by_role("button", name="Settings").click()
    button = tab.page.get_by_role("button", name="Delete everything")
    await expect(button).to_be_disabled()
    await tab.page.get_by_label("Type delete to go on").fill("delete")

    await button.click()

    await expect(tab.page.get_by_text(re.compile(r"Removed: .*2 messages"))).to_be_visible()
    assert await _titles(tab) == []


async def test_what_was_not_sent_is_deleted_with_everything(tab: Tab, context: BrowserContext) -> None:
    await context.route("**/chat", lambda route: route.abort())
    await tab.open()
    await tab.say("never sent")
    await expect(tab.page.get_by_text("Reconnecting…")).to_be_visible()
    other = Tab(await context.new_page(), tab.service, f"{tab.app}-2")
    await other.open()
    await other.say("of another app")
    await expect(other.page.get_by_text("Reconnecting…")).to_be_visible()

    await tab.page.get_by_role("button", name="Settings").click()
    await tab.page.get_by_label("Type delete to go on").fill("delete")
    await tab.page.get_by_role("button", name="Delete everything").click()
    await expect(tab.page.get_by_text("nothing was left")).to_be_visible()
    await context.unroute("**/chat")
    await tab.page.reload()
    await other.page.reload()

    await other.answered("of another app")
    assert await _titles(tab) == []


async def test_the_settings_say_what_is_kept_in_words(context: BrowserContext, serve: ServiceMaker) -> None:
    service = serve(CHATKEEP_RETENTION="agent")
    tab = Tab(await context.new_page(), service, "kept")
    await tab.open()
    await tab.page.get_by_role("button", name="Settings").click()

    await expect(
        tab.page.get_by_text("A chat that is not pinned is gone 7 days after its last message.")
    ).to_be_visible()
    await expect(tab.page.get_by_text("A chat keeps its newest 200 messages.")).to_be_visible()
