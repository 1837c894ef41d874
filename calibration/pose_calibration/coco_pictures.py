"""The pictures of a COCO set, with people's boxes: just what calibration needs of it."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pose_calibration.accuracy import PERSON
from pose_calibration.picture_file import PictureFile
from pose_runtime.errors import CalibrationError
from pose_runtime.geometry import Box

_MAX_BYTES = 1 << 30
_TRIED = 50  # pictures that are looked for before a folder is given up


class _Image(Struct):
    id: int
    file_name: Annotated[str, Meta(min_length=1, max_length=1024)]


class _Annotation(Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Set(Struct):
    images: list[_Image]
    annotations: list[_Annotation]


def is_coco(path: Path) -> bool:
    """Whether a path is that of annotations."""
    return path.suffix.lower() == ".json"


def read_coco(path: Path, images: Path | None) -> list[PictureFile]:
    """The pictures in which people are annotated, or all where there are none, in the file's order.

    Args:
        path: JSON in COCO's format.
        images: folder of the pictures. None: the likeliest of COCO's layouts that has some of them.

    Raises:
        CalibrationError: the file cannot be read, is no such JSON, or names pictures outside of the folder or that are
            not there.
    """
    content = _read(path)
    boxes: dict[int, list[Box]] = defaultdict(list)
    for annotation in content.annotations:
        if annotation.category_id == PERSON and not annotation.iscrowd and _is_box(annotation.bbox):
            boxes[annotation.image_id].append(annotation.bbox)
    wanted = [image for image in content.images if image.id in boxes] or content.images
    for image in wanted:
        if not _is_safe(image.file_name):
            raise CalibrationError(f"{path}: picture {image.file_name[:80]!r} is no file of the folder")
    if not wanted:
        raise CalibrationError(f"{path}: has no pictures")
    folder = _folder(path, images, [image.file_name for image in wanted])
    return [
        PictureFile(folder / image.file_name, image.file_name, tuple(boxes[image.id]), image.id) for image in wanted
    ]


def _read(path: Path) -> _Set:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CalibrationError(f"{path}: got {path.stat().st_size} bytes, wanted at most {_MAX_BYTES}")
        return msgspec.json.decode(path.read_bytes(), type=_Set)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{path}: no COCO annotations: {error}") from error


def _is_box(box: Box) -> bool:
    return all(math.isfinite(value) for value in box) and box[2] > 0 and box[3] > 0


def _is_safe(name: str) -> bool:
    """Whether a file name stays within its folder."""
    parts = name.split("/")
    return parts[0] != "" and ".." not in parts and not set(name) & {"\0", "\\", ":"}


def _folder(path: Path, images: Path | None, names: list[str]) -> Path:
    root, split = path.parent.parent, path.stem.removeprefix("person_keypoints_")
    tried = [path.parent, root / split, root / "images" / split, root / "images"] if images is None else [images]
    for folder in tried:
        if any((folder / name).is_file() for name in names[:_TRIED]):
            return folder
    looked = ", ".join(str(folder) for folder in tried)
    raise CalibrationError(f"{path}: found none of its pictures (such as {names[0][:80]!r}) in {looked}")
