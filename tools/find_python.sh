#!/usr/bin/env bash
# Prints a Python that Chatkeep can run on: $PYTHON when given, else the first that fits on the path.
set -euo pipefail

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    # A name on the path may be a shim for a version that is not there, so run it.
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "Chatkeep needs Python 3.11 or later with its venv module; set PYTHON=/path/to/python" >&2
exit 1
