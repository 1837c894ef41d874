# Sourced: jetpose from this checkout on a machine without network. Wants $python and $out (a folder); packages that the
# machine lacks come from .carry/wheels. Sets PYTHONPATH; false where the native part does not build (see $out/native.log).
"$python" -c 'import msgspec, rich, typer' 2> /dev/null || "$python" -m pip install -q --no-index --no-deps \
  --upgrade --target "$out/site" .carry/wheels/*.whl
export PYTHONPATH=$PWD/export:$PWD/calibration:$PWD/runtime:$(realpath -m "$out/site")
cmake -S runtime/native -B "$out/native" -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
  > "$out/native.log" 2>&1 && cmake --build "$out/native" -j "$(nproc)" >> "$out/native.log" 2>&1 &&
  cmake --install "$out/native" --prefix runtime >> "$out/native.log" 2>&1  # into runtime/pose_runtime, with the kernels
