"""The page and its service: kills, proxies, phones, and people who do not see or point."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.e2e.conftest import Service, ServiceMaker
from tests.page.conftest import AXE, Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "tell me a long story " + "with many words " * 60
MORE_THAN_IS_LOST = 5
"""Three words each, of twenty a second: a kill may take the last quarter of a second and one batch."""


async def test_a_service_killed_in_mid_answer_is_found_again_without_a_reload(
    context: BrowserContext, serve: ServiceMaker
) -> None:
    service = serve(CHATKEEP_ECHO_WORDS_PER_SECOND="20")
    tab = Tab(await context.new_page(), service, "killed")
    await tab.open()
    await tab.page.evaluate("window.notReloaded = true")
    await tab.say(LONG)
    await expect(tab.page.get_by_test_id("answering")).to_contain_text("with many words " * MORE_THAN_IS_LOST)

    service.kill()
    await expect(tab.page.get_by_text("Reconnecting…")).to_be_visible()
    await asyncio.to_thread(service.start)

    await expect(tab.page.get_by_text("The service ended during this answer")).to_be_visible(timeout=30_000)
    await expect(tab.page.get_by_role("article", name="Answer")).to_contain_text("story")
    assert await tab.page.evaluate("window.notReloaded")
    await tab.page.get_by_role("button", name="Answer again").first.click()
    await expect(tab.page.get_by_test_id("answering")).to_contain_text("with many")


async def test_the_page_works_below_a_path_of_a_proxy(context: BrowserContext, serve: ServiceMaker) -> None:
    service = serve(CHATKEEP_ROOT_PATH="/chat")
    page = await context.new_page()

    async def proxied(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        path = request.url.removeprefix(service.url)
        if not path.startswith("/chat/"):
            await route.fulfill(status=404, body="not mine")  # type: ignore[attr-defined]
            return
        answer = await route.fetch(url=service.url + path.removeprefix("/chat"))  # type: ignore[attr-defined]
        await route.fulfill(response=answer)  # type: ignore[attr-defined]

    await page.route(re.compile(r".*"), proxied)
    await page.goto(f"{service.url}/chat/default")
    await page.get_by_label("Message", exact=True).fill("through a proxy")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("article", name="Answer")).to_contain_text("You said: through a proxy")
    await expect(page).to_have_url(re.compile(r"/chat/default/session/"))
    await page.reload()
    await expect(page.get_by_role("article", name="Answer")).to_contain_text("You said: through a proxy")
    await page.unroute_all(behavior="ignoreErrors")


async def test_the_page_has_a_strict_policy_and_assets_for_good(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        page = await http.get("/default/session/whatever", headers={"Accept": "application/json"})
        script = re.search(r'src="\./(assets/[^"]+\.js)"', page.text)
        assert script is not None
        asset = await http.get(f"/{script[1]}", headers={"Accept-Encoding": "gzip"})
        missing = await http.get("/assets/..%2findex.html")

    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-encoding"] == "gzip"
    assert missing.status_code == 404


async def test_on_a_phone_the_chats_are_a_sheet(browser: Browser, service: Service) -> None:
    context = await browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    tab = Tab(await context.new_page(), service, "phone")
    await tab.open()
    await tab.ask("on the train")
    await expect(tab.page.get_by_role("navigation")).to_have_count(0)

    await tab.page.get_by_role("button", name="Show chats").click()
    await tab.drawer.get_by_role("button", name="Hide chats").click()
    await expect(tab.page.get_by_role("navigation")).to_have_count(0)

    await tab.page.get_by_role("button", name="Show chats").click()
    await tab.drawer.get_by_role("button", name="New chat", exact=True).click()

    await tab.page.get_by_role("button", name="Show chats").click()
    await tab.drawer.get_by_role("link", name="on the train").click()
    await tab.answered("on the train")
    await expect(tab.page.get_by_role("navigation")).to_have_count(0)
    assert await tab.page.evaluate("document.documentElement.scrollWidth") == 360
    await context.close()


async def test_keys_alone_are_enough(tab: Tab) -> None:
    await tab.open()
    await tab.ask("by keys")
    await tab.page.keyboard.press("Control+b")
    await expect(tab.page.get_by_role("navigation")).to_have_count(0)
    await tab.page.keyboard.press("Control+b")
    await tab.row("by keys")
    await tab.page.keyboard.press("Control+Shift+o")
    await expect(tab.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    await tab.drawer.get_by_role("link", name="by keys").focus()
    await tab.page.keyboard.press("?")
    await expect(tab.page.get_by_role("dialog", name="Keys")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await tab.drawer.get_by_role("link", name="by keys").focus()
    await tab.page.keyboard.press("Delete")

    await expect(tab.drawer.get_by_role("link")).to_have_count(0)


async def _violations(page: Page) -> list[str]:
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


async def test_what_keeps_people_out_would_be_found(tab: Tab) -> None:
    await tab.open()
    await tab.page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button><img src=x>')"
    )

    found = " ".join(await _violations(tab.page))

    assert "button-name" in found
    assert "image-alt" in found


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_view_keeps_anybody_out(browser: Browser, service: Service, theme: str) -> None:
    context = await browser.new_context(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    tab = Tab(await context.new_page(), service, f"axe-{theme}")
    page = tab.page
    found: dict[str, list[str]] = {}
    await tab.open()
    await page.wait_for_timeout(500)
    found["new chat"] = await _violations(page)
    await tab.say("Say **this**:\n\n```python\nx = 1\n```\n\n|a|b|\n|-|-|\n|1|2|")
    await tab.answered("this")
    found["a chat"] = await _violations(page)
    await page.get_by_role("button", name="What the model saw").click()
    await expect(page.get_by_text("everything still fits")).to_be_visible()
    found["inspector"] = await _violations(page)
    await page.keyboard.press("Escape")
    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox").fill("this")
    await expect(page.get_by_role("option").first).to_be_visible()
    found["search"] = await _violations(page)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Settings").click()
    await expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    found["settings"] = await _violations(page)
    await page.keyboard.press("Escape")
    await tab.drawer.get_by_role("link").focus()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    found["keys"] = await _violations(page)
    await page.keyboard.press("Escape")
    await tab.drawer.get_by_role("button", name="Trash").click()
    found["trash"] = await _violations(page)
    await page.get_by_role("button", name="New incognito chat").click()
    await expect(page.get_by_text("This page alone holds this chat.")).to_be_visible()
    await tab.ask("nothing kept")
    found["incognito"] = await _violations(page)
    await context.close()

    assert {view: each for view, each in found.items() if each} == {}
