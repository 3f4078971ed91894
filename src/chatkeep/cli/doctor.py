"""The command `chatkeep doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from chatkeep.cli.output import Output, bold, shown
from chatkeep.cli.place import Place, command
from chatkeep.cli.release import release
from chatkeep.domain.errors import Invalid

if TYPE_CHECKING:
    from chatkeep.cli.checks import Finding

group = typer.Typer()


@command(group, "doctor")
async def doctor(at: Place) -> None:
    """Look at settings, store, model and port, and tell how to mend what is wrong.

    The model is asked for one word. Ends with exit code 1 when something must be mended.
    """
    from chatkeep.cli import checks  # noqa: PLC0415 -- `--help` needs none of what is looked at

    told = _Told(at.out)
    told(checks.Finding("ok", "version", f"Chatkeep {release()}, Python {sys.version.split()[0]}"))
    try:
        settings = at.settings()
        url = settings.url()
        found = [*checks.check_settings(settings), *checks.check_folder(url)]
    except Invalid as error:
        told(checks.Finding("fail", "settings", str(error)))
        raise typer.Exit(1) from None
    for finding in found:
        told(finding)
    for finding in await checks.check_store(url):
        told(finding)
    for finding in checks.check_engines():
        told(finding)
    async for finding in checks.check_embeddings(settings):
        told(finding)
    told(await checks.check_model(settings))
    told(checks.check_port(settings))
    if told.failed:
        raise typer.Exit(1)


class _Told:
    """Writes findings as they come, and remembers whether one must be mended."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.failed = False

    def __call__(self, finding: Finding) -> None:
        self.failed = self.failed or finding.verdict == "fail"
        if self._out.as_json:
            self._out.document({"check": finding.what, "verdict": finding.verdict, "said": finding.said})
        else:
            mark = f"{finding.verdict:<4}"
            mark = mark if finding.verdict == "ok" else bold(mark)
            self._out.raw(f"{mark}  {finding.what:<11}  {shown(finding.said)}\n")
        self._out.flush()
