"""The documents' Python runs, from top to bottom, and prints what they say that it prints."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<printed>.*?)^```$)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of Python, the line it begins at, and what it is said to print."""

    line: int
    code: str
    printed: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start("code")) + 1, found["code"], found["printed"] or "")
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md", "docs/how-to/openai-agents.md"])
def test_the_code_of_a_document_runs_and_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    found = blocks(ROOT / name)

    for block in found:
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.code, name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, names)  # noqa: S102 -- our own documents
        assert printed.getvalue() == block.printed, f"{name}:{block.line}"

    assert found


def test_the_library_example_of_the_readme_is_short() -> None:
    (example,) = blocks(ROOT / "README.md")

    assert len([line for line in example.code.splitlines() if line.strip()]) <= 15


def test_every_document_tells_its_python_apart_from_other_code() -> None:
    for name in ("README.md", "docs/tutorial.md", "docs/how-to/openai-agents.md", "docs/architecture.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        opened = re.findall(r"^```(\w*)$", text, re.MULTILINE)[::2]

        assert set(opened) <= {"python", "text", "console", "mermaid"}, name
