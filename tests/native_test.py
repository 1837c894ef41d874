"""The native module whose algorithms run on several lanes, built apart from the release build.

`JETPOSE_NATIVE_TEST=$(tests/native/build.sh lanes) pytest` compares it with the release build; `make test` does.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from typing import Any

import pytest


@cache
def load(path: str) -> Any:
    """A test build's module, loaded once: it registers its types for the whole process."""
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
    return load(path)
