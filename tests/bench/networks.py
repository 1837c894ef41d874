"""Networks of the zoo with random weights, narrow enough to be timed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pose_runtime.manifest import Manifest


def network(name: str, arguments: Mapping[str, Any]) -> tuple[Manifest, bytes]:
    """A manifest and its graph, of any batch; `arguments` of the entry that are other than published."""
    from pose_calibration.graph_stats import load_onnx
    from pose_export import networks
    from pose_export.drawn import drawn_frames
    from pose_export.onnx_bundle import Options, Source, write_onnx_bundle
    from pose_export.presets import load_preset
    from pose_export.random_weights import Random, random_network
    from pose_export.to_onnx import export_onnx

    entry = networks.find(name)
    entry = msgspec.structs.replace(entry, arguments={**entry.arguments, **arguments})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(
            random_network(entry, Random())[0],
            input_name="image",
            output_names=entry.outputs,
            size_wh=entry.size_wh,
            dynamic_batch=True,
            path=path,
        )
        source = Source("random", "none", "0" * 64)
        out, options = Path(folder) / "a.pose", Options(batch=0)
        preset = load_preset(entry.preset)
        bundle = write_onnx_bundle(out, load_onnx(path), preset, source, drawn_frames()[:1], options)
        return bundle.manifest, bundle.graph_bytes("reference")
