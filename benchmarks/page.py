"""The page in a real Chromium before a real service: scrolling through very many chats, and typing under a stream."""

from __future__ import annotations

import asyncio
import gzip
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from tests.e2e.conftest import Service
from tests.servers import free_port

from benchmarks.report import table
from benchmarks.workload import turn
from chatkeep import Chatkeep, assistant, user
from chatkeep.api.page import FOLDER

SESSIONS = 10_000
MESSAGES = 5_000
DELTAS_A_SECOND = 100
AT_ONCE = 50
BATCH_TURNS = 50
SCROLL_STEPS = 300
KEYS = 60
_WATCH = """
window.slow = [];
new PerformanceObserver(list => window.slow.push(...list.getEntries().map(each => each.duration)))
  .observe({ type: "long-animation-frame", buffered: false });
window.typed = [];
new PerformanceObserver(list => window.typed.push(...list.getEntries()
  .filter(each => each.name === "keydown" || each.name === "input").map(each => each.duration)))
  .observe({ type: "event", durationThreshold: 16, buffered: false });
"""
_SCROLL = """
async steps => {
  const drawer = document.querySelector("[data-testid=drawer]");
  const gaps = [];
  let last = performance.now();
  for (let step = 0; step < steps; step += 1) {
    drawer.scrollTop += 120;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}
"""
_FIRST_PAINT = """
() => new Promise(resolve => {
  const find = () => {
    const answer = performance.getEntriesByType("resource").find(each => each.name.includes("/sessions?"));
    if (answer && document.querySelector("[data-testid=drawer] a")) {
      requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - answer.responseEnd)));
    } else requestAnimationFrame(find);
  };
  find();
})
"""


async def _seed(folder: Path) -> None:
    async with Chatkeep.open(f"sqlite:///{folder / 'chatkeep.db'}") as keep:
        chats = keep.for_user("local", app="default")
        for at in range(0, SESSIONS, AT_ONCE):
            await asyncio.gather(*(chats.create(f"s{at + more}", title=f"Chat {at + more}") for more in range(AT_ONCE)))
        for at in range(0, MESSAGES, 2 * BATCH_TURNS):
            said = [turn(f"{at}.{number}") for number in range(BATCH_TURNS)]
            both = [message for question, answer in said for message in (user(question), assistant(answer))]
            await chats.append("long", *both, create=True)


async def _opened(browser: Browser, url: str) -> Page:
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.add_init_script(_WATCH)
    await page.goto(url, wait_until="commit")
    return page


async def _measured(browser: Browser, url: str) -> dict[str, Any]:
    page = await _opened(browser, url)
    first: float = await page.evaluate(_FIRST_PAINT)
    await page.wait_for_timeout(1_500)
    await page.evaluate("window.slow.length = 0")
    gaps: list[float] = await page.evaluate(_SCROLL, SCROLL_STEPS)
    slow: list[float] = await page.evaluate("window.slow")
    await page.close()

    page = await _opened(browser, f"{url}/session/long")
    message = page.get_by_label("Message", exact=True)
    await message.fill(" ".join(f"word{number}" for number in range(2_000)))
    await page.keyboard.press("Enter")
    await page.get_by_test_id("answering").wait_for()
    await page.wait_for_timeout(1_000)
    await page.evaluate("window.typed.length = 0")
    await message.focus()
    for _ in range(KEYS):
        await page.keyboard.type("x")
        await page.wait_for_timeout(60)
    typed: list[float] = await page.evaluate("window.typed")
    await page.close()
    return {"first": first, "gaps": gaps, "slow": slow, "typed": typed}


async def _run() -> str:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        await _seed(folder)
        service = Service(folder, free_port(), {"CHATKEEP_ECHO_WORDS_PER_SECOND": str(DELTAS_A_SECOND)})
        service.start()
        try:
            async with async_playwright() as playwright:
                binary = shutil.which("chromium")
                browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
                found = await _measured(browser, f"{service.url}/default")
                await browser.close()
        finally:
            service.stop()
    script = re.search(r'src="\./(assets/[^"]+\.js)"', (FOLDER / "index.html").read_text("utf-8"))
    kilobytes = len(gzip.compress((FOLDER / script[1]).read_bytes())) / 1_000 if script else 0
    gaps, typed = sorted(found["gaps"]), sorted(found["typed"])
    slowest = f"{typed[-1]:.0f} ms, {len(typed)} of {2 * KEYS} above 16 ms" if typed else "below 16 ms, all of them"
    rows = [
        ["script before Markdown, compressed", "≤ 150 kB", f"{kilobytes:.0f} kB"],
        [f"first paint of a list of {SESSIONS:,}, after the response", "≤ 200 ms", f"{found['first']:.0f} ms"],
        ["frames above 50 ms while scrolling through it", "none", f"{len(found['slow'])} of {len(gaps)}"],
        ["the slowest frame", "≤ 50 ms", f"{gaps[-1]:.0f} ms; median {gaps[len(gaps) // 2]:.0f} ms"],
        [f"from a key to its paint, {DELTAS_A_SECOND} deltas a second, {MESSAGES:,} messages", "≤ 50 ms", slowest],
    ]
    return "\n".join(["## The page\n", table(["in Chromium, headless, on this machine", "asked", "measured"], rows)])


def run() -> str:
    """Measure, and return the part of docs/performance.md about the page."""
    return asyncio.run(_run())
