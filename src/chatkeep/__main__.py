"""The command `chatkeep`, and `python -m chatkeep`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without the extra that it needs, say which."""
    try:
        from chatkeep.cli.program import app  # noqa: PLC0415 -- the extra may be missing, and that has to be said
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("chatkeep"):
            raise
        sys.exit("the command line needs an extra: pip install 'chatkeep[server]'")
    app(prog_name="chatkeep")


if __name__ == "__main__":
    main()
