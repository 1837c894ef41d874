"""The native operations, built for the best instruction set that this processor has."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def _best() -> Any:
    base = import_module("pose_runtime._native_base")
    if base.supports_v3():
        try:
            return import_module("pose_runtime._native_v3")
        except ImportError:  # not built for this architecture
            return base
    return base


native: Any = _best()
