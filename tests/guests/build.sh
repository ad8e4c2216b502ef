#!/usr/bin/env bash
# Builds the guests of other toolchains: build.sh OUTDIR writes js-http.wasm js-event.wasm py-http.wasm py-event.wasm.
# Names after OUTDIR build only those.
#
# Toolchains are installed into LARDER_GUEST_CACHE, which the caller gives, with node's and Python's own package
# managers, once per pinned version; a guest whose sources did not change is copied from there. Nothing is written
# into the tree. Needs node 20, Python 3.10 and cargo (which knows where the WIT of WASI lies).
set -euo pipefail

out=${1:?usage: LARDER_GUEST_CACHE=FOLDER build.sh OUTDIR [GUEST..]}
cache=${LARDER_GUEST_CACHE:?LARDER_GUEST_CACHE must name a folder for toolchains}
shift
guests=("$@")
[ ${#guests[@]} -gt 0 ] || guests=(js-http js-event py-http py-event)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$out" "$cache"
out=$(cd "$out" && pwd)
cache=$(cd "$cache" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two callers at once would install over each other.
exec 9>"$cache/lock"
flock 9

digest() { cat "$@" | sha256sum | cut -c1-16; }

say() { echo "guests: $*" >&2; }

jco() {
    local tools; tools="$cache/jco-$(digest "$here/package.json")"
    if [ ! -e "$tools/done" ]; then
        say "installing jco"
        rm -rf "$tools" && mkdir -p "$tools" && cp "$here/package.json" "$tools"
        (cd "$tools" && npm install --no-audit --no-fund --no-package-lock --loglevel=error >&2)
        touch "$tools/done"
    fi
    "$tools/node_modules/.bin/jco" "$@"
}

componentize_py() {
    local tools; tools="$cache/py-$(digest "$here/requirements.txt")"
    if [ ! -e "$tools/done" ]; then
        say "installing componentize-py"
        rm -rf "$tools" && python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
        touch "$tools/done"
    fi
    "$tools/bin/componentize-py" "$@"
}

# The folder of WASI's WIT in the crate wasip2, which the HTTP example depends on.
wasi_wit() {
    cargo metadata --format-version 1 --locked --manifest-path "$root/Cargo.toml" | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
found = [os.path.join(os.path.dirname(p["manifest_path"]), "wit", "deps") for p in packages if p["name"] == "wasip2"]
found = [folder for folder in found if os.path.isdir(folder)]
if not found: sys.exit("build.sh: the crate wasip2 with its wit/deps is not among the dependencies")
print(found[0])'
}

# Copies the guest to $work/GUEST, its world to wit/ there and what the world needs to wit/deps/.
prepare() {
    local wit="$work/$1/wit"
    mkdir -p "$wit/deps"
    cp "$here/$1"/* "$work/$1/" # componentize-py leaves a __pycache__ beside what it reads
    mv "$work/$1/world.wit" "$wit/"
    case $1 in
        *-event) mkdir "$wit/deps/larder" && cp "$root/sdk/wit/larder.wit" "$wit/deps/larder/" ;;
        *-http) cp "$wasi"/*.wit "$wit/deps/" && chmod u+w "$wit"/deps/*.wit ;;
    esac
    # jco's engine speaks WASI 0.2.10 and refuses to export another patch. `network-error-code` came after it.
    if [ "$1" = js-http ]; then
        python3 - "$wit"/deps/*.wit <<'PY'
import re, sys
for path in sys.argv[1:]:
    text = open(path).read()
    text = re.sub(r"@0\.2\.\d+", "@0.2.10", text)
    text = re.sub(r"@since\(version = 0\.2\.(1[1-9])\)", "@since(version = 0.2.10)", text)
    text = re.sub(r"@unstable\(feature = network-error-code\)\s*", "", text)
    open(path, "w").write(text)
PY
    fi
}

wasi=$(wasi_wit)
for guest in "${guests[@]}"; do
    [ -d "$here/$guest" ] || { echo "build.sh: no guest $guest" >&2; exit 2; }
    key=$(digest "$here/build.sh" "$here/package.json" "$here/requirements.txt" "$here/$guest"/* \
        "$root/sdk/wit/larder.wit" "$wasi"/*.wit)
    built="$cache/$guest-$key.wasm"
    if [ ! -e "$built" ]; then
        say "building $guest"
        prepare "$guest"
        case $guest in
            js-*) jco componentize "$work/$guest/app.js" -w "$work/$guest/wit" -n app -o "$work/$guest.wasm" >&2 ;;
            py-*) (cd "$work/$guest" && componentize_py -d wit -w app componentize app -o "../$guest.wasm" >&2) ;;
        esac
        mv "$work/$guest.wasm" "$built"
    fi
    cp "$built" "$out/$guest.wasm"
done
