#!/usr/bin/env bash
# Fetches the test suites of other projects that run against Chatkeep's adapters into .tools/; they are never committed.
# Does nothing when the pinned version is there. One that cannot be had is a failure only when
# CHATKEEP_REQUIRE_ENGINES=all.
set -euo pipefail
cd "$(dirname "$0")/.."

pin=tools/suites/openai-agents.txt
place=.tools/openai-agents

if cmp -s "$pin" "$place/pin"; then
    echo "suites: that of the OpenAI Agents SDK is up to date"
    exit 0
fi
echo "suites: fetching that of the OpenAI Agents SDK"
rm -rf "$place"
mkdir -p "$place"
if .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    --require-hashes --requirement "$pin" --dest "$place"; then
    tar -xzf "$place"/*.tar.gz -C "$place" --strip-components=1
    cp "$pin" "$place/pin"
else
    echo "suites: the source distribution of openai-agents could not be fetched, see above" >&2
    [ "${CHATKEEP_REQUIRE_ENGINES:-}" != all ]
fi
