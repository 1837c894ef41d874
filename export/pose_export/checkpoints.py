"""Checkpoint files into networks, without running anything that a file may contain.

A checkpoint is a pickle, and a pickle can call any function. `torch.load(weights_only=True)` refuses what it does not
know; published files often hold such things beside the weights (training logs, configurations). Those files are read a
second time by `_inert`, where everything but tensors becomes a placeholder.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pose_export import _inert
from pose_export.caffemodel import SUFFIX, read_caffemodel
from pose_export.networks import Names
from pose_runtime.errors import ExportError

MAX_BYTES = 4 << 30
_WRAPPERS = ("state_dict", "best_state_dict", "model")
_PREFIXES = ("module.", "1.", "model.", "backbone.", "keypoint_head.", "head.")
"""DataParallel, the HigherHRNet authors' float16 wrapper, other wrappers, mmpose (0.x keypoint_head, 1.x head)."""
_IGNORED = (r"data_preprocessor\.mean", r"data_preprocessor\.std")
"""mmpose 1.x: pre-processing, which the preset states."""
AS_THEY_ARE = Names()


class MisfitError(ExportError):
    """A checkpoint of another network; `tensors` are what it holds."""

    def __init__(self, message: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(message)
        self.tensors = tensors


def load_weights(network: nn.Module, path: Path, names: Names = AS_THEY_ARE) -> None:
    """Give `network` the weights of the checkpoint file, as float32; ExportError where they do not fit exactly.

    `names` says how the checkpoint calls them.
    """
    try:
        weights = fit(read_checkpoint(path), network.state_dict(), names)
    except MisfitError as error:
        raise MisfitError(f"{path}: {error}", error.tensors) from None
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error.__cause__
    network.load_state_dict(weights)


def load_fitting(network: nn.Module, path: Path, names: Names = AS_THEY_ARE) -> list[str]:
    """Give `network` what fits of the checkpoint file, by name and shape; the rest keeps its values.

    `names` says how the checkpoint calls its tensors.

    Returns:
        Lines on what was loaded and what was not.

    Raises:
        ExportError: the file cannot be read, nothing in it fits, or a value that fits is NaN or infinite.
    """
    wanted = network.state_dict()
    try:
        renamed = _rename(read_checkpoint(path), wanted, names)
        fitting = {
            name: tensor.to(wanted[name].dtype)
            for name, tensor in renamed.items()
            if name in wanted and not _misfit(tensor, wanted[name])
        }
        if not fitting:
            raise ExportError("nothing in the checkpoint fits this network by name and shape")
        _check_finite(fitting)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error.__cause__
    network.load_state_dict(fitting, strict=False)
    other = [_shapes(name, renamed[name], wanted[name]) for name in renamed if name in wanted and name not in fitting]
    lines = (
        _listing("not in the checkpoint:", (name for name in wanted if name not in renamed)),
        _listing("of another shape:", other),
        _listing("not in the network:", (name for name in renamed if name not in wanted)),
    )
    return [f"{len(fitting)} of {len(wanted)} tensors loaded", *filter(None, lines)]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint file by the names they have there; no code of the file runs."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ExportError(f"cannot read the checkpoint: {error.strerror}") from error
    if not path.is_file():
        raise ExportError("not a file; wanted a PyTorch checkpoint")
    if size > MAX_BYTES:
        raise ExportError(f"{size} bytes; a checkpoint may have {MAX_BYTES}")
    if path.suffix == SUFFIX:
        return {name: torch.from_numpy(array) for name, array in read_caffemodel(path).items()}
    try:
        _check_container(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _state_dict(_load(path))
    except ExportError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"damaged or truncated checkpoint ({reason}); fetch it again") from error


def _check_container(path: Path, size: int) -> None:
    """Only PyTorch's zip and its older plain pickle: not TorchScript, tar files, web pages, zip bombs."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ExportError("the checkpoint is empty; fetch it again")
    if head.lstrip().startswith(b"<"):
        raise ExportError("a web page, not a checkpoint; download the file itself (a browser may be needed)")
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if sum(member.file_size for member in members) > size or any(member.compress_type for member in members):
            raise ExportError("the archive declares more bytes than the file has; not a PyTorch checkpoint")
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise ExportError("a TorchScript archive; wanted a checkpoint with a state dict")
    elif not head.startswith(_inert.LEGACY_MAGIC):
        raise ExportError("not a PyTorch checkpoint; wanted a file written by torch.save")


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # something besides tensors and plain values; which exception depends on PyTorch's version
        return _inert.load(path)


def _numpy_globals() -> list[Any]:
    """What a NumPy number or array in a checkpoint (an epoch, a best score) is made of."""
    functions = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    named = [
        (function, f"numpy.{core}.multiarray.{name}")
        for name, function in functions.items()
        for core in ("core", "_core")  # before and since NumPy 2
    ]
    dtypes = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if name not in ("ObjectDType", "VoidDType")]
    return [*named, np.dtype, np.ndarray, *dict.fromkeys(dtypes)]


def _state_dict(content: object) -> dict[str, Tensor]:
    """The tensors of a bare state dict, or of one inside the usual wrappers."""
    for _ in range(3):  # {"model": {"state_dict": …}} has been seen
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if isinstance(content, Mapping):
        named = {key: _tensor(value) for key, value in content.items() if isinstance(key, str)}
        tensors = {key: value for key, value in named.items() if value is not None}
        if tensors:
            return tensors
    keys = [key for key in content if isinstance(key, str)][:5] if isinstance(content, Mapping) else []
    among = f" with {', '.join(keys)}" if keys else ""
    raise ExportError(f"no state dict in the checkpoint: got {type(content).__name__}{among}"[:300])


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, _inert.View):
        return value.tensor()
    return value if isinstance(value, Tensor) else None


def fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Names = AS_THEY_ARE) -> dict[str, Tensor]:
    """Rename and convert `tensors` to the names, shapes and dtypes of `wanted`, a network's state dict.

    Float tensors of any precision become float32. Batch norm's counters may be missing (PyTorch before 0.4.1).
    """
    renamed = _rename(tensors, wanted, names)
    for name in wanted:
        if name.endswith("num_batches_tracked"):
            renamed.setdefault(name, torch.zeros((), dtype=torch.int64))
    misfits = [_shapes(name, got, wanted[name]) for name, got in renamed.items() if _misfit(got, wanted.get(name))]
    problems = [
        _listing("missing", (name for name in wanted if name not in renamed)),
        _listing("unexpected", (name for name in renamed if name not in wanted)),
        _listing("of another shape", misfits),
    ]
    if any(problems):
        raise MisfitError("the checkpoint is of another network: " + "; ".join(filter(None, problems)), tensors)
    weights = {name: renamed[name].to(tensor.dtype) for name, tensor in wanted.items()}
    _check_finite(weights)
    return weights


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ExportError(f"the checkpoint's weights are damaged: {_listing('NaN or Inf', broken)}")


def _rename(tensors: Mapping[str, Tensor], wanted: Iterable[str], names: Names) -> dict[str, Tensor]:
    """The tensors by the network's names, without those that nothing needs."""
    converted = convert_names(tensors, wanted, names)
    return {converted[name]: tensor for name, tensor in tensors.items() if name in converted}


def convert_names(names: Iterable[str], wanted: Iterable[str], how: Names = AS_THEY_ARE) -> dict[str, str]:
    """Each name, but those that nothing needs, to the network's.

    First as `how` says; then without the prefixes of wrappers and other code bases, where that gives one of `wanted`.
    """
    known = set(wanted)
    ignored = [re.compile(pattern) for pattern in (*_IGNORED, *how.ignored)]
    kept = [name for name in names if not any(pattern.fullmatch(name) for pattern in ignored)]
    converted = {name: _strip(_substitute(name, how.renamed), known) for name in kept}
    name, count = max(Counter(converted.values()).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ExportError(f"the checkpoint has {count} tensors that would become {name!r}")
    return converted


def _substitute(name: str, renamed: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in renamed:
        name = re.sub(pattern, replacement, name)
    return name


def _strip(name: str, known: set[str]) -> str:
    rest = name
    while rest not in known:
        prefix = next((prefix for prefix in _PREFIXES if rest.startswith(prefix)), None)
        if prefix is None:
            return name
        rest = rest[len(prefix) :]
    return rest


def _misfit(tensor: Tensor, wanted: Tensor | None) -> bool:
    if wanted is None:
        return False
    return tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point()


def _shapes(name: str, got: Tensor, wanted: Tensor) -> str:
    return f"{name} {_shape(got)} (wanted {_shape(wanted)})"


def _shape(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape)) or 'scalar'} {str(tensor.dtype).removeprefix('torch.')}"


def _listing(what: str, names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{what} {', '.join(name[:120] for name in found[:3])}{more}" if found else ""
