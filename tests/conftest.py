"""Test set-up: optionally the native code of a test build in place of the installed one.

JETPOSE_TEST_MODULE=path of a module that tests/native/build.sh made; tests/native/run.sh sets it.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator

import pytest

from native_test import load

if os.environ.get("JETPOSE_TEST_MODULE"):
    shim = types.ModuleType("pose_runtime._native")
    shim.native = load(os.environ["JETPOSE_TEST_MODULE"])  # type: ignore[attr-defined]
    sys.modules["pose_runtime._native"] = shim

from pose_runtime import plan_cache  # after the shim


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests prove stays out of this machine's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_cache, "SYSTEM_FOLDER", tmp_path_factory.mktemp("cache"))
        yield
