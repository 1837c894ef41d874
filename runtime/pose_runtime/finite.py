"""Network outputs that are not finite are refused: they come from a broken graph or overflowing precision."""

from __future__ import annotations

import numpy as np

from pose_runtime.arrays import AnyArray
from pose_runtime.errors import EngineError


def check_finite(name: str, values: AnyArray) -> None:
    """Refuse NaN and infinity; no pose in them is real.

    A sum is not finite if a value is not; a finite array whose sum overflows is looked at once more.

    Args:
        name: of the tensor, for the message.
        values: any floats.

    Raises:
        EngineError: a value is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(dtype=np.float32)
        good = bool(np.isfinite(total) or np.isfinite(values.astype(np.float32, copy=False)).all())
    if not good:
        raise not_finite(name)


def not_finite(name: str) -> EngineError:
    """What is raised then."""
    return EngineError(f"network output {name!r} has values that are not finite: the graph or its precision is broken")
