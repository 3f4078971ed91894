"""The reference of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from chatkeep.cli.program import app

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def test_the_reference_names_every_command_and_option_and_no_other() -> None:
    commands: set[str] = set()
    options: set[str] = {"--help", "--check", "--install-completion", "--show-completion"}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # a group has them
        inner = getattr(command, "commands", None)
        for each, one in inner.items() if inner else ((None, command),):
            commands.add(f"{name} {each}" if each else name)
            options.update(opt for param in one.params if param.param_type_name == "option" for opt in param.opts)

    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "".join(re.findall(r"`[^`\n]+`", REFERENCE))))

    assert {
        command for command in commands if f"`{command}" not in REFERENCE and f"## {command}" not in REFERENCE
    } == set()
    assert named == options
