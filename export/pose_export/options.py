"""Options of the command line, each as a change to a preset's plain tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import ExportError
from pose_runtime.manifest import Detector
from pose_runtime.skeletons import BOX2
from pose_runtime.toml_files import Tree

# What `--resize RULE` alone means; further `,KEY=VALUE` change it.
_RULES: dict[str, Tree] = {
    "stretch": {"interpolation": "bilinear", "round_pixels": True},
    "letterbox": {"interpolation": "bilinear", "round_pixels": True, "pad": 0.0, "anchor": "centre"},
    "short_side": {"base": 512, "round_pixels": True},
    "crop": {"enlarge": 1.25, "convention": "hrnet", "round_pixels": True},
}
# What `--detector BUNDLE` alone means: as SimpleBaseline and HRNet score people and leave out doubles.
_DETECTOR: Tree = {
    "every": 1,
    "min_score": 0.3,
    "max_people": 20,
    "rescore": "box",
    "min_keypoint": 0.2,
    "nms_oks": 0.9,
}
_OUTPUT = re.compile(r"(?P<role>[a-z]+)=(?P<tensor>.+?)(:(?P<first>\d{1,6})-(?P<last>\d{1,6}))?")


def set_input(
    tree: Tree,
    *,
    tensor: str | None = None,
    colour: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    resize: str | None = None,
    pad: float | None = None,
) -> None:
    """Change the input. `mean` and `std` are three numbers with commas, or one for all channels."""
    entry: Tree = tree.setdefault("input", {})
    for key, text in (("mean", mean), ("std", std)):
        if text is not None:
            entry[key] = _triple(f"--{key}", text)
    for key, value in (("tensor", tensor), ("colour", colour)):
        if value is not None:
            entry[key] = value
    if resize is not None:
        rule, *changes = resize.split(",")
        if rule not in _RULES:
            raise ExportError(f"--resize: got {rule!r}, wanted one of {', '.join(_RULES)}")
        entry["resize"] = {"rule": rule, **_RULES[rule], **_assignments("--resize", changes)}
        entry.pop("resize_fixed", None)
    if pad is not None:
        rules = [entry[key] for key in ("resize", "resize_fixed") if "pad" in entry.get(key, {})]
        if not rules:
            raise ExportError("--pad: goes with --resize letterbox only")
        for each in rules:
            each["pad"] = pad


def set_decoder(tree: Tree, changes: Sequence[str]) -> None:
    """Change the decoder by `KEY=VALUE`; another family starts from nothing."""
    values = _assignments("--decoder", changes)
    entry: Tree = tree.setdefault("decoder", {})
    if values.get("family", entry.get("family")) != entry.get("family"):
        entry.clear()
    entry.update(values)


def set_refine(tree: Tree, refine: str) -> None:
    """How peaks are refined below a pixel, where the decoder takes one per heatmap."""
    entry: Tree = tree.setdefault("decoder", {})
    if entry.get("family") != "heatmap":
        raise ExportError(f"--refine: goes with decoders of family heatmap, got {entry.get('family', 'none')}")
    entry["refine"] = refine


def set_outputs(tree: Tree, outputs: Sequence[str]) -> None:
    """Replace the outputs by `ROLE=TENSOR` or `ROLE=TENSOR:FIRST-LAST`, channels counted from 0, both included."""
    if outputs:
        tree["outputs"] = [_output(text) for text in outputs]


def detector(text: str) -> tuple[Bundle, Detector]:
    """`BUNDLE`, a folder or the name of one that comes with jetpose, perhaps with `,KEY=VALUE` of `Detector` behind."""
    name, *changes = text.split(",")
    try:
        how = msgspec.convert({**_DETECTOR, **_assignments("--detector", changes)}, Detector)
    except msgspec.ValidationError as error:
        raise ExportError(f"--detector: {error}") from error
    bundle = load_bundle(name)
    if bundle.manifest.skeleton.names != BOX2.names:
        found = bundle.manifest.skeleton.name
        raise ExportError(f"--detector: {name} finds {found}; wanted a bundle of skeleton {BOX2.name}")
    return bundle, how


def size_wh(text: str) -> tuple[int, int]:
    """`WxH`, or one number for a square; `dynamic` as (0, 0), any size."""
    if text == "dynamic":
        return 0, 0
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise ExportError(f"--size: got {text!r}, wanted WIDTHxHEIGHT, such as 432x368, or dynamic")
    width = int(match[1])
    height = int(match[2] or width)
    if not (0 < width <= 8192 and 0 < height <= 8192):
        raise ExportError(f"--size: got {width}x{height}, wanted 1 to 8192 pixels each way")
    return width, height


def batch_size(text: str) -> int:
    """`N`; `dynamic` as 0, any number."""
    if text == "dynamic":
        return 0
    if not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= 1024:
        raise ExportError(f"--batch: got {text!r}, wanted 1 to 1024 or dynamic")
    return int(text)


def _triple(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ExportError(f"{option}: got {text!r}, wanted three numbers with commas between") from error
    if len(numbers) not in (1, 3):
        raise ExportError(f"{option}: got {len(numbers)} numbers, wanted 3, or 1 for all channels")
    return numbers * 3 if len(numbers) == 1 else numbers


def _assignments(option: str, changes: Sequence[str]) -> Tree:
    """`KEY=VALUE` each; a VALUE that is JSON is taken as such, anything else is text."""
    values: Tree = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not key or not equals:
            raise ExportError(f"{option}: got {change!r}, wanted KEY=VALUE")
        values[key] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return text


def _output(text: str) -> Tree:
    match = _OUTPUT.fullmatch(text)
    if not match:
        raise ExportError(f"--output: got {text!r}, wanted ROLE=TENSOR or ROLE=TENSOR:FIRST-LAST")
    output: Tree = {"role": match["role"], "tensor": match["tensor"]}
    if match["first"] is not None:
        output["channels"] = [int(match["first"]), int(match["last"]) + 1]
    return output
