"""The tests that the OpenAI Agents SDK has for its own SQLite sessions, run with Chatkeep's in their place.

`openai_agents/public.txt` lists those that use only what every session offers, and all of them must pass;
`openai_agents/excluded.txt` lists those that use more, each below its reason. The SDK's files are taken from its source
distribution and are not edited: `sdk_plugin.py` swaps the classes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.servers import missing

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_SUITE = _ROOT / ".tools/openai-agents"
_FILES = (
    "tests/memory/test_compaction_model_visibility.py",
    "tests/memory/test_compaction_suffix.py",
    "tests/memory/test_openai_conversations_session.py",
    "tests/memory/test_openai_responses_compaction_session.py",
    "tests/memory/test_session.py",
    "tests/memory/test_session_context_wrapper.py",
    "tests/memory/test_session_limit.py",
    "tests/memory/test_session_persistence_sanitize.py",
    "tests/extensions/memory/test_advanced_sqlite_session.py",
    "tests/extensions/memory/test_async_sqlite_session.py",
    "tests/deferred_session_writes",
)


class Outcome(NamedTuple):
    """What became of one of the SDK's tests."""

    result: str
    used_ours: bool


def _run(folder: Path, *arguments: str, fault: str = "") -> dict[str, Outcome]:
    """Run tests of the SDK in a process of their own; return what became of each."""
    if not (_SUITE / "pin").is_file():
        missing("the SDK's test suite")
    report = folder / "report.json"
    environment = os.environ | {
        "CHATKEEP_SDK_REPORT": str(report),
        "CHATKEEP_SDK_EXCLUDED": str(_HERE / "openai_agents/excluded.txt"),
        "CHATKEEP_SDK_FAULT": fault,
        "PYTHONPATH": os.pathsep.join((str(_ROOT / "src"), str(_HERE), str(_SUITE))),
        "PYTEST_ADDOPTS": "",
    }
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    plugins = ("-p", "sdk_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--timeout=60", "--color=no", *plugins, *arguments]
    done = subprocess.run(command, cwd=_SUITE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout[-5_000:] + done.stderr[-5_000:]
    sys.stdout.write(done.stdout)
    return {test: Outcome(*found) for test, found in json.loads(report.read_text("utf-8")).items()}


@pytest.mark.timeout(600)
def test_the_sdks_own_session_tests_pass_with_our_sessions(tmp_path: Path) -> None:
    public = set((_HERE / "openai_agents/public.txt").read_text("utf-8").split("\n")) - {""}

    found = _run(tmp_path, *_FILES)

    ours = {test for test, outcome in found.items() if outcome.used_ours}
    assert ours == public, "the lists name other tests than those that use a session of ours"
    assert {test for test in public if found[test].result != "passed"} == set()


@pytest.mark.timeout(300)
def test_the_sdks_own_session_tests_notice_a_session_that_loses_an_item(tmp_path: Path) -> None:
    found = _run(tmp_path, "tests/memory/test_session.py", "-k", "sqlite", fault="lossy")

    ours = [outcome.result for outcome in found.values() if outcome.used_ours]
    assert ours.count("failed") > len(ours) / 2
