"""The native operations, built for the best instruction set that this processor has."""

from __future__ import annotations

from typing import Any

from pose_runtime import _native_base


def _best() -> Any:
    if _native_base.supports_v3():
        try:
            from pose_runtime import _native_v3
        except ImportError:  # built for one instruction set only
            return _native_base
        return _native_v3
    return _native_base


native: Any = _best()
