"""The description of the API: `python -m chatkeep.api.openapi --write docs/reference/openapi.json`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from chatkeep.api.schemas.basics import Problem

_ABOUT = (
    "Keeps the conversations of LLM applications. Lists are `{items, next_cursor}`; every error is "
    "`application/problem+json` with a stable `code`; times are RFC 3339 in UTC. Bodies are at most 1.5 MiB (incognito "
    "chats 5 MiB, imports 256 MiB)."
)
_TAGS = {
    "sessions": "One conversation's durable record.",
    "messages": "The log of a session.",
    "chat": "Answers, as server-sent events or whole.",
    "runs": "Generations of answers, which go on without a connection.",
    "branches": "Other ways that a conversation went.",
    "agents": "Agents and models.",
    "search": "Finding messages and titles.",
    "transfer": "Export and import.",
    "me": "All that is the caller's.",
    "operation": "For whoever runs the server.",
}
_NO_HTTP = {
    "description": "The request is not HTTP/1.1, or its head is larger than 64 KiB.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=_ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _given(parameter["schema"])
        operation["responses"]["400"] = _NO_HTTP
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is there; one that is not, is left out and never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def text_of(document: dict[str, Any]) -> str:
    """Return the text of the document, the same on every machine."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the document, or compare it with what is written; 1 if that differs."""
    from chatkeep.api.app import create_app  # noqa: PLC0415 -- the application imports this module
    from chatkeep.settings import Settings  # noqa: PLC0415 -- for the command only

    parser = argparse.ArgumentParser(prog="python -m chatkeep.api.openapi", description=main.__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", type=Path, metavar="FILE")
    mode.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    text = text_of(create_app(Settings(store_url="memory://")).openapi())
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text, "utf-8")
        return 0
    if options.check.exists() and options.check.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{options.check} is not what the API is; run this again with --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
