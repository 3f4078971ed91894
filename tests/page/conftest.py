"""A real Chromium before a real service on SQLite."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, async_playwright, expect
from tests.e2e.conftest import Service, serve  # noqa: F401 -- a fixture of these tests too
from tests.servers import free_port, missing

from chatkeep.api.page import FOLDER

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_EXPECTED = ("the server responded with a status of", "net::ERR_", "Failed to load resource")
"""What Chromium itself says of requests that fail; whether they should is each test's matter."""
PAGES_HELD = 2
"""So many pages of a list or a conversation the page fetches anew when something changes."""
AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"

expect.set_options(timeout=10_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Give Chromium; its binary is the system's."""
    binary = os.environ.get("CHATKEEP_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        missing("chromium")
    if not (FOLDER / "index.html").is_file() or not AXE.is_file():
        missing("the built page")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service."""
    folder = tmp_path_factory.mktemp("page")
    service = Service(folder, free_port(), {})
    service.start()
    yield service
    service.stop()


async def until(look: Callable[[], Awaitable[object]], found: object) -> None:
    """Wait until what is looked at, which the page does not show, is as it should be."""
    for _ in range(100):
        if await look() == found:
            return
        await asyncio.sleep(0.1)
    assert await look() == found


class Tab:
    """A page of a user, in an app of the test's own."""

    def __init__(self, page: Page, service: Service, app: str) -> None:
        self.page = page
        self.service = service
        self.app = app

    @property
    def api(self) -> str:
        return f"{self.service.url}/v1/apps/{self.app}"

    async def open(self, path: str = "") -> None:
        """Open an address of the page."""
        await self.page.goto(f"{self.service.url}/{self.app}{path}")

    async def say(self, text: str) -> None:
        """Write a message and send it."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.keyboard.press("Enter")

    async def ask(self, text: str) -> None:
        """Send a message and wait for the whole answer."""
        await self.say(text)
        await self.answered(text.split("\n", maxsplit=1)[0])

    async def answered(self, text: str) -> None:
        """Wait until the answer that quotes a text is complete."""
        await expect(self.page.get_by_role("article", name="Answer").last).to_contain_text(text)
        await expect(self.page.get_by_test_id("answering")).to_have_count(0)

    async def use_all_connections(self) -> Page:
        """Return a page of the same profile; nothing more is sent until it is closed.

        A browser has six connections to a service.
        """
        page = await self.page.context.new_page()
        await page.goto(f"{self.service.url}/health")
        await page.evaluate(f"() => {{ for (let each = 0; each < 6; each++) fetch('{self.api}/events'); }}")
        return page

    async def row(self, title: str) -> None:
        """Wait until the drawer shows a chat."""
        await expect(self.drawer.get_by_role("link", name=title)).to_be_visible()

    @property
    def drawer(self) -> Locator:
        return self.page.get_by_role("navigation", name="Chats")

    async def menu(self, title: str, item: str) -> None:
        """Choose something from the menu of a row."""
        link = self.page.get_by_role("navigation", name="Chats").get_by_role("link", name=title)
        await link.hover()
        await self.page.get_by_role("button", name=f"Menu of {title}").click()
        await self.page.get_by_role("menuitem", name=item, exact=True).click()

    async def stored(self, session: str | None = None) -> list[dict[str, object]]:
        """Return the messages that the service has of the session that is open."""
        name = session or self.page.url.split("/session/")[1].split("?")[0]
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.api}/sessions/{name}/messages", params={"limit": 200})
        items: list[dict[str, object]] = answer.json()["items"]
        return items


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Give an empty profile, which must not see a script fail or a policy broken."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
    )
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(each in message.text for each in _EXPECTED):
            complaints.append(message.text)

    context.on("console", heard)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    await context.close()
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def tab(context: BrowserContext, service: Service) -> Tab:
    """Give a page on an app that nobody has used."""
    return Tab(await context.new_page(), service, f"app-{token_hex(4)}")
