"""Perspective cuts of panoramas, with the light that they were taken in."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops.base import Backdrop, Image, Random, held_out
from pose_export.synthetic.backdrops.detail import with_detail
from pose_export.synthetic.light import Light, from_radiance
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError
from pose_runtime.sources.images import in_folder, read_image

_MAX_BYTES = 1 << 28
_RADIANCE = "env_radiance.npz"


class Panoramas:
    """Equirectangular pictures of one folder; read when first wanted, then kept (1.5 MB each).

    Args:
        folder: has `NAME.jpg`, row 0 is up, and `env_radiance.npz`: `names` (n,) and `radiance_rgb` float32
            (n, h, w, 3), linear R, G, B, of the same directions. A picture without radiance is not used.
        wanted_held_out: the pictures of validation instead of those of training.

    Raises:
        ExportError: no pictures, or radiance that is damaged or of another form.
        SourceError: a folder or picture that cannot be read.
    """

    def __init__(self, folder: Path, wanted_held_out: bool = False) -> None:
        self._radiance = read_radiance(folder / _RADIANCE)
        files = [file for file in in_folder(folder) if file.stem in self._radiance]
        self.files = held_out(files, wanted_held_out)
        if not self.files:
            raise ExportError(f"{folder}: no panorama has its light in {_RADIANCE}")
        self._pictures: dict[str, tuple[Image, float]] = {}

    def draw(self, rng: Random, view: View, clear: float) -> Backdrop:
        """A cut in any direction, mirrored or not; sharper than the panorama is by made-up detail."""
        del clear
        name = self.files[int(rng.integers(len(self.files)))]
        yaw, mirrored = float(rng.random()), bool(rng.random() < 0.5)
        panorama, exposure = self._picture(name)
        image = with_detail(_cut(panorama, view, yaw, mirrored), rng, sharpened=0.5)
        radiance = self._radiance[name.stem]
        if mirrored:
            radiance, yaw = radiance[:, ::-1], 1 - yaw
        return Backdrop(image=image, light=_tamed(from_radiance(radiance, yaw, exposure)), floor=True)

    def _picture(self, file: Path) -> tuple[Image, float]:
        if file.stem not in self._pictures:
            picture = read_image(file)
            if picture.shape[1] > 4096:
                picture = cv2.resize(picture, (4096, 2048), interpolation=cv2.INTER_AREA).astype(np.uint8)
            self._pictures[file.stem] = picture, _exposure(picture, self._radiance[file.stem])
        return self._pictures[file.stem]


def read_radiance(path: Path) -> dict[str, NDArray[np.float32]]:
    """Radiance by name of the panorama: float32 (h, w, 3) each.

    Raises:
        ExportError: not there, damaged, too large, pickled, or of another form.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise ExportError(f"{path}: got {size} bytes unpacked, wanted at most {_MAX_BYTES}")
        with np.load(path, allow_pickle=False) as arrays:
            names, radiance = arrays["names"], arrays["radiance_rgb"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ExportError(f"{path}: cannot read the light of the panoramas: {error}") from error
    sized = radiance.ndim == 4 and radiance.shape[3] == 3 and min(radiance.shape) > 0 and radiance.dtype.kind == "f"
    if names.dtype.kind != "U" or names.shape != radiance.shape[:1] or not sized:
        got = f"names {names.dtype} {names.shape}, radiance_rgb {radiance.dtype} {radiance.shape}"
        raise ExportError(f"{path}: got {got}, wanted strings (n,) and floats (n, h, w, 3)")
    if not (np.isfinite(radiance).all() and radiance.min() >= 0):
        raise ExportError(f"{path}: radiance_rgb has values that are negative or no numbers")
    return {str(name): np.asarray(light, np.float32) for name, light in zip(names, radiance, strict=True)}


def _exposure(picture: Image, radiance: NDArray[np.float32]) -> float:
    """How the picture shows radiance: linear picture / radiance, where it is neither black nor burnt out."""
    height, width = radiance.shape[:2]
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    shown = (small.astype(np.float64) / 255).mean(axis=2) ** 2.2
    light = radiance.astype(np.float64).mean(axis=2)
    usable = (shown > 0.02) & (shown < 0.7) & (light > 1e-4)
    return float(np.median(shown[usable] / light[usable])) if usable.any() else 1.0


def _tamed(light: Light) -> Light:
    """As a photographer exposes for people: a matt white surface is neither far too dark nor far too bright."""
    normals = np.array([[0, 0.3, 0.954], [0.7, 0.3, 0.648], [-0.7, 0.3, 0.648]], np.float32)
    seen = max(float(light.shade(normals).mean()), 1e-6)
    factor = np.float32(np.clip(seen, 0.45, 1.3) / seen)
    return Light(
        direction=light.direction, colour=light.colour * factor, ambient=light.ambient * factor, hardness=light.hardness
    )


def _cut(panorama: Image, view: View, yaw: float, mirrored: bool) -> Image:
    """Sampled no finer than the panorama is, then enlarged: quicker than sampling every pixel, and as sharp."""
    height, width = panorama.shape[:2]
    factor = min(1.0, 1.3 * width / (2 * np.pi) / view.focal_px)
    small_wh = max(2, round(view.size_wh[0] * factor)), max(2, round(view.size_wh[1] * factor))
    factor = small_wh[1] / view.size_wh[1]
    x, y, z = cv2.split(View(small_wh, view.focal_px * factor, view.pitch, view.height).rays())
    if mirrored:
        x = -x
    longitude = cv2.phase(-z, x)
    latitude = cv2.phase(cv2.magnitude(x, z), y)
    latitude = np.where(latitude > np.pi, latitude - np.float32(2 * np.pi), latitude)
    columns = longitude * np.float32(width / (2 * np.pi)) + np.float32(yaw * width - 0.5)
    rows = np.clip(np.float32(height / 2 - 0.5) - latitude * np.float32(height / np.pi), 0, height - 1)
    cut = cv2.remap(panorama, columns % np.float32(width), rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(cv2.resize(cut, view.size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)
