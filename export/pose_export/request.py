"""What one run of pose-export was asked for, and how an ONNX file meets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pose_calibration.graph_stats import load_onnx
from pose_export.onnx_bundle import Options, Quantise, Source, sha256_of, write_onnx_bundle
from pose_export.presets import Preset, parse_tree, read_tree
from pose_runtime.arrays import ByteArray
from pose_runtime.bundle import Bundle
from pose_runtime.manifest import Detector
from pose_runtime.toml_files import Tree


@dataclass(frozen=True, slots=True)
class Request:
    """All options but the network.

    Attributes:
        preset: a shipped one's name, or a file; None where the options say everything.
        change: applies the options to the preset's plain tree.
        out: of the bundle; None for NAME.pose in the current folder.
        size_wh, batch, simplify, min_oks, overwrite, quantise, detector: as in `onnx_bundle.Options`.
        frames: for check/.
        weights_source, licence: the user's words; None for the preset's, else the file's name and "unknown".
    """

    preset: str | None
    change: Callable[[Tree], None]
    out: Path | None
    size_wh: tuple[int, int] | None
    batch: int | None
    simplify: bool
    min_oks: float | None
    overwrite: bool
    quantise: Quantise | None
    detector: tuple[Bundle, Detector] | None
    frames: Sequence[ByteArray]
    weights_source: str | None
    licence: str | None

    def resolve(self, default_preset: str | None, network: str, skeleton: str | None = None) -> Preset:
        """The preset with all options applied; ExportError names what is missing or wrong."""
        name = self.preset or default_preset
        tree = {} if name is None else read_tree(name)
        if self.preset is None:
            tree["network"] = network
        if skeleton is not None:
            tree["skeleton"] = skeleton
        self.change(tree)
        return parse_tree(tree, f"preset {name}" if name else "options without --preset")

    def options(self) -> Options:
        """Those of `write_onnx_bundle`."""
        return Options(
            self.size_wh, self.batch, self.simplify, self.min_oks, self.overwrite, self.quantise, self.detector
        )

    def folder(self, name: str) -> Path:
        """Where the bundle goes."""
        return self.out if self.out is not None else Path(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.pose")


def export_file(path: Path, request: Request) -> Bundle:
    """An ONNX file as a bundle; raises as `write_onnx_bundle`."""
    preset = request.resolve(None, path.stem)
    model = load_onnx(path)
    defaults = preset.weights
    source = Source(
        source=request.weights_source or (defaults.source if defaults else path.name),
        licence=request.licence or (defaults.licence if defaults else "unknown"),
        sha256=sha256_of(path),
    )
    return write_onnx_bundle(request.folder(path.stem), model, preset, source, request.frames, request.options())
