#!/usr/bin/env bash
# Everything that needs a GPU: builds each tests/gpu/test_*.cu with nvcc and runs it, each kernel against the CPU build
# of its algorithm; then, where tests/gpu/pack.sh has put goldens into .carry/, the goldens on this machine's CPU build.
# Then the whole frame path with a torch network, and what it adds to that network, where torch for CUDA and pycuda are.
# Exits 1 if one fails, 75 if --resume has left some for another call, 77 if there is no usable GPU.
#   tests/gpu/run_all.sh [--compile-only | --emulate] [--sanitize] [--resume] [NAME ...]
#   NAME: test_paf and so on, goldens, frame_path; default all
#   --compile-only   needs no GPU
#   --emulate        needs neither GPU nor nvcc: the same programs built with $CXX, blocks on the CPU (emulate.hpp)
#   --sanitize       also under compute-sanitizer memcheck and racecheck; with --emulate under ASan and UBSan instead
#   --resume         end within 9 minutes (LIMIT_S), and leave out what passed in earlier calls with --resume: call it
#                    again until it does not exit 75
# NVCC names the compiler (default: see deploy/build_kernels.py), ARCH the architecture (default: native, with
# --compile-only sm_87), PYTHON the interpreter.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mode=run sanitize= resume= names=() goldens= frame_path=
for option in "$@"; do
  case $option in
    --compile-only) mode=compile ;;
    --emulate) mode=emulate ;;
    --sanitize) sanitize=1 ;;
    --resume) resume=1 ;;
    test_*) names+=("$option") ;;
    goldens) goldens=1 ;;
    frame_path) frame_path=1 ;;
    *) echo "unknown option: $option" >&2; exit 2 ;;
  esac
