"""The page: what was built from `web/`, and every address inside of it."""

from __future__ import annotations

import gzip
import html
import mimetypes
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

FOLDER = Path(__file__).parents[1] / "page"

_BASE = '<base href="/" />'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_FOREVER = "public, max-age=31536000, immutable"
_WORTH_COMPRESSING = 1_024
_MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Chatkeep</title>
<h1>The page is not built</h1>
<p>The service is running. Its page needs Node.js 20 or later to be built: install it, run <code>make page</code> in the
repository, and reload. Packages have the page already. The API is described under <a href="docs">docs</a>.</p>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """Return a part of the page. Its name changes with its content."""
    return _file(request, FOLDER / "assets" / name, _FOREVER)


@router.get("/icon.svg")
async def icon(request: Request) -> Response:
    """Return the icon of the page."""
    return _file(request, FOLDER / "icon.svg", "public, max-age=86400")


@router.get("/")
@router.get("/{app}")
@router.get("/{app}/incognito")
@router.get("/{app}/session/{session_id}")
async def page(request: Request) -> Response:
    """Return the page, which looks by itself what its address names."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    index = FOLDER / "index.html"
    if not index.is_file():
        return HTMLResponse(_MISSING, headers=headers)
    root = html.escape(request.scope.get("root_path", "").rstrip("/"))
    return HTMLResponse(index.read_text("utf-8").replace(_BASE, f'<base href="{root}/" />'), headers=headers)


def _file(request: Request, path: Path, cache: str) -> Response:
    if path.parent not in (FOLDER, FOLDER / "assets") or not path.is_file():
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
    content, compressed = _content(path, path.stat().st_mtime_ns)
    if compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = compressed
        headers["Content-Encoding"] = "gzip"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Response(content, media_type=kind, headers=headers)


@lru_cache(maxsize=128)
def _content(path: Path, _written_at: int) -> tuple[bytes, bytes | None]:
    content = path.read_bytes()
    return content, gzip.compress(content, mtime=0) if len(content) >= _WORTH_COMPRESSING else None
