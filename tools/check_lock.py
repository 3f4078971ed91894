"""Check that the pins cover all that pyproject.toml asks for, and hold hashes but no addresses."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)


def wanted_requirements(pyproject: Path) -> list[Requirement]:
    """Return the requirements of the package, its extras, groups and build, but not the package itself."""
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = document["project"]
    lists = [
        document["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *document["dependency-groups"].values(),
    ]
    requirements = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def problems() -> list[str]:
    """Return one sentence for each thing that is wrong with the pins."""
    found = []
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [
            f"{path.name}:{number}: only pins and hashes belong here, not {line.strip()!r}"
            for number, line in enumerate(lines, 1)
            if not PIN.match(line) and not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        ]

    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    pins = {canonicalize_name(match["name"]): match["version"] for match in PIN.finditer(text)}
    for requirement in wanted_requirements(ROOT / "pyproject.toml"):
        pinned = pins.get(canonicalize_name(requirement.name))
        if pinned is None or not requirement.specifier.contains(pinned, prereleases=True):
            found.append(f"dev.txt: {requirement} is wanted and {pinned or 'nothing'} is pinned; run make lock")
    return found


if __name__ == "__main__":
    messages = problems()
    print("\n".join(messages) or "the pins are complete")
    sys.exit(bool(messages))
