#!/usr/bin/env bash
# Runs the tests of the native operations on a test build in place of the installed module:
#   tests/native/run.sh asan|tsan [pytest arguments]
# PYTHON names the interpreter (default python3); it needs jetpose's test packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kind=${1:?usage: tests/native/run.sh asan|tsan [pytest arguments]}
shift
JETPOSE_TEST_MODULE=$(tests/native/build.sh "$kind")
export JETPOSE_TEST_MODULE
case $kind in asan) runtime=libasan.so ;; tsan) runtime=libtsan.so ;; esac
tests=()
for operation in heatmap paf embedding offset vector preprocess tracker smoother; do tests+=("tests/runtime/test_$operation.py"); done
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  TSAN_OPTIONS="halt_on_error=1 exitcode=66 suppressions=$PWD/tests/native/tsan.supp"
# libstdc++ is loaded first too, or the sanitizer misses the exceptions that nanobind throws.
LD_PRELOAD="$(g++ -print-file-name=$runtime) $(g++ -print-file-name=libstdc++.so)" \
  exec "${PYTHON:-python3}" -m pytest -q --capture=sys -p no:cacheprovider "$@" "${tests[@]}"
