"""A network by name and the weights of every stage as one bundle: a cascade, such as DeepPose's. Needs torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from pose_export import networks
from pose_export.model_bundle import Tell, export_model
from pose_export.random_weights import Random
from pose_export.request import Request
from pose_runtime.bundle import Bundle, as_part, write_bundle
from pose_runtime.errors import BundleError, ExportError
from pose_runtime.manifest import Stage


def export_cascade(
    name: str, checkpoint: Path | Random | None, stages: Sequence[Path | Random], request: Request, *, tell: Tell
) -> Bundle:
    """Export every stage as `export_model` does, and write the bundle that holds them all.

    Args:
        name: of the network; every stage has the same one, with weights of its own.
        checkpoint: weights of the first stage, as `export_model` takes them.
        stages: weights of those after it.
        request: the other options. Without a batch size the networks take any: all joints of a frame are one batch.
        tell: is told of each step.

    Raises:
        ExportError: as `export_model`, or the preset says nothing of a cascade.
        BundleError: a bundle stands there.
    """
    entry = networks.find(name)
    preset = request.resolve(entry.preset, entry.name, entry.skeleton)
    if preset.stage is None:
        raise ExportError(f"--stage: preset {request.preset or entry.preset} has no [stage] with torso and sigma")
    out = request.folder(entry.name)
    if out.exists() and not request.overwrite:  # before minutes of work
        raise BundleError(f"{out}: exists already; choose another name or ask to overwrite it")
    batch = 0 if request.batch is None else request.batch
    with tempfile.TemporaryDirectory() as folder:
        bundles = []
        for i, weights in enumerate((checkpoint, *stages)):
            tell(f"stage {i + 1}")
            detector = request.detector if i == 0 else None
            one = replace(request, out=Path(folder) / f"stage{i + 1}.pose", batch=batch, detector=detector)
            bundles.append(export_model(name, weights, one, tell=tell))
        return join_stages(out, bundles, preset.stage, overwrite=request.overwrite)


def join_stages(out: Path, bundles: Sequence[Bundle], stage: Stage, *, overwrite: bool = False) -> Bundle:
    """Write the bundle of a cascade.

    Args:
        out: the new bundle's folder.
        bundles: of one network each, in the order of the stages.
        stage: how each later stage's crops follow from the joints before.
        overwrite: replace a bundle that stands there.

    Raises:
        BundleError: the parts do not fit together, or the bundle cannot be written.
    """
    first, *later = bundles
    files = {name: first.file_bytes(name) for name in first.manifest.files}
    for i, bundle in enumerate(later):
        files |= as_part(bundle, f"stage{i + 2}")
    manifest = msgspec.structs.replace(first.manifest, stages=(stage,) * len(later))
    return write_bundle(out, manifest, files, overwrite=overwrite)
