"""A bundle: the folder `NAME.pose/` in which a network travels.

    manifest.json      see `manifest.py`
    reference.onnx     graphs by role, see `manifest.Graph`
    check/*.png        frames with known poses
    detector/          another network with a part in this: a whole bundle, whose files this manifest lists, too

Written whole or not at all, never changed afterwards. Loading trusts nothing: every file is listed with its SHA-256,
nothing else may be there, nothing is a link.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pose_runtime.errors import BundleError
from pose_runtime.folder import hash_file, new_folder, read_file, walk, write_files
from pose_runtime.manifest import MANIFEST, GraphRole, Manifest
from pose_runtime.manifest_check import parse_manifest
from pose_runtime.networks import DEFAULT, bundle_path, no_such_bundle
from pose_runtime.skeletons import BOX2

MAX_MANIFEST_BYTES = 16 << 20
MAX_FILE_BYTES = 2 << 30
"""Largest single file: ONNX is protobuf, which ends at 2 GiB."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were all verified when it was loaded, and are again whenever one is read.

    Attributes:
        path: of the folder.
        manifest: what it says of itself.
        digest: SHA-256 of manifest.json, which lists the hash of every other file: it identifies the bundle.
    """

    path: Path
    manifest: Manifest
    digest: str

    def file_bytes(self, name: str) -> bytes:
        """A listed file, read once; what was read has the listed hash. Raises BundleError."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}: has no file {name}")
        data = read_file(self.path, name, MAX_FILE_BYTES)
        _compare(self.path / name, hashlib.sha256(data).hexdigest(), self.manifest.files[name])
        return data

    def manifest_bytes(self) -> bytes:
        """The manifest that the bundle was loaded from. Raises BundleError: it was changed since."""
        data = read_file(self.path, MANIFEST, MAX_MANIFEST_BYTES)
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise BundleError(f"{self.path / MANIFEST}: changed since the bundle was loaded")
        return data

    def graph_bytes(self, role: GraphRole) -> bytes:
        """A graph's ONNX, verified; give these bytes to the engine. Raises BundleError."""
        return self.file_bytes(self._graph_file(role))

    def graph_path(self, role: GraphRole) -> Path:
        """Where a graph lies, verified now; for tools that take only paths (a file can change after this)."""
        name = self._graph_file(role)
        _compare(self.path / name, hash_file(self.path, name, MAX_FILE_BYTES), self.manifest.files[name])
        return self.path / name

    def part(self, name: str) -> Bundle:
        """The bundle in one of `manifest.parts`; it opens, builds and proves itself as any. Raises BundleError."""
        if name not in self.manifest.parts:
            raise BundleError(f"{self.path}: has no part {name}")
        data = self.file_bytes(f"{name}/{MANIFEST}")
        return Bundle(self.path / name, _parse_part(data, self, name), hashlib.sha256(data).hexdigest())

    @property
    def parts(self) -> dict[str, Bundle]:
        """All of them, by name. Raises BundleError."""
        return {name: self.part(name) for name in self.manifest.parts}

    def _graph_file(self, role: GraphRole) -> str:
        graph = self.manifest.graphs.get(role)
        if graph is None:
            raise BundleError(f"{self.path}: has no graph {role}, only {', '.join(self.manifest.graphs)}")
        return graph.file


