"""The CUDA kernels of this build: images compiled ahead of time, and which of them a GPU and its driver can load.

They lie in `kernels/` beside the native modules, made in the same build (`deploy/build_kernels.py`), so that both mean
the same parameters. A build without a CUDA compiler has none: `python -m pose_runtime.gpu.kernels` says what there is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pose_runtime._native import native
from pose_runtime.errors import EngineError

MAX_INDEX_BYTES = 64 << 10
MAX_IMAGE_BYTES = 64 << 20
REBUILD = (
    "in a checkout of jetpose on this machine, with nvcc on PATH or in /usr/local/cuda/bin "
    "and not newer than the driver: pip install --force-reinstall --no-deps ."
)
OLDEST_SM = (7, 5)
"""The kernels' PTX is for this architecture; CUDA 13 and TensorRT 10 know none before it."""

_TEGRA = frozenset({(8, 7), (11, 0)})
"""Orin and Thor. Binary compatibility holds neither between Tegra and other GPUs nor from one Tegra to the next
(CUDA C++ Programming Guide, "Binary Compatibility"), so a cubin for one of these runs on it alone."""

Kind = Literal["cubin", "ptx"]
Number = Annotated[int, msgspec.Meta(ge=0, le=99)]


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All kernels, compiled once.

    Attributes:
        file: its name in the folder.
        kind: "cubin", machine code of one architecture, or "ptx", from which a driver makes any newer one's.
        sm: the architecture: (8, 7) is sm_87.
        cuda: version of the compiler's CUDA as drivers count it: 12060 is 12.6.
        sha256: of the file, in hexadecimal digits.
    """

    file: Annotated[str, msgspec.Meta(pattern=r"^\w[\w.-]{0,99}\Z")]
    kind: Kind
    sm: tuple[Number, Number]
    cuda: Annotated[int, msgspec.Meta(ge=1000, le=99990)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

    def __str__(self) -> str:
        """Such as `sm_87 (CUDA 12.6)`."""
        name = _sm(self.sm) if self.kind == "cubin" else f"PTX from {_sm(self.sm)} on"
        return f"{name} (CUDA {_version(self.cuda)})"


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    images: Annotated[tuple[Image, ...], msgspec.Meta(max_length=64)]


def kernels_folder() -> Path:
    """Where this build's kernels lie, if it has any."""
    return Path(native.__file__).with_name("kernels")


def kernel_images(folder: Path | None = None) -> tuple[Image, ...]:
    """The images of this build; none where it was made without a CUDA compiler.

    Raises:
        EngineError: the index is damaged.
    """
    path = (folder or kernels_folder()) / "index.json"
    if not path.exists():
        return ()
    data = _read(path, MAX_INDEX_BYTES)
    try:
        return msgspec.json.decode(data, type=_Index).images
    except msgspec.DecodeError as error:  # ValidationError is one
        raise EngineError(f"{path}: damaged: {error}; {REBUILD}") from error


def find_kernels(sm: tuple[int, int], driver: int, folder: Path | None = None) -> bytes:
    """The image that this GPU's driver should load, for cuModuleLoadDataEx (pycuda's `module_from_buffer`).

    Args:
        sm: the GPU's compute capability, (8, 7) for Orin.
        driver: what cuDriverGetVersion says, 12060 for CUDA 12.6.
        folder: where the kernels lie; by default this build's own.

    Returns:
        A cubin, or PTX that ends with NUL; verified.

    Raises:
        EngineError: this build has no kernels, none for this GPU and driver, or damaged ones.
    """
    folder = folder or kernels_folder()
    if sm < OLDEST_SM:
        raise EngineError(f"CUDA kernels: got a GPU of {_sm(sm)}, wanted {_sm(OLDEST_SM)} or newer; decode on the CPU")
    images = kernel_images(folder)
    if not images:
        raise EngineError(f"this build of jetpose has no CUDA kernels; {REBUILD}")
    image = choose_image(images, sm, driver)
    if image is None:
        has = ", ".join(map(str, images))
        got = f"{_sm(sm)} with a driver for CUDA {_version(driver)}"
        raise EngineError(f"CUDA kernels: got {got}, this build has {has}; {REBUILD}")
    data = _read(folder / image.file, MAX_IMAGE_BYTES)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise EngineError(f"{folder / image.file}: changed or damaged; {REBUILD}")
    return data if image.kind == "cubin" else data + b"\0"


def choose_image(images: tuple[Image, ...], sm: tuple[int, int], driver: int) -> Image | None:
    """The best image for a GPU and driver (see `find_kernels`), None if it can load none.

    A cubin before PTX, whose compilation takes the driver seconds; then one whose CUDA the driver has before a newer
    one of the same major version; then the nearest architecture, then the newest compiler.
    """
    fitting = [image for image in images if _loads(image, sm, driver)]
    return max(fitting, key=lambda it: (it.kind == "cubin", it.cuda <= driver, it.sm, it.cuda), default=None)


def _loads(image: Image, sm: tuple[int, int], driver: int) -> bool:
    if image.kind == "ptx":  # its language grows with each CUDA
        return image.sm <= sm and image.cuda <= driver
    same_binary = image.sm[0] == sm[0] and image.sm[1] <= sm[1] and not _TEGRA & {image.sm, sm}
    # Machine code loads on any driver of the major version ("minor version compatibility") and on all later ones.
    return (image.sm == sm or same_binary) and image.cuda // 1000 <= driver // 1000


def kernels_summary(folder: Path | None = None) -> str:
    """One line: the images of this build, or that it has none and what to do. Raises EngineError on a damaged index."""
    images = kernel_images(folder)
    if not images:
        return f"CUDA kernels: none, this build was made without a CUDA compiler; to have them, {REBUILD}"
    return f"CUDA kernels: {', '.join(map(str, images))}"


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror or error}; {REBUILD}") from error
    if len(data) > limit:
        raise EngineError(f"{path}: got more than {limit} bytes; {REBUILD}")
    return data


def _sm(sm: tuple[int, int]) -> str:
    return f"sm_{sm[0]}{sm[1]}"


def _version(cuda: int) -> str:
    return f"{cuda // 1000}.{cuda % 1000 // 10}"


if __name__ == "__main__":
    print(kernels_summary())
