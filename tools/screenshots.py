"""Takes the pictures of the page that the README shows: `python tools/screenshots.py`, with Chromium installed."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.conftest import Service  # noqa: E402 -- behind the path
from tests.servers import free_port  # noqa: E402 -- the same

IMAGES = ROOT / "docs/images"
TITLES = (
    "Refund of the blue chair",
    "A week in Lisbon with two children",
    "Why is the sky dark at night?",
    "Letter to the landlord",
    "Regular expressions for dates",
    "Names for a sourdough starter",
)
QUESTION = "How do I read a file line by line in Python without loading all of it?"
ANSWER = """Iterate over the open file: it gives **one line at a time**, so memory stays small whatever the size.

```python
from pathlib import Path

def longest(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return max(lines, key=len, default="")
```

| way | memory | when |
|---|---|---|
| `for line in file` | one line | nearly always |
| `file.read()` | all of it | small files |

1. Name the encoding: the default differs between systems.
2. A line keeps its `\\n`; `line.rstrip("\\n")` takes it off."""


async def _seed(url: str) -> str:
    async with httpx.AsyncClient(base_url=f"{url}/v1/apps/default") as http:
        for title in reversed(TITLES):
            await http.post("/sessions", json={"title": title})
        answer = await http.post("/sessions", json={"title": "Reading large files in Python"})
        session: str = answer.json()["id"]
        await http.post(f"/sessions/{session}/messages", json={"question": QUESTION, "answer": ANSWER})
        pinned = (await http.get("/sessions")).json()["items"][3]["id"]
        await http.patch(f"/sessions/{pinned}", json={"state": "pinned"})
    return session


async def _take(browser: Browser, url: str, name: str, theme: str, width: int, height: int) -> None:
    page = await browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=theme,  # type: ignore[arg-type]  # light or dark
        device_scale_factor=2 if width < height else 1,
    )
    await page.goto(url)
    await page.get_by_text("Name the encoding").wait_for()
    await page.wait_for_timeout(600)
    await page.mouse.move(0, 0)
    await page.screenshot(path=IMAGES / f"{name}.png")
    await page.close()


async def main() -> None:
    """Start a service, put something into it, and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), free_port(), {})
        service.start()
        try:
            session = await _seed(service.url)
            url = f"{service.url}/default/session/{session}"
            async with async_playwright() as playwright:
                binary = shutil.which("chromium")
                browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
                await _take(browser, url, "page-desktop", "light", 1280, 800)
                await _take(browser, url, "page-dark", "dark", 1280, 800)
                await _take(browser, url, "page-phone", "light", 390, 760)
                await browser.close()
        finally:
            service.stop()


asyncio.run(main())
