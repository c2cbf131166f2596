#!/usr/bin/env bash
# From a clean clone to the main job: an environment in .venv, then a search under 2 ms on the iPhone 12.
# Further arguments go to `hvnas search`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_venv.sh

install base . || die "the installation failed: see pip's message above"

# An argument given twice would be refused or ambiguous, so ours steps back.
out=()
case " $* " in
    *" --out "* | *" --out="*) ;;
    *)
        name=runs/quickstart-$(date +%Y%m%d-%H%M%S)
        n=1
        while [ -e "$name" ]; do n=$((n + 1)); name=${name%.*}.$n; done
        out=(--out "$name")
        ;;
esac
exec "$VENV/bin/hvnas" search --budget-ms 2 --device iphone12 ${out[@]+"${out[@]}"} "$@"
