"""Where frames come from: image files, folders of them, video files."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path

from pose_runtime.errors import SourceError
from pose_runtime.sources import _still
from pose_runtime.sources._base import Item, Source

__all__ = ["Item", "Source", "open_source"]


def open_source(name: str | os.PathLike[str], *, on_bad: Callable[[SourceError], None] | None = None) -> Source:
    """The source of a path.

    Args:
        name: an image file, a video file, a folder (its images in natural order, other files and sub-folders left
            out), or a pattern with *, ? or [] of image files. A file's content decides what it is.
        on_bad: called for each image of a folder or pattern that cannot be read, which is then skipped and counted in
            `skipped`; None raises instead.

    Returns:
        An open source; the caller closes it.

    Raises:
        SourceError: nothing there, or it can be read neither as an image nor as a video.
    """
    try:
        return _open(Path(name), on_bad)
    except OSError as error:  # such as a name that is too long, or a folder above that may not be entered
        raise SourceError(f"{name}: cannot read it: {error.strerror or error}") from error


def _open(path: Path, on_bad: Callable[[SourceError], None] | None) -> Source:
    from pose_runtime.sources import images  # OpenCV, which `import pose_runtime` shall not load

    if path.is_dir():
        return images.Images(images.in_folder(path), on_bad)
    if not path.exists() and any(c in str(path) for c in "*?["):
        found = [Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file()]  # noqa: PTH207
        if not found:
            raise SourceError(f"{path}: no file matches this pattern")
        return images.Images(sorted(found, key=images.natural), on_bad)
    if _is_still(path):
        return images.Images([path])
    return _open_video(path)


def _is_still(path: Path) -> bool:
    if not path.is_file():
        raise SourceError(f"{path}: {'neither a file nor a folder' if path.exists() else 'no such file or folder'}")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise SourceError(f"{path}: cannot read it: {error.strerror}") from error
    if not head:
        raise SourceError(f"{path}: the file is empty")
    from pose_runtime.sources.images import SUFFIXES

    return _still.is_image(head) or path.suffix.lower() in SUFFIXES


def _open_video(path: Path) -> Source:
    try:
        from pose_runtime.video import Video
    except ImportError as error:
        hint = "pip install 'jetpose[live]'"
        raise SourceError(f"{path}: no image; to read videos, {error.name or 'av'} is needed: {hint}") from error
    return Video(path)
