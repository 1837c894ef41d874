#!/usr/bin/env bash
# Runs the tests of the native operations on test builds:
#   tests/native/run.sh asan    one lane, AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/native/run.sh tsan    four lanes, ThreadSanitizer: a missing sync() of a decoder is a data race here
#   tests/native/run.sh lanes   four lanes, no sanitizer
# PYTHON names the interpreter (default python3); it needs nanobind, ninja and jetpose's test packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kind=${1:?usage: tests/native/run.sh asan|tsan|lanes [pytest arguments]}
shift
python=${PYTHON:-python3}
build=build/native-$kind
tests=(tests/runtime/test_heatmap.py)
case $kind in
  asan) flags=(-DJETPOSE_SANITIZE=address,undefined); runtime=libasan.so ;;
  tsan) flags=(-DJETPOSE_SANITIZE=thread -DJETPOSE_LANES=4); runtime=libtsan.so ;;
  lanes) flags=(-DJETPOSE_LANES=4); runtime= ;;
  *) echo "unknown kind: $kind" >&2; exit 2 ;;
esac
generator=(); if command -v ninja > /dev/null; then generator=(-G Ninja); fi
cmake -S runtime/native -B "$build" "${generator[@]}" -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
  "${flags[@]}" > "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" -j "$(nproc)" >> "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
export JETPOSE_TEST_MODULE; JETPOSE_TEST_MODULE=$(echo "$PWD/$build"/_native_test*.so)
export JETPOSE_TEST_KIND=$kind
if [ -n "$runtime" ]; then
  # libstdc++ is loaded with it, or the sanitizer misses the exceptions that nanobind throws.
  LD_PRELOAD="$(g++ -print-file-name=$runtime) $(g++ -print-file-name=libstdc++.so)"
  export LD_PRELOAD
fi
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS="report_bugs=1 halt_on_error=1 exitcode=66" UBSAN_OPTIONS=print_stacktrace=1
exec "$python" -m pytest -q -p no:cacheprovider "$@" "${tests[@]}"
