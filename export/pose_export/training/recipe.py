"""A recipe: all that decides what a run computes, as a typed TOML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pose_export.training.ema import Average
from pose_export.training.optimiser import Optimiser
from pose_export.training.schedule import Schedule
from pose_runtime.errors import ExportError
from pose_runtime.toml_files import Tree, explained, parse_toml, read_small

MAX_BYTES = 1 << 20
Side = Annotated[int, Meta(ge=16, le=4096)]
Spec = Annotated[str, Meta(min_length=1, max_length=4096)]

LOOSE = ("steps", "schedule.", "validation.", "log_every", "save_every_s", "weights")
"""Keys (and tables) that may differ when a run is resumed: they change no step that has been done."""


class Validation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the averaged weights are measured on.

    Attributes:
        data: one source, as the training data; None is no validation.
        every: steps between two measurements; the end of the run is always measured.
        images: of the data, the first ones; 0 is all.
    """

    data: Spec | None = None
    every: Annotated[int, Meta(ge=1, le=1 << 40)] = 1000
    images: Annotated[int, Meta(ge=0, le=1 << 30)] = 200


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run.

    Attributes:
        model: network by name.
        data: sources of records, each with an optional share: `coco:DIR`, `shards:DIR@0.5`, `synthetic`.
        steps: of the whole run.
        batch: images per step.
        size_wh: width and height that the network sees; None is the size that it is registered with.
        seed: of weights, data and augmentation.
        init: checkpoint to start from, by name and shape; None is random weights.
        qat: INT8 plan of the network's export, whose roundings the network trains with; None trains without.
        method: parameters of targets and losses.
        augment: parameters of the augmentation.
        optimiser, schedule, ema, validation: see there.
        log_every: steps between two rows of the curves.
        save_every_s: seconds between two state files.
        weights: precision of the delivered file.
    """

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    data: Annotated[tuple[Spec, ...], Meta(min_length=1, max_length=64)]
    steps: Annotated[int, Meta(ge=1, le=1 << 40)]
    batch: Annotated[int, Meta(ge=1, le=4096)] = 16
    size_wh: tuple[Side, Side] | None = None
    seed: Annotated[int, Meta(ge=0, le=(1 << 32) - 1)] = 0
    init: str | None = None
    qat: str | None = None
    method: dict[str, Any] = {}
    augment: dict[str, Any] = {}
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    ema: Average = Average()
    validation: Validation = Validation()
    log_every: Annotated[int, Meta(ge=1, le=1 << 40)] = 20
    save_every_s: Annotated[float, Meta(ge=0, le=86400)] = 120.0
    weights: Literal["float32", "float16"] = "float32"


def recipe_names() -> list[str]:
    """Networks with a shipped recipe."""
    folder = resources.files(__name__.rpartition(".")[0]).joinpath("recipes")
    if not folder.is_dir():
        return []
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def shipped_tree(model: str) -> Tree:
    """The plain tree of the recipe shipped for a network; only its name where there is none."""
    if model not in recipe_names():
        return {"model": model}
    name = f"recipes/{model}.toml"
    return parse_toml(
        resources.files(__name__.rpartition(".")[0]).joinpath(name).read_bytes(), f"recipe {model}", error=ExportError
    )


def read_tree(path: Path) -> Tree:
    """The plain tree of the user's own recipe; ExportError where it cannot be read or is no TOML."""
    return parse_toml(read_small(path, "recipe", MAX_BYTES, error=ExportError), f"recipe {path}", error=ExportError)


def put(tree: Tree, values: Mapping[str, Any]) -> None:
    """Set the keys (`optimiser.lr`) whose values are not None: options override the file."""
    for key, value in values.items():
        if value is None:
            continue
        *tables, last = key.split(".")
        table = tree
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ExportError(f"recipe: {name} is no table")
        table[last] = value


def parse(tree: Tree, where: str) -> Recipe:
    """The recipe in a plain tree; ExportError names the key that is missing, unknown or wrong."""
    try:
        return msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise ExportError(f"{where}: {explained(error)}") from error


def differences(before: Tree, now: Tree) -> list[str]:
    """What of two recipes' plain trees differs and may not: `batch: 16 before, 32 now`."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{key}: {old.get(key)} before, {new.get(key)} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(LOOSE)
    ]


def plain(recipe: Recipe) -> Tree:
    """The recipe as JSON types."""
    tree: Tree = msgspec.to_builtins(recipe)
    return tree


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
