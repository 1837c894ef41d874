"""ONNX Runtime on the CPU. The only module that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from pose_runtime.arrays import AnyArray
from pose_runtime.engines._base import Engine, TensorSpec
from pose_runtime.errors import EngineError

VERSION = str(ort.__version__)
"""Of the library."""

_NAME = "onnxruntime"
_QUIET = 4  # only fatal messages: what fails comes back as an exception, once
_MAX_BINDINGS = 8  # input shapes remembered; networks of any size see few, and outputs of one can be large
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

ort.set_default_logger_severity(_QUIET)


class _Bound(NamedTuple):
    """The arrays of one set of input shapes, tied to the session: ONNX Runtime reads and writes them in place."""

    binding: Any
    inputs: dict[str, AnyArray]
    outputs: dict[str, AnyArray]


class OnnxRuntimeEngine(Engine):
    """A graph in ONNX Runtime's CPU provider.

    Outputs are written into arrays made at the first run of each set of input shapes; after that nothing is allocated
    here. Where the shapes of the outputs do not follow from those of the inputs, ONNX Runtime allocates in every run.

    Args:
        graph: the ONNX file's bytes, without external data.
        threads: that one run uses; None for one per physical core.
        as_written: make no integer kernels of pairs of QuantizeLinear and DequantizeLinear.

    Raises:
        EngineError: the graph is damaged, or has operators, types or an opset that this ONNX Runtime does not have.
    """

    def __init__(self, graph: bytes, *, threads: int | None = None, as_written: bool = False) -> None:
        options = ort.SessionOptions()
        if as_written:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # Between runs its threads sleep: spinning, they would take the processor from pre-processing, decoding and
        # other networks (two in turn on two cores took 1.5 times as long each).
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"engine {_NAME}: cannot load the graph: {_one_line(error)}") from error
        super().__init__(_NAME, _specs(session.get_inputs()), _specs(session.get_outputs()))
        self._session: Any = session
        self._names = [spec.name for spec in self.outputs]
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = _QUIET
        self._bound: dict[tuple[tuple[int, ...], ...], _Bound] = {}
        # Open where the inputs are fixed: how much a detector finds depends on the picture.
        fixed = all(size is not None for spec in self.inputs for size in spec.shape[1:])
        self._varies = fixed and any(None in spec.shape[1:] for spec in self.outputs)

    def _infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        shapes = tuple(inputs[spec.name].shape for spec in self.inputs)
        try:
            if self._varies:
                results = self._session.run(self._names, dict(inputs), self._run_options)
                return dict(zip(self._names, results, strict=True))
            bound = self._bound.get(shapes)
            if bound is None:
                return self._first(shapes, inputs)
            for name, array in inputs.items():
                if bound.inputs[name] is not array:
                    _bind_input(bound, name, array)
            self._session.run_with_iobinding(bound.binding, self._run_options)
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"engine {_NAME}: the network failed: {_one_line(error)}") from error
        return bound.outputs

    def _first(self, shapes: tuple[tuple[int, ...], ...], inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Run once with outputs that ONNX Runtime allocates, and bind arrays of their shapes for the next runs."""
        results = self._session.run(self._names, dict(inputs), self._run_options)
        outputs = {name: np.ascontiguousarray(array) for name, array in zip(self._names, results, strict=True)}
        bound = _Bound(self._session.io_binding(), {}, outputs)
        for name, array in inputs.items():
            _bind_input(bound, name, array)
        for name, array in outputs.items():
            bound.binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        if len(self._bound) >= _MAX_BINDINGS:
            del self._bound[next(iter(self._bound))]
        self._bound[shapes] = bound
        return outputs

    def _close(self) -> None:
        self._bound.clear()
        self._session = None


def _bind_input(bound: _Bound, name: str, array: AnyArray) -> None:
    bound.binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    bound.inputs[name] = array  # keeps the memory alive


def _specs(nodes: Any) -> list[TensorSpec]:
    specs = []
    for node in nodes:
        if node.type not in _DTYPES:
            raise EngineError(f"engine {_NAME}: {node.name!r} is a {node.type}, wanted one of {', '.join(_DTYPES)}")
        shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
        specs.append(TensorSpec(node.name, shape, np.dtype(_DTYPES[node.type])))
    return specs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def open_graph(graph: bytes, *, threads: int | None, as_written: bool) -> Engine:
    """What `open_engine` calls."""
    return OnnxRuntimeEngine(graph, threads=threads, as_written=as_written)
