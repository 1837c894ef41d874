"""Where the pictures for calibration come from: a folder, one picture, a video, a COCO set, or the bundled scenes."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pose_calibration.coco_pictures import is_coco, read_coco
from pose_calibration.picture_file import PictureFile
from pose_runtime.arrays import ByteArray
from pose_runtime.errors import CalibrationError, SourceError
from pose_runtime.geometry import Box
from pose_runtime.sources import Source, open_source
from pose_runtime.sources.images import read_image

COUNT = 64
"""Pictures that are enough for most networks."""
_SCENES = Path(__file__).parent / "scenes"
_SCENES_NAME = "the synthetic scenes that come with jetpose"
_FEW = 4  # pictures of which a third would measure too little
_NAMED = 5  # pictures that a line of a report lists


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture.

    Attributes:
        name: of its file, or of a video with the frame's number.
        image: uint8 (H, W, 3), B, G, R.
        boxes: of annotated people, in pixels.
        image_id: COCO's, where it comes from a COCO set.
    """

    name: str
    image: ByteArray
    boxes: tuple[Box, ...]
    image_id: int | None


class Pictures:
    """Chosen pictures, read one at a time, again at every iteration.

    Attributes:
        description: how many of which, in words, with the seed.
        left_out: one line for each picture that was drawn but cannot be read, shows one colour only or repeats another.
        names, boxes, image_ids: of the pictures, see `Picture`.
    """

    def __init__(self, files: Sequence[PictureFile], description: str, left_out: Sequence[str]) -> None:
        self._files = tuple(files)
        self.description, self.left_out = description, tuple(left_out)
        self.names = tuple(file.name for file in files)
        self.boxes = tuple(file.boxes for file in files)
        self.image_ids = tuple(file.image_id for file in files)

    def __len__(self) -> int:
        return len(self._files)

    def split(self, first: int) -> tuple[Pictures, Pictures]:
        """Two parts: `first` pictures, evenly spread, but at most a third; and the others. A handful stays together.

        Args:
            first: size of the first part, at least 1.
        """
        count = min(first, len(self) // 3)
        if count < _FEW:
            return self, self
        chosen = {i * len(self) // count for i in range(count)}
        parts = ([f for i, f in enumerate(self._files) if (i in chosen) == wanted] for wanted in (True, False))
        one, other = (Pictures(part, f"{len(part)} of {self.description}", self.left_out) for part in parts)
        return one, other

    def __iter__(self) -> Iterator[Picture]:
        """Read them; SourceError where one has vanished."""
        for file in self._files:
            yield Picture(file.name, read_image(file.path), file.boxes, file.image_id)


def bundled_scenes() -> tuple[Path, Path]:
    """COCO keypoint annotations of 256 rendered photographs of people, and the folder of the photographs."""
    return _SCENES / "annotations.json", _SCENES


def open_pictures(path: Path, *, count: int = COUNT, seed: int = 0, images: Path | None = None) -> Pictures:
    """Choose `count` pictures, at random or, of a video, evenly spaced.

    All that are drawn are read once. Those that cannot be read or tell nothing (one colour, the same pixels as another)
    are left out, and further ones take their place as long as there are any.

    Args:
        path: a picture, a folder of pictures, a pattern with *, a video, or a JSON file in COCO's format. Of a COCO
            set those in which people are annotated are taken, if there are any.
        count: at most so many.
        seed: the same seed gives the same pictures.
        images: folder of a COCO set's pictures; by default it is looked for beside the annotations.

    Raises:
        CalibrationError: not one usable picture, bad annotations, or a count under 1.
        SourceError: nothing there.
    """
    if count < 1:
        raise CalibrationError(f"calibration pictures: got a count of {count}, wanted 1 at least")
    if is_coco(path):
        files = read_coco(path, images)
        name = _SCENES_NAME if path == bundled_scenes()[0] else path.name
        return _sampled(files, f"with people of {name}" if files[0].boxes else f"of {name}", count, seed)
    with open_source(path) as source:
        if source.is_video:
            return _from_video(source, path, count)
        return _sampled([PictureFile(file, str(file)) for file in source.files], f"of {path.name}", count, seed)


def useless(pictures: Pictures, people: Sequence[int]) -> tuple[str, ...]:
    """Lines for the report: what was left out, and in which pictures nobody is found.

    Args:
        pictures: that were used.
        people: how many the FP32 network finds in each.
    """
    empty = [name for name, found in zip(pictures.names, people, strict=True) if found == 0]
    if not empty:
        return pictures.left_out
    listed = ", ".join(empty[:_NAMED]) + (", ..." if len(empty) > _NAMED else "")
    return (*pictures.left_out, f"the FP32 network finds nobody in {len(empty)} of {len(pictures)} pictures: {listed}")


# ---- choosing --------------------------------------------------------------------------------------------------


class _Sieve:
    """Tells useful pictures from others; remembers what it has seen."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._seen: dict[bytes, str] = {}

    def takes(self, file: PictureFile) -> bool:
        try:
            image = read_image(file.path)
        except SourceError as error:
            self.left_out.append(str(error).replace(str(file.path), file.name))
            return False
        if all((row == image[0, 0]).all() for row in image):
            self.left_out.append(f"{file.name}: is of one colour")
            return False
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        first = self._seen.setdefault(digest.digest(), file.name)
        if first != file.name:
            self.left_out.append(f"{file.name}: is the same as {first}")
        return first == file.name


def _sampled(files: Sequence[PictureFile], whose: str, count: int, seed: int) -> Pictures:
    sieve, chosen = _Sieve(), list[int]()
    for number in np.random.default_rng(seed).permutation(len(files)).tolist():
        if len(chosen) == count:
            break
        if sieve.takes(files[number]):
            chosen.append(number)
    if not chosen:
        raise _none(whose, sieve.left_out)
    if len(files) == 1:
        description = f"the picture {Path(files[0].name).name}"
    elif len(chosen) == len(files):
        description = f"all {len(files)} pictures {whose}"
    else:
        description = f"{len(chosen)} of {len(files)} pictures {whose}, seed {seed}"
    return Pictures([files[number] for number in sorted(chosen)], description, sieve.left_out)


def _none(whose: str, left_out: Sequence[str]) -> CalibrationError:
    return CalibrationError(
        f"calibration: none of {len(left_out)} pictures {whose} can be used: {'; '.join(left_out[:1])}; give others"
    )


# ---- video -----------------------------------------------------------------------------------------------------


def _from_video(video: Source, path: Path, count: int) -> Pictures:
    """Frames are kept in a temporary folder as long as the pictures are: to find them again costs as much as before."""
    folder = Path(tempfile.mkdtemp(prefix="jetpose-frames-"))
    sieve = _Sieve()
    try:
        kept, total = _evenly(video, folder, count, sieve.left_out)
        files = [PictureFile(file, f"{path} frame {index}") for index, file in kept]
        chosen = [file for file in files if sieve.takes(file)]
        if not chosen:
            raise _none(f"of {path.name}", sieve.left_out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    description = f"{len(chosen)} of {total} frames of {path.name}, evenly spaced"
    pictures = Pictures(chosen, description, sieve.left_out)
    weakref.finalize(pictures, shutil.rmtree, folder, ignore_errors=True)
    return pictures


def _evenly(video: Source, folder: Path, count: int, damage: list[str]) -> tuple[list[tuple[int, Path]], int]:
    """At most `count` frames (number, file) in equal steps, in one pass over a video of unknown length; its length.

    Every frame is kept until there are twice too many; then every other is dropped, and so on with doubled steps.
    """
    kept: list[tuple[int, Path]] = []
    step, total = 1, 0
    items: Iterator[Any] = iter(video)
    while True:
        try:
            item = next(items, None)
        except SourceError as error:
            damage.append(str(error))
            break
        if item is None:
            break
        total = item.index + 1
        if item.index % step:
            continue
        kept.append((item.index, _write_png(folder / f"{item.index}.png", item.frame)))
        if len(kept) > 2 * count:
            for _, file in kept[1::2]:
                file.unlink()
            kept, step = kept[::2], 2 * step
    number = min(count, len(kept))
    return [kept[(2 * i + 1) * len(kept) // (2 * number)] for i in range(number)], total


def _write_png(path: Path, frame: Any) -> Path:
    width, height = frame.size_wh
    image = frame.planes[0].reshape(height, width, 3)
    path.write_bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    return path
