#!/usr/bin/env bash
# Copies what a GPU machine without network and without the reference folder needs into .carry/ (git-ignored, at most
# 60 MiB): the decoders' goldens and, with --wheels, the Python packages that such a machine lacks (3.12, x86_64). pycuda
# among them is built here from source where nvcc and python3.12 (or PYTHON312) are, or copied: PYCUDA_WHEEL names one.
# run_all.sh uses .carry/ where it is.
#   tests/gpu/pack.sh [--wheels | --train]
#   --train   instead, what tests/gpu/train.sh needs: bodies and motion to render people from, and packages
# The reference folder is `shared` beside the repository, or JETPOSE_SHARED; exits 1 where there is none.
set -euo pipefail
[ -z "${PYCUDA_WHEEL:-}" ] || PYCUDA_WHEEL=$(realpath -e "$PYCUDA_WHEEL")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
shared=${JETPOSE_SHARED:-../shared}
reference=$shared/reference wheels=.carry/wheels
[ -d "$reference" ] || { echo "no reference folder at $reference: set JETPOSE_SHARED" >&2; exit 1; }
fetch() {
  mkdir -p "$wheels"
  "${PYTHON:-python3}" -m pip download -q --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --constraint constraints.txt --dest "$wheels" "$@"
}
check() { du -sh .carry/*; [ "$(du -sm .carry | cut -f1)" -le 60 ] || { echo ".carry is larger than 60 MiB" >&2; exit 1; }; }
if [ "${1:-}" = --train ]; then
  rm -rf .carry
  fetch --no-deps msgspec typer rich moderngl glcontext pycocotools munkres scikit-build-core
  tar -c -C "$shared" assets | xz -1 > .carry/assets.tar.xz
  check
  exit
fi
goldens=.carry/reference
rm -rf .carry
mkdir -p "$goldens"/{hrnet,losses,paf}
[ ! -d "$reference/paf/decode" ] || cp -r --no-preserve=mode "$reference/paf/decode" "$goldens/paf/"
find "$reference/hrnet" -maxdepth 1 -size -1024k \
  \( -name '*.npz' -o -name 'oks.json' -o -name 'preprocess.json' -o -name 'gen_*.py' \) -not -name '*_io.npz' \
  -exec cp --no-preserve=mode {} "$goldens/hrnet/" \;
for name in decode ae_group grmi deeppose oks_nms; do
  [ ! -e "$reference/losses/$name.npz" ] || cp --no-preserve=mode "$reference/losses/$name.npz" "$goldens/losses/"
done
for option in "$@"; do
  [ "$option" = --wheels ] || { echo "unknown option: $option" >&2; exit 2; }
  fetch msgspec typer rich scikit-build-core pytest pytools platformdirs Mako MarkupSafe siphash24 typing_extensions
  if [ -n "${PYCUDA_WHEEL:-}" ]; then
    cp "$PYCUDA_WHEEL" "$wheels/"
  elif command -v nvcc > /dev/null && "${PYTHON312:-python3.12}" --version > /dev/null 2>&1; then
    "$shared/gpu/build_pycuda.sh" "${PYTHON312:-python3.12}" "$wheels"
  else
    echo "WITHOUT pycuda: no nvcc or no python3.12 here; the frame path will not be tested there" >&2
  fi
done
check
