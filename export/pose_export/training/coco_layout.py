"""Where a COCO data set keeps its annotations and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pose_runtime.errors import ExportError

_MAX_NAME = 1024
_TRIED = 50
"""So many pictures are looked for before a folder is given up."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One keypoint file and the folders that its pictures may lie in, the likeliest first."""

    json: Path
    split: str
    folders: tuple[Path, ...]


def find_layout(text: str) -> Layout:
    """The annotations that `DIR`, `DIR:SPLIT` or `FILE.json` means.

    Annotations are looked for in `DIR/annotations` and in `DIR`, those named `*keypoints*` first.

    Raises:
        ExportError: nothing there, no annotations, or several and no split; the message lists them.
    """
    path, split = Path(text), None
    try:
        if not path.exists() and ":" in text:
            head, _, split = text.rpartition(":")
            path = Path(head)
        if path.is_file() and split is None:
            root = path.parent.parent if path.parent.name == "annotations" else path.parent
            return _layout(path, root)
        if not path.is_dir():
            raise ExportError(f"coco {path}: no such folder or file")
        candidates = _annotations(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no path can have
        raise ExportError(f"coco {text}: {getattr(error, 'strerror', None) or error}") from error
    chosen = [file for file in candidates if split in (None, _split(file), file.stem)]
    if len(chosen) == 1:
        return _layout(chosen[0], path)
    if not candidates:
        raise ExportError(f"coco {path}: has no annotations; wanted annotations/person_keypoints_*.json, or any .json")
    names = ", ".join(_split(file) for file in candidates)
    if split is None:
        raise ExportError(
            f"coco {path}: has several splits; choose one of them, as in coco:{path}:{_split(chosen[0])} ({names})"
        )
    raise ExportError(f"coco {path}: got the split {split!r}, wanted one of {names}")


def _annotations(root: Path) -> list[Path]:
    """JSON files that could be keypoint annotations: objects, not lists (which are results)."""
    for folder in (root / "annotations", root):
        files = sorted(folder.glob("*.json"))
        named = [file for file in files if "keypoints" in file.name]
        found = [file for file in named or files if _is_object(file)]
        if found:
            return found
    return []


def _is_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _split(path: Path) -> str:
    return path.stem.removeprefix("person_keypoints_")


def _layout(path: Path, root: Path) -> Layout:
    split = _split(path)
    folders = (root / split, root / "images" / split, root / "images", path.parent, root)
    return Layout(json=path, split=split, folders=tuple(dict.fromkeys(folders)))


def is_safe(name: str) -> bool:
    """Whether a picture's file name stays within its folder, whatever the system."""
    if not 0 < len(name) <= _MAX_NAME or "\0" in name or "\\" in name or ":" in name:
        return False
    parts = name.split("/")
    return parts[0] != "" and ".." not in parts and parts[-1] not in ("", ".")


def image_folder(layout: Layout, names: Sequence[str]) -> Path:
    """The folder of the layout in which pictures of these names lie.

    Raises:
        ExportError: none of them has any; the message lists the folders.
    """
    for folder in layout.folders:
        if any((folder / name).is_file() for name in names[:_TRIED]):
            return folder
    folders = ", ".join(str(folder) for folder in layout.folders)
    raise ExportError(f"{layout.json}: found none of its pictures (such as {names[0]}) in {folders}")
