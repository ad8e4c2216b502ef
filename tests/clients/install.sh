#!/usr/bin/env bash
# Installs the clients that the API is driven with: install.sh node|python prints the folder that they are in.
#
# They are installed into LARDER_CLIENT_CACHE, which the caller gives, with node's and Python's own package managers, once per
# lock file. Nothing is written into the tree. Needs node 20 and npm, or Python 3.10.
set -euo pipefail

language=${1:?usage: LARDER_CLIENT_CACHE=FOLDER install.sh node|python}
cache=${LARDER_CLIENT_CACHE:?LARDER_CLIENT_CACHE must name a folder for clients}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$cache"

# Two callers at once would install over each other.
exec 9>"$cache/$language.lock"
flock 9

lock=$here/package-lock.json
[ "$language" = node ] || lock=$here/requirements.txt
folder=$cache/$language-$(sha256sum "$lock" | cut -c1-16)
if [ ! -e "$folder/done" ]; then
    rm -rf "$folder"
    if [ "$language" = node ]; then
        mkdir -p "$folder" && cp "$here/package.json" "$lock" "$folder"
        (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    else
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock" >&2
    fi
    touch "$folder/done"
fi
echo "$folder"
