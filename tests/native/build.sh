#!/usr/bin/env bash
# Builds a test module of the native operations and prints its path:
#   tests/native/build.sh lanes   every algorithm on four threads
#   tests/native/build.sh asan    one lane, AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/native/build.sh tsan    four lanes, ThreadSanitizer: a missing sync() of a decoder is a data race here
# PYTHON names the interpreter (default python3), which needs nanobind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=$("${PYTHON:-python3}" -c 'import sys; print(sys.executable)')
case ${1:-} in
  lanes) flags=(-DJETPOSE_LANES=4) ;;
  asan) flags=(-DJETPOSE_SANITIZE=address,undefined) ;;
  tsan) flags=(-DJETPOSE_SANITIZE=thread -DJETPOSE_LANES=4) ;;
  *) echo "usage: tests/native/build.sh lanes|asan|tsan" >&2; exit 2 ;;
esac
build=build/native-$1
mkdir -p build
generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
{
  cmake -S runtime/native -B "$build" "${generator[@]}" -DPython_EXECUTABLE="$python" "${flags[@]}"
  cmake --build "$build" --parallel "$(nproc)"
} > "$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
echo "$PWD/$build"/_native_test*.so
