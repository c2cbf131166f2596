#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them. --all adds the slow ones, and makes a test fail
# instead of skip where a browser or a database is missing. Other arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_venv.sh

select=(-m "not slow")
args=()
for arg in "$@"; do
    if [ "$arg" = --all ]; then
        select=()
        export HVNAS_REQUIRE_ALL=1
    else
        args+=("$arg")
    fi
done

install test ".[dev,peers,export,plot,report,train,storage]" || die "the installation failed: see pip's message above"
# Ray has no build for some platforms and young Python versions, and only its own tests need it.
install ray ".[ray]" 2>"$VENV/ray.log" || say "ray is not to be had here, its tests are skipped (why: $VENV/ray.log)"

# The networks under test are small: on two busy cores a second thread waits more than it works.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
exec "$VENV/bin/python" -m pytest ${select[@]+"${select[@]}"} ${args[@]+"${args[@]}"}
