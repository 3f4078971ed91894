#!/usr/bin/env bash
# Fetches the servers that the tests start into .tools/; does nothing when the pinned versions are there.
# A server that cannot be had is named; that is a failure only when CHATKEEP_REQUIRE_ENGINES=all.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=0

report_missing() {
    echo "servers: $1 is not available: $2" >&2
    missing=1
}

# Each server lies beside a copy of the file that pins it, written last: a copy that matches means a complete fetch.
fetch_dynoxide() {
    local platform
    platform="$(uname -s)-$(uname -m)"
    if [ "$platform" != Linux-x86_64 ]; then
        report_missing dynoxide "it is pinned for Linux on x86-64 only, this is $platform"
    elif cmp -s tools/package-lock.json .tools/dynoxide.pin && [ -x .tools/node_modules/@dynoxide/linux-x64/dynoxide ]; then
        echo "servers: dynoxide is up to date"
    elif ! command -v npm >/dev/null; then
        report_missing dynoxide "npm is not installed (Node.js 20 or later brings it)"
    else
        echo "servers: fetching dynoxide"
        mkdir -p .tools
        cp tools/package.json tools/package-lock.json .tools/
        if npm --prefix .tools ci --no-audit --no-fund --loglevel error; then
            cp tools/package-lock.json .tools/dynoxide.pin
        else
            report_missing dynoxide "npm could not fetch it, see above"
        fi
    fi
}

# The jars that a project of Maven in tools/ names, and its own sources, compiled.
fetch_jars() { # the folder, the name
    local folder=$1 name=$2 sources
    sources=$(find "tools/$folder" -name '*.java')
    if ! command -v java >/dev/null; then
        report_missing "$name" "java is not installed (17 or later)"
    elif diff -rq "tools/$folder" ".tools/$folder/pin" >/dev/null 2>&1; then
        echo "servers: $name is up to date"
    elif ! command -v mvn >/dev/null; then
        report_missing "$name" "mvn is not installed (Maven 3.6 or later)"
    elif [ -n "$sources" ] && ! command -v javac >/dev/null; then
        report_missing "$name" "javac is not installed (a JDK, 17 or later)"
    else
        echo "servers: fetching $name"
        rm -rf ".tools/$folder"
        mkdir -p ".tools/$folder"
        # Maven takes the pom's folder as its own, so the target is absolute.
        if mvn --batch-mode --quiet --no-transfer-progress --strict-checksums -Dstyle.color=never \
            -f "tools/$folder/pom.xml" dependency:copy-dependencies \
            -DincludeTypes=jar -DoutputDirectory="$PWD/.tools/$folder" </dev/null &&
            { [ -z "$sources" ] || javac -cp ".tools/$folder/*" -d ".tools/$folder" $sources; }; then
            cp -r "tools/$folder" ".tools/$folder/pin"
        else
            report_missing "$name" "it could not be fetched or compiled, see above"
        fi
    fi
}

fetch_dynoxide
fetch_jars dynamodb-local "DynamoDB Local"
fetch_jars mongo-java-server mongo-java-server

if [ "$missing" = 1 ] && [ "${CHATKEEP_REQUIRE_ENGINES:-}" = all ]; then
    echo "servers: CHATKEEP_REQUIRE_ENGINES=all, so a missing server is a failure" >&2
    exit 1
fi
