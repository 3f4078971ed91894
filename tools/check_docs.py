"""Check the documents and the tracked files.

Every relative link and anchor resolves, every decision is listed, and no file names a machine's own
folder or a package registry.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
# The escaped dots and the groups keep these patterns from matching their own text.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:(?:root|work)/|(?:home|Users)/[a-z])")
REGISTRY = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|repo1?\.maven\.(?:apache\.)?org"
    r"|proxy\.golang\.org|crates\.io)\b"
)


def tracked_files() -> list[Path]:
    """Return the files that git tracks, or would: a new one is checked before it is committed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607  # git as the user has it
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return sorted({path for path in paths if path.is_file()})


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the fragments that a link into this file may name: GitHub's slugs and explicit anchors."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    found: set[str] = set(HTML_ANCHOR.findall(text))
    counts: dict[str, int] = {}
    for heading in HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        repeat = counts.get(slug, 0)
        counts[slug] = repeat + 1
        found.add(f"{slug}-{repeat}" if repeat else slug)
    return frozenset(found)


def link_problems(document: Path) -> list[str]:
    """Return one sentence for each relative link of the document that leads nowhere."""
    found = []
    text = CODE.sub("", FENCE.sub("", document.read_text(encoding="utf-8")))
    for inline, reference in LINK.findall(text):
        link = inline or reference
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (document.parent / unquote(path)).resolve() if path else document
        if not target.exists():
            found.append(f"{document.relative_to(ROOT)}: the link {link!r} leads to no file")
        elif fragment and target.suffix == ".md" and unquote(fragment) not in anchors(target):
            found.append(f"{document.relative_to(ROOT)}: the link {link!r} names no heading there")
    return found


def decision_problems() -> list[str]:
    """Return one sentence for each decision that the index does not link to."""
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    return [
        f"docs/decisions/README.md: {record.name} is not listed"
        for record in sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
        if f"]({record.name})" not in index
    ]


def text_problems(path: Path) -> list[str]:
    """Return one sentence for each line that names a machine's own folder or a package registry."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    where = path.relative_to(ROOT)
    return [
        f"{where}:{number}: {what}: {match[0]!r}"
        for number, line in enumerate(lines, 1)
        for what, pattern in (
            ("a path of one machine", MACHINE_PATH),
            ("a package registry's address", REGISTRY),
        )
        if (match := pattern.search(line))
    ]


def problems() -> list[str]:
    """Return one sentence for each thing that is wrong."""
    files = tracked_files()
    documents = [path for path in files if path.suffix == ".md"]
    return [
        *(problem for document in documents for problem in link_problems(document)),
        *decision_problems(),
        *(problem for path in files for problem in text_problems(path)),
    ]


if __name__ == "__main__":
    messages = problems()
    print("\n".join(messages) or "the documents and the tracked files are in order")
    sys.exit(bool(messages))
