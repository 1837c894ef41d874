"""Where the reference data lies: the folder `shared` beside the repository, for developers and CI only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """A path in the reference data; skips the test, with the reason, where it is absent."""
    root = Path(os.environ.get("JETPOSE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is not beside this checkout")
    return path
