"""A network by name as a bundle: weights from a checkpoint or a download, to ONNX, to a bundle. Needs torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from pose_calibration.graph_stats import load_onnx
from pose_export import networks
from pose_export.checkpoints import load_weights
from pose_export.download import PACKAGE, fetch
from pose_export.networks import Entry
from pose_export.onnx_bundle import Source, sha256_of, write_onnx_bundle
from pose_export.random_weights import Random, random_network
from pose_export.request import Request
from pose_export.to_onnx import compare, export_onnx
from pose_runtime.bundle import Bundle
from pose_runtime.errors import ExportError
from pose_runtime.version import version

INPUT = "image"

Tell = Callable[[str], None]
"""Takes a line about what is going on."""


def export_model(name: str, checkpoint: Path | Random | None, request: Request, *, tell: Tell) -> Bundle:
    """Build, fill, export, compare with PyTorch, and write the bundle.

    Args:
        name: as `networks.find` takes.
        checkpoint: the weights; None downloads the published ones, Random makes some up.
        request: the other options. Without a size the graph has the one that the weights were trained for; without a
            batch size it takes one input, or any number where a detector may find so many people.
        tell: is told of each step.

    Raises:
        ExportError: unknown name, weights that do not fit or cannot be fetched, a size that the network cannot take.
    """
    entry = networks.find(name)
    size_wh = entry.size_wh if request.size_wh is None else request.size_wh
    if any(side % entry.step for side in size_wh):
        raise ExportError(f"--size: got {size_wh[0]}x{size_wh[1]}, {entry.name} wants multiples of {entry.step}")
    preset = request.resolve(entry.preset, entry.name, entry.skeleton)
    network, source = _filled(entry, checkpoint, request, tell)
    batch = (0 if request.detector else 1) if request.batch is None else request.batch
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        tell(f"exporting {entry.name}")
        export_onnx(
            network,
            input_name=INPUT,
            output_names=entry.outputs,
            size_wh=size_wh,
            dynamic_batch=batch != 1,
            path=file,
        )
        compare(network, file, output_names=entry.outputs, size_wh=size_wh)
        model = load_onnx(file)
    options = replace(request.options(), size_wh=size_wh, batch=batch)
    tell("running the check frames")
    return write_onnx_bundle(request.folder(entry.name), model, preset, source, request.frames, options)


def _filled(entry: Entry, checkpoint: Path | Random | None, request: Request, tell: Tell) -> tuple[nn.Module, Source]:
    """The network with its weights, and what is known of them."""
    if isinstance(checkpoint, Random):
        return random_network(entry, checkpoint)
    path, source = _weights(entry, checkpoint, request, tell)
    network = networks.build(entry)
    load_weights(network, path, entry.names)
    return network, source


def _weights(entry: Entry, checkpoint: Path | None, request: Request, tell: Tell) -> tuple[Path, Source]:
    """The checkpoint's path and what is known of it: a given file's licence is unknown unless the user says it."""
    if checkpoint is not None:
        origin, licence, path = checkpoint.name, "unknown", checkpoint
    else:
        if not entry.sources:
            raise ExportError(f"{entry.name}: its authors published no weights; train some and give --checkpoint FILE")
        published = next((source for source in entry.sources if source.algorithm), entry.sources[0])
        if published.url.startswith(PACKAGE):
            origin = f"jetpose {version()}, {published.file}"
        else:
            tell(f"fetching {published.file} from {published.url}")
            origin = published.url
        licence, path = published.licence, fetch(published)
    return path, Source(request.weights_source or origin, request.licence or licence, sha256_of(path))
