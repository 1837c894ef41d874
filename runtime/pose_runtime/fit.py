"""Whether a graph is the one that a manifest speaks of."""

from __future__ import annotations

import numpy as np

from pose_runtime.engines import Engine
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.errors import BundleError
from pose_runtime.manifest import Manifest


def check_fit(manifest: Manifest, engine: Engine | DeviceEngine) -> None:
    """Raise BundleError unless the graph has the tensors that the manifest names, in fitting shapes.

    An engine on a GPU was built for one size and some batches, of the many that the manifest may allow.
    """
    wanted = manifest.input
    names = [spec.name for spec in engine.inputs]
    if names != [wanted.tensor]:
        raise BundleError(f"graph: got inputs {names}, the manifest wants only {wanted.tensor!r}")
    given = engine.inputs[0]
    is_built = isinstance(engine, DeviceEngine)
    width, height = (size or 64 for size in wanted.size_wh)
    if is_built and wanted.size_wh == (0, 0) and len(given.shape) == 4:
        height, width = (size or 64 for size in given.shape[2:])
    shape = (wanted.batch or (is_built and given.shape[0]) or 1, 1 if wanted.colour == "gray" else 3, height, width)
    if given.dtype not in (np.float32, np.float16) or not given.takes(shape):
        raise BundleError(f"graph: input {given.name!r} is {given}, the manifest wants floats {shape}")
    if wanted.batch == 0 and given.shape[0] is not None and not is_built:
        raise BundleError(f"graph: input {given.name!r} is {given}, the manifest wants any batch size")
    outputs = {spec.name: spec for spec in engine.outputs}
    for output in manifest.outputs:
        spec = outputs.get(output.tensor)
        if spec is None:
            raise BundleError(f"graph: got outputs {sorted(outputs)}, the manifest wants {output.tensor!r}")
        channels = spec.shape[1] if len(spec.shape) > 1 else 0
        if channels is not None and output.channels[1] > channels:
            wanted_channels = f"{output.channels[0]} to {output.channels[1]}"
            raise BundleError(f"graph: output {spec.name!r} is {spec}, the manifest wants channels {wanted_channels}")
