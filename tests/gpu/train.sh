#!/usr/bin/env bash
# Trains a network of ours on a GPU machine without network, in chunks: the first call renders people (the stages train
# and validation), each call goes on with the run. Needs what `tests/gpu/pack.sh --train` packs.
#   tests/gpu/train.sh RUN OUT [pose-train option ...]
#   tests/gpu/train.sh joint /tmp/out --model joint-tiny --batch 128 --minutes 6
# WORK keeps the pictures and runs from call to call; OUT gets the run's state, weights and curves. COUNT is how many
# training scenes there are to be, VALIDATION how many others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
run=$1 results=$2
shift 2
work=${WORK:-/var/tmp/jetpose-train} python=${PYTHON:-python3}
out=$work  # where setup.sh builds
mkdir -p "$work" "$results"
[ -d "$work/assets" ] || tar -xJf .carry/assets.tar.xz -C "$work"
. tests/gpu/setup.sh
render() {  # STAGE COUNT: the renderer leaves out what is there
  "$python" -c 'from pose_export.cli_render import main; main()' --assets "$work/assets" --stage "$1" --count "$2" \
    --out "$work/$1" --workers "$(nproc)"
}
render train "${COUNT:-12000}"
render validation "${VALIDATION:-500}"
goes_on=
[ ! -e "$work/$run/state.npz" ] || goes_on=--resume
"$python" -c 'from pose_export.cli_train import main; main()' --data "shards:$work/train" --val "shards:$work/validation" \
  --out "$work/$run" --workers "$(($(nproc) > 2 ? $(nproc) - 1 : 0))" $goes_on "$@"
cp "$work/$run"/{state.npz,weights.pth,curves.csv,curves.png} "$results/"
