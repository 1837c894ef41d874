"""What a release wheel carries: `make wheel` builds one and runs this on it."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import build_kernels
import pytest

from pose_runtime.gpu.kernels import find_kernels, kernel_images

MAX_BYTES = 4 << 20  # that all kernels add to the wheel
ELF, CUDA_MACHINE = b"\x7fELF", 190
ORIN, THOR, HOPPER, ADA = (8, 7), (11, 0), (9, 0), (8, 9)


@pytest.fixture(scope="module")
def wheel() -> Path:
    if "JETPOSE_WHEEL" not in os.environ:
        pytest.skip("JETPOSE_WHEEL names no wheel; make wheel builds and tests one")
    return Path(os.environ["JETPOSE_WHEEL"])


@pytest.fixture(scope="module")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / "pose_runtime"


def test_it_holds_kernels_beside_the_native_modules_and_nothing_else(wheel: Path, package: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert sum(one.compress_size for one in archive.infolist() if "/kernels/" in one.filename) < MAX_BYTES
    assert list(package.glob("_native_base.*.so"))
    folder = package / "kernels"
    images = kernel_images(folder)
    assert {path.name for path in folder.iterdir()} == {"index.json", *(image.file for image in images)}
    assert sorted(str(image) for image in images) == [
        "PTX from sm_75 on (CUDA 12.6)",
        "sm_110 (CUDA 13.0)",
        "sm_87 (CUDA 12.6)",
        "sm_90 (CUDA 13.0)",
    ]


@pytest.mark.parametrize(
    ("sm", "driver"),
    [(ORIN, 12060), (ORIN, 13000), (THOR, 13000), (HOPPER, 13000)],
    ids=["orin-jetpack6", "orin-jetpack7", "thor", "hopper"],
)
def test_every_board_gets_machine_code_of_every_kernel(sm: tuple[int, int], driver: int, package: Path) -> None:
    data = find_kernels(sm, driver, package / "kernels")
    assert data[:4] == ELF
    assert int.from_bytes(data[18:20], "little") == CUDA_MACHINE
    for kernel in build_kernels.declared():
        assert b".text." + kernel.encode() + b"\0" in data


@pytest.mark.parametrize("sm", [75, 86, 120])
def test_other_gpus_get_ptx_that_assembles(sm: int, package: Path, tmp_path: Path) -> None:
    """By the assembler that stands in for the driver's."""
    data = find_kernels(divmod(sm, 10), 12060, package / "kernels")
    assert data.endswith(b"\0")
    assert b"\0" not in data[:-1]
    (tmp_path / "kernels.ptx").write_bytes(data[:-1])
    assembler = build_kernels.find_nvcc().resolve().with_name("ptxas")
    if not assembler.exists():
        pytest.skip("no ptxas beside nvcc")
    # Lowest effort: whether it is accepted, not how good it gets.
    command = [assembler, "-O0", f"-arch=sm_{sm}", "-o", tmp_path / "out.cubin", tmp_path / "kernels.ptx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = (tmp_path / "out.cubin").read_bytes()
    assert all(f".text.{kernel}".encode() in names for kernel in build_kernels.declared())