done
if [ ${#names[@]} = 0 ] && [ -z "$goldens$frame_path" ]; then
  names=($(basename -s .cu tests/gpu/test_*.cu)) goldens=1 frame_path=1
fi
python=${PYTHON:-python3}
out=build/gpu/$mode${sanitize:+-sanitize}
mkdir -p "$out"
# What passed counts for the very files that it passed with; their times say nothing where the tree is copied anew.
sources=$(find runtime tests -name '*.py' -o -name '*.cu*' -o -name '*.cpp' -o -name '*.hpp' | LC_ALL=C sort | xargs cat | sha256sum)
failed=0 skipped=0 passed=0 left=0
fail() { echo "$1: $2"; head -20 "$3"; failed=$((failed + 1)); }
pass() { echo "$1: $2"; passed=$((passed + 1)); echo "$sources" > "$out/$1.passed"; }
leave() { echo "$1: left for the next call"; left=$((left + 1)); }
# A command with the time that --resume has left; 124 if that was not enough.
within() { if [ -n "$resume" ]; then timeout "$(seconds_left)" "$@"; else "$@"; fi; }
seconds_left() { local s=$((${LIMIT_S:-540} - SECONDS)); echo $((s > 1 ? s : 1)); }
wanted() {  # whether a part is to be run now
  if [ -n "$resume" ] && [ "$(cat "$out/$1.passed" 2> /dev/null)" = "$sources" ]; then
    echo "$1: passed before"; passed=$((passed + 1)); return 1
  fi
  if [ -n "$resume" ] && [ "$(seconds_left)" = 1 ]; then leave "$1"; return 1; fi
  rm -f "$out/$1.passed"
}
todo=()
for name in "${names[@]}"; do ! wanted "$name" || todo+=("$name"); done
names=("${todo[@]}")

if [ "$mode" = emulate ]; then
  compile=("${CXX:-g++}" -std=c++17 -O1 -ffp-contract=off -Wall -DJETPOSE_EMULATE -x c++)
  [ -z "$sanitize" ] || compile+=(-g -fsanitize=address,undefined -fno-sanitize-recover=undefined)
else
  nvcc=${NVCC:-$("$python" deploy/build_kernels.py --which-nvcc)} || exit 2
  arch=${ARCH:-$([ "$mode" = compile ] && echo sm_87 || echo native)}
  sanitizer=$(command -v compute-sanitizer || echo "$(dirname "$nvcc")/compute-sanitizer")
  # Unoptimised where nothing runs: deploy/build_kernels.py compiles the kernels as they are used.
  compile=("$nvcc" -std=c++17 $([ "$mode" = run ] && echo -O2 || echo -c -G) --fmad=false
           -arch="$arch" -Xcompiler=-ffp-contract=off
           -diag-suppress=20014,20011,20013,20015)
fi
# As many compilers at once as there are processors.
[ ${#names[@]} = 0 ] || printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I '{}' \
  sh -c '"$@" > "$0/{}.compiler" 2>&1 || rm -f "$0/{}"' "$out" "${compile[@]}" -o "$out/{}" "tests/gpu/{}.cu"

for name in "${names[@]}"; do
  program=$out/$name log=$out/$name.log
  if [ ! -e "$program" ]; then fail "$name" "does not compile" "$program.compiler"; continue; fi
  if [ "$mode" = compile ]; then pass "$name" "compiles for $arch"; continue; fi
  within "$program" > "$log" 2>&1
  code=$?
  if [ "$code" = 77 ]; then echo "$name: skipped, no usable GPU"; skipped=$((skipped + 1)); continue; fi
  if [ "$code" = 0 ] && [ "$mode$sanitize" = run1 ]; then
    for tool in memcheck racecheck; do
      within "$sanitizer" --tool "$tool" --error-exitcode 9 "$program" >> "$log" 2>&1 || { code=$?; break; }
    done
  fi
  if [ "$code" = 0 ]; then
    pass "$name" "passed, $(grep -c ' ok$' "$log") comparisons"
  elif [ "$code" = 124 ] && [ -n "$resume" ]; then
    leave "$name"
  else
    grep -v ' ok$' "$log" > "$log.failed"
    fail "$name" "FAILED ($code)" "$log.failed"
  fi
done

if [ "$mode" = run ] && [ -n "$goldens" ] && [ -d .carry/reference ] && wanted goldens; then
  if . tests/gpu/setup.sh && "$python" tests/goldens.py .carry/reference > "$out/goldens.log" 2>&1; then
    pass goldens passed
  else
    echo "goldens: FAILED"; tail -20 "$out/native.log" "$out/goldens.log"; failed=$((failed + 1))
  fi
fi

run_frame_path() {
  if ! . tests/gpu/setup.sh; then fail frame_path "jetpose does not build" "$out/native.log"; return; fi
  local log=$out/frame_path.log bench=$out/bench_frame_path.log
  if ! "$python" -c 'import pycuda.driver, pytest, torch; assert torch.cuda.is_available()' > "$log" 2>&1; then
    echo "frame_path: skipped, $(tail -1 "$log")"; skipped=$((skipped + 1)); return
  fi
  # That machine's own plugins and its packages' warnings are none of ours.
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 within "$python" -m pytest -q -m gpu -W default tests/gpu/test_frame_path.py > "$log" 2>&1
  local tested=$?
  PYTHONPATH=$PYTHONPATH:tests within "$python" tests/gpu/bench_frame_path.py "$out/frame_path.json" > "$bench" 2>&1
  local timed=$?
  cat "$bench"
  if [ -n "$resume" ] && { [ $tested = 124 ] || [ $timed = 124 ]; }; then leave frame_path; return; fi
  [ $tested = 0 ] || { tail -60 "$log"; fail frame_path FAILED /dev/null; return; }
  [ $timed = 0 ] || { fail frame_path "added time: FAILED" /dev/null; return; }
  pass frame_path "$(tail -1 "$log")"
}
[ "$mode" != run ] || [ -z "$frame_path" ] || [ "$skipped" != 0 ] || ! wanted frame_path || run_frame_path

echo "$passed passed, $failed failed, $skipped skipped${resume:+, $left left}"
[ "$failed" = 0 ] || exit 1
[ "$left" = 0 ] || exit 75
[ "$skipped" = 0 ] || exit 77
