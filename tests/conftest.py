"""Test set-up: optionally the native code of a test build in place of the installed one.

JETPOSE_TEST_MODULE=path of a module that tests/native/build.sh made; tests/native/run.sh sets it.
"""

from __future__ import annotations

import os
import sys
import types

from native_test import load

if os.environ.get("JETPOSE_TEST_MODULE"):
    shim = types.ModuleType("pose_runtime._native")
    shim.native = load(os.environ["JETPOSE_TEST_MODULE"])  # type: ignore[attr-defined]
    sys.modules["pose_runtime._native"] = shim
