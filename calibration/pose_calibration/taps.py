"""Inner tensors of a network, given out by ONNX Runtime into memory of ours."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from pose_runtime.arrays import AnyArray
from pose_runtime.errors import CalibrationError, EngineError

Shape = tuple[int, ...]

_QUIET = 4  # only fatal messages: what fails comes back as an exception
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SHAPE_OF = "jetpose_shape_of:"
_ALIGN = 64  # bytes; of each tensor in the buffer


class Taps:
    """That part of a network which some of its tensors need, with these as its outputs.

    Args:
        graph: an ONNX model.
        tensors: names of float32 or float16 tensors that nodes of it give.
        threads: that one run uses; None for one per core.

    Raises:
        CalibrationError: a tensor that is neither.
        EngineError: ONNX Runtime does not load the graph.
    """

    def __init__(self, graph: bytes, tensors: Sequence[str], threads: int | None) -> None:
        self._session = _session(_part(graph, tensors), threads)
        self._input, self._input_type = _single_input(self._session)
        self._dtypes = {}
        for output in self._session.get_outputs():
            if output.type not in _FLOATS:
                raise CalibrationError(f"tensor {output.name!r}: holds {output.type}, wanted tensor(float)")
            self._dtypes[output.name] = np.dtype(_FLOATS[output.type])

    def run(self, array: AnyArray, shapes: Mapping[str, Shape], buffer: NDArray[np.uint8]) -> dict[str, AnyArray]:
        """Run the network once.

        Args:
            array: its input.
            shapes: of the tensors for an input of that shape.
            buffer: into which they are written, at least `bytes_of(shapes)` long.

        Returns:
            The tensors, as views of the buffer.

        Raises:
            EngineError: the network failed, or a tensor has another shape.
        """
        fed: AnyArray = np.ascontiguousarray(array, self._input_type)
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, fed.dtype.type, fed.shape, fed.ctypes.data)
        views, at = {}, 0
        for name, dtype in self._dtypes.items():
            shape = shapes[name]
            size = math.prod(shape) * dtype.itemsize
            views[name] = buffer[at : at + size].view(dtype).reshape(shape)
            binding.bind_output(name, "cpu", 0, dtype.type, shape, views[name].ctypes.data)
            at += _aligned(size)
        with _failures("the network failed"):
            self._session.run_with_iobinding(binding)
        return views


def shapes_of(
    graph: bytes, tensors: Sequence[str], input_shapes: Iterable[Shape], threads: int | None
) -> dict[Shape, dict[str, Shape]]:
    """For inputs of each shape, the shapes of the tensors: found by running the network once on zeros.

    Raises:
        EngineError: the network cannot be loaded or does not take such inputs.
    """
    session = _session(_part(graph, tensors, as_shapes=True), threads)
    name, dtype = _single_input(session)
    found = {}
    for shape in input_shapes:
        with _failures("the network failed"):
            results = session.run([_SHAPE_OF + t for t in tensors], {name: np.zeros(shape, dtype)})
        found[shape] = {t: tuple(int(n) for n in dims) for t, dims in zip(tensors, results, strict=True)}
    return found


def bytes_of(shapes: Iterable[Shape], itemsize: int = 4) -> int:
    """Room that tensors of these shapes need in a buffer."""
    return sum(_aligned(math.prod(shape) * itemsize) for shape in shapes)


def order_of(graph: bytes) -> tuple[str, tuple[str, ...]]:
    """The name of the input, and of every tensor that a node gives, in the order of the nodes.

    Raises:
        CalibrationError: no ONNX model, or not one input.
    """
    model = _loaded(graph)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise CalibrationError(f"graph: got {len(inputs)} inputs, wanted one")
    return inputs[0], tuple(name for node in model.graph.node for name in node.output if name)


# ---- the graph -------------------------------------------------------------------------------------------------


def _part(graph: bytes, tensors: Sequence[str], *, as_shapes: bool = False) -> bytes:
    """The nodes that `tensors` need, with these, or their shapes, as outputs."""
    model = _loaded(graph)
    part = model.graph
    needed = _needed(part.node, tensors)
    for i in reversed(range(len(part.node))):
        if i not in needed:
            del part.node[i]
    used = {name for node in part.node for name in _reads(node)}
    for i in reversed(range(len(part.initializer))):  # in place: copies of weights take as much memory again
        if part.initializer[i].name not in used:
            del part.initializer[i]
    del part.output[:]
    if as_shapes:
        part.node.extend(helper.make_node("Shape", [name], [_SHAPE_OF + name]) for name in tensors)
    part.output.extend(helper.make_empty_tensor_value_info(_SHAPE_OF + t if as_shapes else t) for t in tensors)
    data: bytes = model.SerializeToString()
    return data


def _needed(nodes: Sequence[NodeProto], tensors: Iterable[str]) -> set[int]:
    """Indices of the nodes that `tensors` come from."""
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needed: set[int] = set()
    waiting = [maker[name] for name in tensors]
    while waiting:
        at = waiting.pop()
        if at not in needed:
            needed.add(at)
            waiting.extend(maker[name] for name in _reads(nodes[at]) if name in maker)
    return needed


def _reads(node: NodeProto) -> Iterator[str]:
    """Names that a node or its sub-graphs read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _reads(inner)


def _loaded(graph: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise CalibrationError("graph: no ONNX model, or truncated") from error


# ---- ONNX Runtime ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """What ONNX Runtime raises, whose exceptions share no base class, becomes an EngineError."""
    try:
        yield
    except Exception as error:
        raise EngineError(f"engine onnxruntime: {what}: {' '.join(str(error).split())[:300]}") from error


def _session(part: bytes, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep what one run needed beside our buffer; and is no faster here
    with _failures("cannot load the graph"):
        return ort.InferenceSession(part, options, providers=["CPUExecutionProvider"])


def _single_input(session: Any) -> tuple[str, type]:
    value = session.get_inputs()[0]
    if value.type not in _FLOATS:
        raise CalibrationError(f"graph: input {value.name!r} is {value.type}, wanted tensor(float)")
    return value.name, _FLOATS[value.type]


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
