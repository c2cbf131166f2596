#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them. --all adds the slow ones, and makes a test fail
# instead of skip where a browser or a database is missing. --litert runs those of TFLite files instead, in
# .venv-litert: what they need goes with no coremltools. Other arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_venv.sh

select=(-m "not slow")
args=()
litert=
for arg in "$@"; do
    if [ "$arg" = --all ]; then
        select=()
        export HVNAS_REQUIRE_ALL=1
    elif [ "$arg" = --litert ]; then
        litert=1
    else
        args+=("$arg")
    fi
done

# The networks under test are small: on two busy cores a second thread waits more than it works.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"

if [ -n "$litert" ]; then
    VENV=.venv-litert CONSTRAINTS=constraints-litert.txt
    install litert ".[litert,onnx,train]" && _pip_install pytest \
        || die "the installation failed: see pip's message above"
    exec "$VENV/bin/python" -m pytest ${select[@]+"${select[@]}"} ${args[@]+"${args[@]}"} \
        tests/export/test_{running,tflite,int8}.py tests/train/test_shipped_alone.py \
        tests/latency/measure/test_ops.py tests/latency/test_suite_tflite.py
fi

install test ".[dev,peers,export,plot,report,train,storage]" || die "the installation failed: see pip's message above"
# Ray has no build for some platforms and young Python versions, and only its own tests need it.
install ray ".[ray]" 2>"$VENV/ray.log" || say "ray is not to be had here, its tests are skipped (why: $VENV/ray.log)"

exec "$VENV/bin/python" -m pytest ${select[@]+"${select[@]}"} ${args[@]+"${args[@]}"}
