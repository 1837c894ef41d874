"""Frames with their people drawn on them, into an image, a folder of images or a video.

A file appears under its name when it is complete; until then, and after an error, there is at most a hidden file
`.NAME.part` beside it. An existing file is replaced, a file of the source never.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SinkError
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.draw import drawn
from pose_runtime.sources import Item, Source
from pose_runtime.sources.images import SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
_JPEG = (".jpg", ".jpeg")
_JPEG_QUALITY = 95


def open_save(path: Path, source: Source) -> Sink:
    """The sink for a path.

    Args:
        path: with a video's suffix, a video; with an image's suffix, one image, for a source of one; else a folder,
            made where it is missing: images keep their file names, a video's frames are numbered.
        source: whose frames will come.

    Raises:
        SinkError: the path does not suit the source, cannot be written, or is one of the source's files.
    """
    try:
        return _open(path, source)
    except OSError as error:  # such as a name that is too long, or a folder above that may not be entered
        raise SinkError(f"{path}: cannot write it: {error.strerror or error}") from error


def _open(path: Path, source: Source) -> Sink:
    suffix = path.suffix.lower()
    if path.is_dir():
        return ImageFolder(path, source)
    if suffix in VIDEO_SUFFIXES:
        refuse_source_file(path, source)
        return VideoFile(path, source.rate_hz)
    if suffix in SUFFIXES:
        if source.is_video or source.count != 1:
            raise SinkError(f"{path}: is one image, but there are more; name a folder or a {VIDEO_SUFFIXES[0]} file")
        refuse_source_file(path, source)
        return ImageFile(path)
    if suffix and not path.exists():
        known = ", ".join((*SUFFIXES, *VIDEO_SUFFIXES))
        raise SinkError(f"{path}: got the suffix {suffix}, wanted one of {known}, or a folder")
    return ImageFolder(path, source)


def refuse_source_file(path: Path, source: Source) -> None:
    """Raise SinkError if `path` is one of the files that are read."""
    if any(_same(path, file) for file in source.files):
        raise SinkError(f"{path}: is read from; name another file to write")


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one of them is not there
        return False


def write_image(path: Path, image: ByteArray) -> None:
    """Write uint8 (H, W, 3), B, G, R in the format of the suffix; the file appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix.lower() in _JPEG else []
        ok, data = cv2.imencode(path.suffix, image, options)
        if not ok:
            raise SinkError(f"{path}: cannot make an image of {image.shape[1]} x {image.shape[0]} pixels")
        part.write_bytes(data.tobytes())
        part.replace(path)
    except cv2.error as error:
        raise SinkError(f"{path}: cannot make the image: {error.err}") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SinkError(f"{path}: cannot write it: {error.strerror}") from error


class ImageFile(Sink):
    """One image."""

    def __init__(self, path: Path) -> None:
        check_folder(path)
        self._path = path

    def write(self, item: Item, poses: Poses) -> None:
        """Write the image."""
        write_image(self._path, drawn(item.frame, poses))


class ImageFolder(Sink):
    """An image per frame, under the name of its file; where two are alike, or for a video, with the frame's number.

    The format is that of the file; for a video JPEG, for a file whose suffix says nothing PNG.
    """

    def __init__(self, path: Path, source: Source) -> None:
        names = [file.name for file in source.files]
        self._path = path
        self._numbered = source.is_video or len(set(names)) < len(names)
        self._other_suffix = ".jpg" if source.is_video else ".png"
        self._sources = {file.resolve() for file in source.files}
        if not self._numbered:
            for name in names:  # before the first is written
                self._target(Path(name), 0)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{path}: cannot make this folder: {error.strerror}") from error

    def write(self, item: Item, poses: Poses) -> None:
        """Write the frame's image."""
        write_image(self._target(Path(item.name), item.index), drawn(item.frame, poses))

    def _target(self, name: Path, index: int) -> Path:
        stem = f"{name.stem}_{index:06d}" if self._numbered else name.stem
        suffix = name.suffix if name.suffix.lower() in SUFFIXES else self._other_suffix
        path = self._path / f"{stem}{suffix}"
        if path.resolve() in self._sources:
            raise SinkError(f"{path}: is read from; name another folder to write")
        return path


class VideoFile(Sink):
    """A video with the source's timestamps."""

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        check_folder(path)
        try:
            from pose_runtime.video import VideoWriter
        except ImportError as error:
            raise without_av(path, error) from error
        self._writer = VideoWriter(path, rate_hz)

    def write(self, item: Item, poses: Poses) -> None:
        """Add a frame."""
        self._writer.write(drawn(item.frame, poses), item.index, item.time_s)

    def close(self) -> None:
        """Finish the video and give it its name."""
        self._writer.close()

    def abandon(self) -> None:
        """Leave no video."""
        self._writer.abandon()


def without_av(path: Path, error: ImportError) -> SinkError:
    """What to say where videos cannot be written."""
    return SinkError(f"{path}: to write videos, {error.name or 'av'} is needed: pip install 'jetpose[live]'")


def check_folder(path: Path) -> None:
    """Raise SinkError if no file can be made at `path`."""
    folder = path.parent
    if not folder.is_dir():
        raise SinkError(f"{path}: no such folder: {folder}")
    if not os.access(folder, os.W_OK):
        raise SinkError(f"{path}: cannot write into {folder}")
