#!/usr/bin/env bash
# Everything that needs a GPU: builds each tests/gpu/test_*.cu with nvcc and runs it, each kernel against the CPU build
# of its algorithm. Exits 1 if one fails, 77 if there is no usable GPU.
#   tests/gpu/run_all.sh [--compile-only] [--sanitize]    --sanitize: also under compute-sanitizer memcheck and racecheck
# NVCC names the compiler, ARCH the architecture (default: native, with --compile-only sm_87).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compile_only= sanitize=
for option in "$@"; do
  case $option in
    --compile-only) compile_only=1 ;;
    --sanitize) sanitize=1 ;;
    *) echo "unknown option: $option" >&2; exit 2 ;;
  esac
done
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "no nvcc: put CUDA's bin folder on PATH or set NVCC" >&2; exit 2; }
arch=${ARCH:-$([ -n "$compile_only" ] && echo sm_87 || echo native)}
out=build/gpu
mkdir -p "$out"
failed=0 skipped=0 passed=0
for source in tests/gpu/test_*.cu; do
  name=$(basename "$source" .cu)
  if ! "$nvcc" -std=c++17 -O2 --fmad=false -arch="$arch" -Xcompiler=-ffp-contract=off -diag-suppress=20014,20011,20013,20015 \
       ${compile_only:+-c} -o "$out/$name${compile_only:+.o}" "$source"; then
    echo "$name: does not compile"; failed=$((failed + 1)); continue
  fi
  [ -z "$compile_only" ] || { echo "$name: compiles for $arch"; passed=$((passed + 1)); continue; }
  "$out/$name" > "$out/$name.log" 2>&1
  code=$?
  if [ "$code" = 77 ]; then echo "$name: skipped, no usable GPU"; skipped=$((skipped + 1)); continue; fi
  if [ "$code" = 0 ] && [ -n "$sanitize" ]; then
    for tool in memcheck racecheck; do
      compute-sanitizer --tool "$tool" --error-exitcode 9 "$out/$name" >> "$out/$name.log" 2>&1 || { code=$?; break; }
    done
  fi
  if [ "$code" = 0 ]; then
    echo "$name: passed, $(grep -c ' ok$' "$out/$name.log") comparisons"; passed=$((passed + 1))
  else
    echo "$name: FAILED ($code)"; grep -v ' ok$' "$out/$name.log" | head -20; failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || exit 1
[ "$skipped" = 0 ] || exit 77
