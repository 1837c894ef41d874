"""Which image of the CUDA kernels a GPU and its driver get, and what is said where none fits."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pose_runtime.errors import EngineError
from pose_runtime.gpu import kernels
from pose_runtime.gpu.kernels import choose_image, find_kernels, kernel_images, kernels_summary

ORIN, THOR, HOPPER, ADA, AMPERE, TURING, BLACKWELL = (8, 7), (11, 0), (9, 0), (8, 9), (8, 6), (7, 5), (12, 0)
RELEASE = ("cubin 87 12060", "cubin 90 13000", "cubin 110 13000", "ptx 75 12060")
BOARD6 = ("cubin 87 12060", "cubin 90 12060", "ptx 75 12060")  # what nvcc of JetPack 6 builds, and of JetPack 7:
BOARD7 = ("cubin 87 13000", "cubin 90 13000", "cubin 110 13000", "ptx 75 13000")


def write(folder: Path, *images: str) -> Path:
    """An index of images whose content is their own words."""
    listed = []
    for image in images:
        kind, sm, cuda = image.split()
        name = f"{cuda}.{sm}.{kind}"
        (folder / name).write_text(image)
        digest = hashlib.sha256(image.encode()).hexdigest()
        listed.append(
            {"file": name, "kind": kind, "sm": divmod(int(sm), 10), "cuda": int(cuda), "sha256": digest},
        )
    (folder / "index.json").write_text(json.dumps({"version": 1, "images": listed}))
    return folder


@pytest.mark.parametrize(
    ("images", "sm", "driver", "want"),
    [
        (RELEASE, ORIN, 12060, "cubin 87 12060"),  # JetPack 6.1, 6.2
        (RELEASE, ORIN, 13000, "cubin 87 12060"),  # JetPack 7.2
        (RELEASE, ORIN, 12020, "cubin 87 12060"),  # the same major version: cubins load, PTX would not
        (RELEASE, ORIN, 11040, None),
        (RELEASE, THOR, 13000, "cubin 110 13000"),
        (RELEASE, THOR, 12080, "ptx 75 12060"),  # a cubin of CUDA 13 does not load
        (RELEASE, HOPPER, 13000, "cubin 90 13000"),
        (RELEASE, HOPPER, 13010, "cubin 90 13000"),
        (RELEASE, HOPPER, 12080, "ptx 75 12060"),
        (RELEASE, HOPPER, 12040, None),
        (RELEASE, ADA, 13000, "ptx 75 12060"),  # sm_87 is Orin's alone
        (RELEASE, AMPERE, 12060, "ptx 75 12060"),
        (RELEASE, TURING, 12060, "ptx 75 12060"),
        (RELEASE, BLACKWELL, 13000, "ptx 75 12060"),
        (RELEASE, (10, 0), 12080, "ptx 75 12060"),
        (RELEASE, (10, 0), 12050, None),
        (BOARD6, ORIN, 12060, "cubin 87 12060"),
        (BOARD6, ORIN, 13000, "cubin 87 12060"),
        (BOARD6, THOR, 13000, "ptx 75 12060"),
        (BOARD7, ORIN, 13000, "cubin 87 13000"),
        (BOARD7, ORIN, 12060, None),
        (BOARD7, ADA, 13000, "ptx 75 13000"),
        (BOARD7, ADA, 12090, None),
        ((*RELEASE, *BOARD7), ORIN, 13000, "cubin 87 13000"),  # the newest compiler that the driver has
        ((*RELEASE, *BOARD7), ORIN, 12060, "cubin 87 12060"),
        ((*RELEASE, *BOARD7), ADA, 13000, "ptx 75 13000"),
        (("cubin 87 12060", "cubin 87 12090"), ORIN, 12060, "cubin 87 12060"),
        (("cubin 87 12060", "cubin 87 12090"), ORIN, 12080, "cubin 87 12060"),
        (("cubin 87 12060", "cubin 87 12090"), ORIN, 12020, "cubin 87 12090"),
        (("cubin 80 12000", "cubin 86 12000", "ptx 75 12060"), ADA, 12060, "cubin 86 12000"),
        (("cubin 80 12000", "cubin 86 12000"), AMPERE, 12060, "cubin 86 12000"),
        (("cubin 80 12000", "cubin 86 12000"), (8, 0), 12060, "cubin 80 12000"),
        (("cubin 80 12000", "cubin 86 12000"), ORIN, 12060, None),  # nor does another GPU's cubin run on Orin
        (("cubin 80 12000",), HOPPER, 12060, None),
        (("cubin 89 12000",), AMPERE, 12060, None),
        (("ptx 80 12000",), TURING, 12060, None),
        (("ptx 80 12000", "ptx 75 12060"), BLACKWELL, 12080, "ptx 80 12000"),
        (("ptx 80 12000", "ptx 75 12060"), TURING, 12080, "ptx 75 12060"),
    ],
)
def test_image_of_a_gpu_and_driver(
    images: tuple[str, ...], sm: tuple[int, int], driver: int, want: str | None, tmp_path: Path
) -> None:
    write(tmp_path, *images)
    if want is None:
        assert choose_image(kernel_images(tmp_path), sm, driver) is None
        with pytest.raises(EngineError, match=r"pip install --force-reinstall --no-deps \.$"):
            find_kernels(sm, driver, tmp_path)
    else:
        end = b"\0" if want.startswith("ptx") else b""
        assert find_kernels(sm, driver, tmp_path) == want.encode() + end
        write(tmp_path, *reversed(images))  # the order of the index says nothing
        assert find_kernels(sm, driver, tmp_path) == want.encode() + end


def test_messages_name_gpu_driver_and_what_there_is(tmp_path: Path) -> None:
    write(tmp_path, *RELEASE)
    with pytest.raises(EngineError) as caught:
        find_kernels(HOPPER, 12040, tmp_path)
    message = str(caught.value)
    assert "got sm_90 with a driver for CUDA 12.4" in message
    assert "this build has sm_87 (CUDA 12.6), sm_90 (CUDA 13.0), sm_110 (CUDA 13.0), PTX from sm_75 on" in message
    assert "\n" not in message
    with pytest.raises(EngineError, match="got a GPU of sm_72, wanted sm_75 or newer"):
        find_kernels((7, 2), 12060, tmp_path)


def test_a_build_without_kernels_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert kernel_images(folder) == ()
        assert "none, this build was made without a CUDA compiler" in kernels_summary(folder)
        with pytest.raises(EngineError, match=r"has no CUDA kernels; in a checkout .* with nvcc"):
            find_kernels(ORIN, 12060, folder)


def test_summary_names_every_image(tmp_path: Path) -> None:
    want = "CUDA kernels: sm_87 (CUDA 12.6), sm_90 (CUDA 13.0), sm_110 (CUDA 13.0), PTX from sm_75 on (CUDA 12.6)"
    assert kernels_summary(write(tmp_path, *RELEASE)) == want


def test_this_build_tells_what_it_has() -> None:
    command = [sys.executable, "-m", "pose_runtime.gpu.kernels"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (kernels_summary(), "")
    for image in kernel_images():  # and all of it is sound
        data = find_kernels(image.sm, image.cuda)
        assert data.startswith(b"\x7fELF") or b".version" in data[:1000]


def damaged(folder: Path, **changes: Any) -> None:
    tree = json.loads((folder / "index.json").read_text())
    tree["images"][0].update(changes)
    (folder / "index.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../secret"},
        {"file": "/etc/passwd"},
        {"file": "a/b.cubin"},
        {"file": ".hidden"},
        {"file": ""},
        {"file": "x\n"},
        {"kind": "fatbin"},
        {"sm": [8]},
        {"sm": [8, -7]},
        {"sm": "87"},
        {"cuda": 12.6},
        {"cuda": 10**9},
        {"sha256": "0" * 63},
        {"unknown": 1},
    ],
)
def test_a_strange_index_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    damaged(write(tmp_path, *RELEASE), **changes)
    with pytest.raises(EngineError, match=r"index\.json: damaged"):
        find_kernels(ORIN, 12060, tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"version": 2, "images": []}', b'{"version": 1}'])
def test_a_broken_index_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(EngineError, match=r"index\.json: damaged"):
        kernel_images(tmp_path)


def test_a_huge_index_or_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *RELEASE)
    monkeypatch.setattr(kernels, "MAX_IMAGE_BYTES", 4)
    with pytest.raises(EngineError, match=r"87\.cubin: got more than 4 bytes"):
        find_kernels(ORIN, 12060, tmp_path)
    (tmp_path / "index.json").write_bytes(b" " * (kernels.MAX_INDEX_BYTES + 1))
    with pytest.raises(EngineError, match=r"index\.json: got more than"):
        find_kernels(ORIN, 12060, tmp_path)


def test_a_changed_or_missing_image_is_refused(tmp_path: Path) -> None:
    image = write(tmp_path, *RELEASE) / "12060.87.cubin"
    image.write_text("cubin 87 12061")
    with pytest.raises(EngineError, match=r"12060\.87\.cubin: changed or damaged"):
        find_kernels(ORIN, 12060, tmp_path)
    image.unlink()
    with pytest.raises(EngineError, match=r"12060\.87\.cubin: No such file"):
        find_kernels(ORIN, 12060, tmp_path)
