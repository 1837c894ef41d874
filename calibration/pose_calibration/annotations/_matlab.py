"""MATLAB files (version 5, by scipy), which MPII, LSP, FLIC and JHMDB are published in. They hold no code.

MATLAB counts pixels from 1: whatever is read here is taken with `first_pixel=1`.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pose_calibration.annotations._model import Limits
from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.errors import PoseError

FIRST_PIXEL = 1.0

_MAX_BYTES = 1 << 29
_MAX_NUMBERS = 1 << 28


def load(path: Path, name: str, *, structs: bool = False) -> Any:
    """One variable of a MATLAB file; PoseError where it is missing or too large.

    structs: whether it is made of structs, which come as objects with attributes then, squeezed.
    """
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise PoseError(f"{path}: reading MATLAB files needs scipy; pip install 'jetpose[eval]'") from error
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PoseError(f"{path}: got {path.stat().st_size} bytes, wanted at most {_MAX_BYTES}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate variables; ours is asked for by name
            shapes = {variable: shape for variable, shape, _ in whosmat(str(path))}
            if name not in shapes:
                raise PoseError(f"{path}: has no variable {name!r}, only {', '.join(sorted(shapes))[:200] or 'none'}")
            if math.prod(shapes[name]) > _MAX_NUMBERS:
                raise PoseError(f"{path}: {name}: got shape {shapes[name]}, wanted at most {_MAX_NUMBERS} numbers")
            options = {"squeeze_me": True, "struct_as_record": False} if structs else {}
            return loadmat(str(path), variable_names=[name], **options)[name]
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror or error}") from error
    except PoseError:
        raise
    except Exception as error:  # whatever scipy's reader raises on damaged files; version 7.3 is NotImplementedError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PoseError(f"{path}: cannot read it as a MATLAB file of version 5 to 7: {reason[:200]}") from error


def numbers(path: Path, name: str, value: Any, shape: tuple[int | None, ...]) -> Float64Array:
    """`value` as float64 of that shape; None is any size, of which there may be `Limits.PEOPLE`."""
    try:
        array: AnyArray = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise PoseError(f"{path}: {name}: got no table of numbers, wanted {shape}") from None
    good = array.ndim == len(shape) and all(w in (None, n) for n, w in zip(array.shape, shape, strict=True))
    if not good or max(array.shape, default=0) > Limits.PEOPLE:
        raise PoseError(f"{path}: {name}: got shape {array.shape}, wanted {shape}")
    return array
