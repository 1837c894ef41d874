"""Presets: all that a graph does not say of itself, such as colours, what an output means, and how to decode it.

A preset is a TOML file, shipped in this folder or the user's own. Unknown keys are errors and nothing that changes
results has a default. Options of the command line change the plain tree before it becomes a `Preset`.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pose_runtime.decode import Decoder
from pose_runtime.errors import ExportError
from pose_runtime.geometry import Resize
from pose_runtime.manifest import Channel, Mean, Role, Stage, Std, Text
from pose_runtime.skeletons import Skeleton
from pose_runtime.toml_files import Tree, parse_toml, read_small

MAX_BYTES = 1 << 20


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, unknown keys are errors."""


class PresetInput(_Base, frozen=True, kw_only=True):
    """The input as `manifest.Input` has it.

    Attributes:
        tensor: its name; None takes the graph's only input.
        resize_fixed: the rule for a graph of fixed size, where `resize` is one for graphs of any size.
    """

    colour: Literal["rgb", "bgr", "gray"]
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Std, Std, Std]
    resize: Resize
    resize_fixed: Resize | None = None
    tensor: Text | None = None


class PresetOutput(_Base, frozen=True, kw_only=True):
    """One output of the graph and what it is.

    Attributes:
        role: as in the manifest.
        tensor, position: its name, or its place among the graph's outputs; exactly one of them.
        channels: first (included) and last (excluded); None is all of them.
        per_keypoint: `channels` count whole sets of keypoints: (1, 2) are channels K to 2K.
        optional: leave it out where the graph lacks it.
    """

    role: Role
    tensor: Text | None = None
    position: Annotated[int, Meta(ge=0, le=64)] | None = None
    channels: tuple[Channel, Channel] | None = None
    per_keypoint: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        if (self.tensor is None) == (self.position is None):
            raise ValueError("wanted either tensor or position")
        if self.channels and self.channels[0] >= self.channels[1]:
            raise ValueError(f"channels: got {self.channels}, wanted first below last")


class PresetWeights(_Base, frozen=True, kw_only=True):
    """Where weights of this kind come from when the user says nothing else."""

    source: Text
    licence: Text


class Preset(_Base, frozen=True, kw_only=True):
    """All that a graph does not say of itself.

    Attributes:
        skeleton: a shipped one's name or a whole one.
        stage: how a cascade's later networks of this kind get their crops; None where there is no such cascade.
    """

    network: Text
    skeleton: str | Skeleton
    input: PresetInput
    outputs: Annotated[tuple[PresetOutput, ...], Meta(min_length=1, max_length=64)]
    decoder: Decoder
    weights: PresetWeights | None = None
    stage: Stage | None = None


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_tree(name: str) -> Tree:
    """The plain tree of a shipped preset, or of the user's own TOML file.

    Raises:
        ExportError: no such preset or file, or no TOML.
    """
    if name in preset_names():
        data = resources.files(__name__).joinpath(f"{name}.toml").read_bytes()
    else:
        data = _read_own(Path(name))
    return parse_toml(data, f"preset {name}", error=ExportError)


def _read_own(path: Path) -> bytes:
    try:
        exists = path.is_file()
    except OSError as error:
        raise ExportError(f"preset {path}: {error.strerror or error}") from error
    if not exists:
        close = difflib.get_close_matches(str(path), preset_names(), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ExportError(f"preset {path}: no such file; {hint}shipped: {', '.join(preset_names())}")
    return read_small(path, "preset", MAX_BYTES, error=ExportError)


def parse_tree(tree: Tree, where: str) -> Preset:
    """The preset in a plain tree; ExportError names the field that is missing, unknown or wrong."""
    try:
        return msgspec.convert(tree, Preset)
    except msgspec.ValidationError as error:
        what, _, field = str(error).rpartition(" - at ")
        place = field.strip("`") if what else "$"
        raise ExportError(f"{where}: {place}: {what or error}") from error


def load_preset(name: str) -> Preset:
    """A shipped preset by name, or the user's own by path."""
    return parse_tree(read_tree(name), f"preset {name}")
