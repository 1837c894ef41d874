"""The public API: complete, and free until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pose_runtime

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "pycuda", "av", "cv2", "pose_export", "pose_calibration")


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_import_is_light() -> None:
    code = "import sys, time; t = time.perf_counter(); import pose_runtime; t = time.perf_counter() - t;"
    loaded = fresh(code + f"print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"
    assert min(float(fresh(code + "print(t)")) for _ in range(3)) < 0.3


def test_api_without_heavy_libraries() -> None:
    used = "pose_runtime.Pipeline, pose_runtime.load_bundle, pose_runtime.decode, pose_runtime.Frame"
    assert fresh(f"import sys, pose_runtime; {used}; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("name", pose_runtime.__all__)
def test_all_is_real(name: str) -> None:
    fresh(f"import pose_runtime; assert {name!r} in dir(pose_runtime); pose_runtime.{name}")


def test_all_is_complete() -> None:
    public = {name for module in pose_runtime._HOMES.values() for name in module}
    assert sorted(public | {"decode", "__version__"}) == sorted(pose_runtime.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        pose_runtime.nonsense  # noqa: B018


def test_version() -> None:
    assert pose_runtime.__version__[0].isdigit() or pose_runtime.__version__ == "unknown"
