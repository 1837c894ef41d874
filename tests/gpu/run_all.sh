#!/usr/bin/env bash
# Everything that needs a GPU: builds each tests/gpu/test_*.cu with nvcc and runs it, each kernel against the CPU build
# of its algorithm; then, where tests/gpu/pack.sh has put goldens into .carry/, the goldens on this machine's CPU build.
# Then the whole frame path with a torch network, and what it adds to that network, where torch for CUDA and pycuda are.
# Exits 1 if one fails, 77 if there is no usable GPU.
#   tests/gpu/run_all.sh [--compile-only | --emulate] [--sanitize] [NAME ...]     NAME: such as test_paf; default all
#   --compile-only   needs no GPU
#   --emulate        needs neither GPU nor nvcc: the same programs built with $CXX, blocks on the CPU (emulate.hpp)
#   --sanitize       also under compute-sanitizer memcheck and racecheck; with --emulate under ASan and UBSan instead
# NVCC names the compiler (default: see deploy/build_kernels.py), ARCH the architecture (default: native, with
# --compile-only sm_87), PYTHON the interpreter.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mode=run sanitize= names=()
for option in "$@"; do
  case $option in
    --compile-only) mode=compile ;;
    --emulate) mode=emulate ;;
    --sanitize) sanitize=1 ;;
    test_*) names+=("$option") ;;
    *) echo "unknown option: $option" >&2; exit 2 ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=($(basename -s .cu tests/gpu/test_*.cu))
python=${PYTHON:-python3}
out=build/gpu/$mode${sanitize:+-sanitize}
mkdir -p "$out"

if [ "$mode" = emulate ]; then
  compile=("${CXX:-g++}" -std=c++17 -O1 -ffp-contract=off -Wall -DJETPOSE_EMULATE -x c++)
  [ -z "$sanitize" ] || compile+=(-g -fsanitize=address,undefined -fno-sanitize-recover=undefined)
else
  nvcc=${NVCC:-$("$python" deploy/build_kernels.py --which-nvcc)} || exit 2
  arch=${ARCH:-$([ "$mode" = compile ] && echo sm_87 || echo native)}
  # Unoptimised where nothing runs: deploy/build_kernels.py compiles the kernels as they are used.
  compile=("$nvcc" -std=c++17 $([ "$mode" = run ] && echo -O2 || echo -c -G) --fmad=false
           -arch="$arch" -Xcompiler=-ffp-contract=off
           -diag-suppress=20014,20011,20013,20015)
fi
# As many compilers at once as there are processors.
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I '{}' \
  sh -c '"$@" > "$0/{}.compiler" 2>&1 || rm -f "$0/{}"' "$out" "${compile[@]}" -o "$out/{}" "tests/gpu/{}.cu"

failed=0 skipped=0 passed=0
fail() { echo "$1: $2"; head -20 "$3"; failed=$((failed + 1)); }
for name in "${names[@]}"; do
  program=$out/$name log=$out/$name.log
  if [ ! -e "$program" ]; then fail "$name" "does not compile" "$program.compiler"; continue; fi
  if [ "$mode" = compile ]; then echo "$name: compiles for $arch"; passed=$((passed + 1)); continue; fi
  "$program" > "$log" 2>&1
  code=$?
  if [ "$code" = 77 ]; then echo "$name: skipped, no usable GPU"; skipped=$((skipped + 1)); continue; fi
  if [ "$code" = 0 ] && [ "$mode$sanitize" = run1 ]; then
    for tool in memcheck racecheck; do
      compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" >> "$log" 2>&1 || { code=$?; break; }
    done
  fi
  if [ "$code" = 0 ]; then
    echo "$name: passed, $(grep -c ' ok$' "$log") comparisons"; passed=$((passed + 1))
  else
    grep -v ' ok$' "$log" > "$log.failed"
    fail "$name" "FAILED ($code)" "$log.failed"
  fi
done

if [ "$mode" = run ] && [ -d .carry/reference ]; then
  if . tests/gpu/setup.sh && "$python" tests/goldens.py .carry/reference > "$out/goldens.log" 2>&1; then
    echo "goldens: passed"; passed=$((passed + 1))
  else
    echo "goldens: FAILED"; tail -20 "$out/native.log" "$out/goldens.log"; failed=$((failed + 1))
  fi
fi
if [ "$mode" = run ] && [ "$skipped" = 0 ]; then
  if ! . tests/gpu/setup.sh; then
    fail "frame path" "jetpose does not build" "$out/native.log"
  elif ! "$python" -c 'import pycuda.driver, pytest, torch; assert torch.cuda.is_available()' > "$out/frame_path.log" 2>&1
  then
    echo "frame path: skipped, $(tail -1 "$out/frame_path.log")"; skipped=$((skipped + 1))
  else
    "$python" -m pytest -q -m gpu tests/gpu/test_frame_path.py > "$out/frame_path.log" 2>&1 &&
      { echo "frame path: $(tail -1 "$out/frame_path.log")"; passed=$((passed + 1)); } ||
      fail "frame path" FAILED "$out/frame_path.log"
    PYTHONPATH=$PYTHONPATH:tests "$python" tests/gpu/bench_frame_path.py "$out/frame_path.json" \
      > "$out/bench_frame_path.log" 2>&1 && passed=$((passed + 1)) || { echo "added time: FAILED"; failed=$((failed + 1)); }
    cat "$out/bench_frame_path.log"
  fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || exit 1
[ "$skipped" = 0 ] || exit 77