def load_bundle(bundle: str | os.PathLike[str] = DEFAULT) -> Bundle:
    """Open and verify a bundle.

    Args:
        bundle: its folder, a link to it, or the name of a network that comes with jetpose (see `bundled`).

    Returns:
        The bundle. Where a link was given, `path` is the folder that it led to: if the link is pointed elsewhere, this
        stays the bundle that was verified.

    Raises:
        BundleError: one line that names the file and the field: no bundle, another version, a wrong or unknown value,
            a file that is missing, changed, truncated, unlisted, a link or absurdly large.
    """
    folder = bundle_path(bundle)
    while True:
        before = _identity(folder)
        try:
            return _load(folder)
        except BundleError:
            if _identity(folder) == before:
                raise  # else it was overwritten while it was read: read the new one


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder stands at this path now."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _load(folder: Path) -> Bundle:
    try:
        if not folder.is_dir():
            if folder.exists():
                raise BundleError(f"{folder}: no folder; a bundle is NAME.pose/")
            raise BundleError(no_such_bundle(folder))
        if folder.is_symlink():
            folder = folder.resolve()
    except OSError as error:  # such as a name that is too long, or a folder above that may not be entered
        raise BundleError(f"{folder}: {error.strerror or error}") from error
    data = read_file(folder, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data, str(folder / MANIFEST))
    for name in walk(folder):
        if name != MANIFEST and name not in manifest.files:
            raise BundleError(f"{folder / name}: is not listed in {MANIFEST} $.files")
    for name, digest in manifest.files.items():
        _compare(folder / name, hash_file(folder, name, MAX_FILE_BYTES), digest)
    bundle = Bundle(folder, manifest, hashlib.sha256(data).hexdigest())
    for part in manifest.parts:
        bundle.part(part)
    return bundle


def _parse_part(data: bytes, whole: Bundle, name: str) -> Manifest:
    """The manifest of a part: it lists what the whole one lists in its folder, and fits what it is for."""
    path, prefix = whole.path / name, f"{name}/"
    part = parse_manifest(data, str(path / MANIFEST))
    listed = {file: digest for file, digest in whole.manifest.files.items() if file.startswith(prefix)}
    del listed[prefix + MANIFEST]
    if listed != {prefix + file: digest for file, digest in part.files.items()}:
        raise BundleError(f"{path / MANIFEST}: $.files: the whole bundle's {MANIFEST} lists others in {prefix}")
    if part.parts:
        raise BundleError(f"{path / MANIFEST}: has parts of its own; wanted one network")
    skeleton = BOX2 if name == "detector" else whole.manifest.skeleton
    if part.skeleton.names != skeleton.names:
        raise BundleError(f"{path / MANIFEST}: $.skeleton: got {part.skeleton.name}, wanted {skeleton.name} for {name}")
    return part


def as_part(bundle: Bundle, name: str) -> dict[str, bytes]:
    """All files of a bundle by the names that they have as part `name` of another. Raises BundleError."""
    files = {f"{name}/{file}": bundle.file_bytes(file) for file in bundle.manifest.files}
    return {f"{name}/{MANIFEST}": bundle.manifest_bytes(), **files}


def write_bundle(
    path: str | Path, manifest: Manifest, files: Mapping[str, bytes], *, overwrite: bool = False
) -> Bundle:
    """Write a bundle and load it: it appears at `path` whole and verified, or not at all.

    Args:
        path: the new folder; missing parents are made.
        manifest: complete but for `files`, which is computed here.
        files: every other file by its name inside the bundle (`reference.onnx`, `check/0.png`).
        overwrite: replace a bundle that stands at `path`, in one step. Anything else is never replaced.

    Raises:
        BundleError: the parts do not fit together, `path` exists, or it cannot be written.
    """
    folder = Path(path)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = msgspec.structs.replace(manifest, files=hashes)
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{folder / MANIFEST}: would have {len(data)} bytes, wanted at most {MAX_MANIFEST_BYTES}")
    parse_manifest(data, str(folder / MANIFEST))  # before anything is written
    with new_folder(folder, overwrite=overwrite) as temporary:
        write_files(temporary, {**files, MANIFEST: data})
        written = load_bundle(temporary)
    return Bundle(folder, written.manifest, written.digest)


def _compare(path: Path, got: str, wanted: str) -> None:
    if got != wanted:
        raise BundleError(f"{path}: changed or damaged: SHA-256 is {got[:12]}…, the manifest says {wanted[:12]}…")
