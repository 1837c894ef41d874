"""The native module whose algorithms run on several lanes, built apart from the release build.

Build it with `cmake -S runtime/native -DJETPOSE_LANES=4 [-DJETPOSE_SANITIZE=thread]` and name its file in the
environment variable JETPOSE_NATIVE_TEST.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from typing import Any

import pytest


@cache
def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("_native_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def native_test() -> Any:
    """The module; skips the test, with the reason, where none was built."""
    path = os.environ.get("JETPOSE_NATIVE_TEST")
    if not path:
        pytest.skip("JETPOSE_NATIVE_TEST names no module built with JETPOSE_LANES")
    return _load(path)
