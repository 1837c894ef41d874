"""A stage: all that decides which synthetic photographs come out, as a typed TOML file."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pose_export.synthetic.scene import Direction
from pose_export.synthetic.split import Split
from pose_runtime.errors import ExportError
from pose_runtime.sources.images import in_folder
from pose_runtime.toml_files import parse_toml, read_small

DATA_VERSION = 2
"""Grows when the same stage gives other pictures, so that renderings of different kinds never mix."""

MAX_BYTES = 1 << 16
Side = Annotated[int, Meta(ge=32, le=2048)]


class Stage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which photographs there are.

    Attributes:
        count: how many.
        seed: all else follows from it.
        split: "validation" holds back clothes, hair, motion and backdrops that "train" never shows.
        size_wh: of the pictures.
        direction: what scenes are like.
    """

    count: Annotated[int, Meta(ge=1, le=10_000_000)]
    seed: Annotated[int, Meta(ge=0, le=(1 << 32) - 1)] = 1
    split: Split = "train"
    size_wh: tuple[Side, Side] = (384, 384)
    direction: Direction = Direction()

    def digest(self, assets: Path | None, backgrounds: Path | None) -> str:
        """Names what is rendered, 16 of 0-9 and a-f: the same for any `count`, which only says where it ends.

        Raises:
            SourceError: `backgrounds` cannot be read; names and sizes of the pictures in it belong to the digest.
        """
        tree = msgspec.to_builtins(msgspec.structs.replace(self, count=1))
        whose = [DATA_VERSION, tree, assets is None, backgrounds is None]
        if backgrounds is not None:
            whose += [[path.name, path.stat().st_size] for path in in_folder(backgrounds)]
        return hashlib.sha256(msgspec.json.encode(whose, order="deterministic")).hexdigest()[:16]


def stage_names() -> list[str]:
    """The stages that are shipped."""
    files = resources.files("pose_export.synthetic").joinpath("stages").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_stage(name: str) -> Stage:
    """A shipped stage by name, or the user's own by path; ExportError says what is wrong with it."""
    if name in stage_names():
        data = resources.files("pose_export.synthetic").joinpath("stages").joinpath(f"{name}.toml").read_bytes()
    else:
        data = read_small(
            Path(name), "stage", MAX_BYTES, hint=f"; shipped are {', '.join(stage_names())}", error=ExportError
        )
    tree = parse_toml(data, f"stage {name}", error=ExportError)
    try:
        return msgspec.convert(tree, Stage)
    except msgspec.ValidationError as error:
        raise ExportError(f"stage {name}: {error}") from error
