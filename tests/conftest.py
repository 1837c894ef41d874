"""Test set-up: optionally the native code of a test build in place of the installed one.

JETPOSE_TEST_MODULE=path of a `_native_test` module built with sanitizers or several lanes (tests/native/run.sh).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types


def _replace_native(path: str) -> None:
    spec = importlib.util.spec_from_file_location("_native_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shim = types.ModuleType("pose_runtime._native")
    shim.native = module  # type: ignore[attr-defined]
    sys.modules["pose_runtime._native"] = shim


if os.environ.get("JETPOSE_TEST_MODULE"):
    _replace_native(os.environ["JETPOSE_TEST_MODULE"])
