"""Engines run a bundle's graph. One module per library, imported only when it is asked for."""

from __future__ import annotations

import importlib
import re

from pose_runtime.engines._base import Engine, TensorSpec
from pose_runtime.engines._external import has_external_data
from pose_runtime.errors import EngineError

__all__ = ["ENGINES", "Engine", "TensorSpec", "check_device", "cuda_ordinal", "open_engine"]

ENGINES = {"onnxruntime": "cpu"}
"""Engine name -> the extra of jetpose that installs its library."""

_MAX_THREADS = 1024


def open_engine(
    name: str, graph: bytes, *, device: str = "auto", threads: int | None = None, as_written: bool = False
) -> Engine:
    """Load a graph.

    Args:
        name: one of `ENGINES`.
        graph: the ONNX file's bytes.
        device: `auto` or `cpu`. `cuda:N` is refused: engines on a GPU are opened by `open_pipeline`.
        threads: processor threads of one run; None for one per physical core.
        as_written: compute pairs of QuantizeLinear and DequantizeLinear in floating point, one after the other: for a
            graph that was made for another executor, whose types the integer kernels here may not have.

    Returns:
        An open engine; the caller closes it.

    Raises:
        EngineError: unknown name or device, the library is not installed, or the graph cannot be loaded.
    """
    if name not in ENGINES:
        raise EngineError(f"engine: got {name!r}, wanted one of {', '.join(ENGINES)}")
    check_device(device)
    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise EngineError(f"threads: got {threads}, wanted 1 to {_MAX_THREADS}")
    if has_external_data(graph):
        raise EngineError("graph: has weights in other files; keep all in one ONNX file")
    try:
        module = importlib.import_module(f"pose_runtime.engines.{name}")
    except ImportError as error:
        hint = f"pip install 'jetpose[{ENGINES[name]}]'"
        raise EngineError(f"engine {name}: cannot import {error.name or name} ({error}); {hint}") from error
    engine: Engine = module.open_graph(graph, threads=threads, as_written=as_written)
    return engine


def check_device(device: str) -> None:
    """Refuse a device that the engines here do not run on."""
    ordinal = cuda_ordinal(device)
    if ordinal is not None:
        raise EngineError(f"device {device}: this engine runs on the CPU; use --device cpu or auto")


def cuda_ordinal(device: str) -> int | None:
    """The number of the GPU that is asked for, None for `auto` and `cpu`; EngineError for anything else."""
    if device in ("auto", "cpu"):
        return None
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise EngineError(f"device: got {device!r}, wanted auto, cpu or cuda:N")
    return int(match[1] or 0)
