"""A strict fake of TensorRT: what the real one would answer with a wrong result or a crash fails the test here.

    trt = install(monkeypatch, "10.3.0")

It has just the names of `tensorrt_names.json` for its version. A plan is the ONNX file with a header; running one reads
and writes host memory at the bound addresses, by ONNX Runtime. Nothing here keeps anything else alive: an object that
is used after what it depends on is gone raises Misuse.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import sys
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pose_runtime.engines import _tensorrt_library

NAMES: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
"""Version -> class -> those of the names that we use which it has."""

RTX = "rtx-1.7.1"


class Misuse(AssertionError):
    """A call that the real library does not allow, or that may crash it."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Misuse(message)


class _Strict:
    """No attribute that TensorRT does not have; private ones are the fake's own."""

    def __setattr__(self, name: str, value: object) -> None:
        require(name.startswith("_") or hasattr(type(self), name), f"{type(self).__name__} has no attribute {name!r}")
        super().__setattr__(name, value)


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
    """Put the fake in place of TensorRT of this version, and no other beside it."""
    name = "tensorrt_rtx" if version == RTX else "tensorrt"
    other = "tensorrt" if version == RTX else "tensorrt_rtx"
    module = make(version)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, other, None)  # importing it fails
    _tensorrt_library.find_library.cache_clear()
    return module


def make(version: str) -> Any:
    """The module.

    Attributes:
        gpu: plans are of it, and load only on it.
        has_gpu, free_mib, dla_cores, dla_kinds: the machine's; layers of these ONNX operators run on a DLA.
        refuse: text of an error with which the next build fails; None to build.
        stats: how often what was done.
        built: configurations of the builds, as dictionaries.
        violations: objects that were freed before what depends on them.
        live: runtimes and engines that hold memory.
        push: takes a stream and a run, to do when the stream's turn comes; here at once.
        memory_at: takes an address and a size; the device memory there.
    """
    trt = types.ModuleType("tensorrt")
    number = version.removeprefix("rtx-")
    vars(trt).update(
        __version__=number, gpu="Orin", has_gpu=True, free_mib=4096, dla_cores=0, dla_kinds=(), refuse=None,
        stats={}, built=[], violations=[], live=weakref.WeakSet(), machine_version=version,
        push=lambda stream, run: run(), memory_at=_host_memory,
    )  # fmt: skip
    for cls in (*_enums(), *_building(trt, version), *_running(trt, number)):
        setattr(trt, cls.__name__, cls)
    _keep_only(trt, NAMES[version])
    return trt


def _keep_only(trt: Any, names: dict[str, list[str]]) -> None:
    """Take away what this version has not."""
    for name, cls in list(vars(trt).items()):
        if not isinstance(cls, type):
            continue
        if name not in names:
            delattr(trt, name)
        elif not issubclass(cls, enum.Enum):
            for member in [m for m in vars(cls) if not m.startswith("_") and m not in names[name]]:
                delattr(cls, member)


def _enums() -> list[type]:
    def members(name: str, *words: str) -> type:
        return enum.IntEnum(name, {word: i for i, word in enumerate(words)})

    return [
        members("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", "STRONGLY_TYPED"),
        members("MemoryPoolType", "WORKSPACE", "TACTIC_DRAM"),
        members("BuilderFlag", "GPU_FALLBACK"),
        members("DeviceType", "GPU", "DLA"),
        members("DataType", "FLOAT", "HALF", "INT8", "INT32"),
        members("TensorIOMode", "NONE", "INPUT", "OUTPUT"),
        members("ComputeCapability", "NONE", "SM86"),
    ]


_DTYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF", onnx.TensorProto.INT32: "INT32"}


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)


def _alive(reference: Callable[[], Any], what: str) -> Any:
    target = reference()
    require(target is not None, f"{what} is gone")
    return target


def _building(trt: Any, version: str) -> list[type]:
    class ILogger:
        def __init__(self) -> None:
            self._is_ready = True

        def log(self, severity: int, text: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        def __init__(self) -> None:
            self._is_ready = True

    class ITensor(_Strict):
        def __init__(self, value: onnx.ValueInfoProto) -> None:
            self._value = value

        @property
        def name(self) -> str:
            return self._value.name

        @property
        def shape(self) -> tuple[int, ...]:
            return _shape(self._value)

    class ILayer(_Strict):
        def __init__(self, node: onnx.NodeProto, index: int) -> None:
            self._node, self._index = node, index

        @property
        def name(self) -> str:
            return self._node.name or f"{self._node.op_type}_{self._index}"

    class INetworkDefinition(_Strict):
        def __init__(self, builder: Any, flags: int) -> None:
            self._builder, self._flags = weakref.ref(builder), flags
            self._model: onnx.ModelProto | None = None
            self._parser: Callable[[], Any] = lambda: None

        def _graph(self) -> onnx.GraphProto:
            _alive(self._builder, "the network's builder")
            require(self._model is not None, "the network is empty")
            return self._model.graph  # type: ignore[union-attr]

        @property
        def num_inputs(self) -> int:
            return len(self._graph().input)

        def get_input(self, index: int) -> ITensor:
            return ITensor(self._graph().input[index])

        @property
        def num_layers(self) -> int:
            return len(self._graph().node)

        def get_layer(self, index: int) -> ILayer:
            return ILayer(self._graph().node[index], index)

    class ParserError(_Strict):
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

        def node_name(self) -> str:
            return ""

        def node_operator(self) -> str:
            return ""

    class OnnxParser(_Strict):
        def __init__(self, network: Any, logger: Any) -> None:
            require(isinstance(network, INetworkDefinition), "a parser wants a network")
            require(getattr(logger, "_is_ready", False), "the logger's base class was not initialised")
            self._network, self._errors = weakref.ref(network), []
            self._graph: Callable[[], Any] = lambda: True

        def parse(self, graph: bytes) -> bool:
            network = _alive(self._network, "the parser's network")
            require(network._model is None, "the network was parsed before")
            try:
                model = onnx.load_from_string(bytes(graph))
                onnx.checker.check_model(model)
            except Exception as error:  # protobuf's and onnx's are many
                self._errors.append(f"Failed to parse\nthe ONNX model: {error}")
                return False
            network._model, network._parser = model, weakref.ref(self)
            if not isinstance(graph, bytes):  # a test's own buffer, whose end can be seen
                self._graph = weakref.ref(graph)
            return True

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return ParserError(self._errors[index])

    class IOptimizationProfile(_Strict):
        def __init__(self) -> None:
            self._shapes: dict[str, list[tuple[int, ...]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
            require(input not in self._shapes, f"profile of {input!r} is set twice")
            self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    class ITimingCache(_Strict):
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> Any:
            return _HostMemory(self._data)

    class IBuilderConfig(_Strict):
        def __init__(self, builder: Any) -> None:
            self._builder = weakref.ref(builder)
            self._limits: dict[str, int] = {}
            self._profiles: list[IOptimizationProfile] = []
            self._flags: set[str] = set()
            self._values: dict[str, Any] = {}
            self._capability: Any = None
            self._timing: Callable[[], Any] | None = None
            self._monitor: Callable[[], Any] | None = None

        @property
        def progress_monitor(self) -> Any:
            return None if self._monitor is None else self._monitor()

        @progress_monitor.setter
        def progress_monitor(self, monitor: Any) -> None:
            require(getattr(monitor, "_is_ready", False), "the monitor's base class was not initialised")
            self._monitor = weakref.ref(monitor)

        def set_memory_pool_limit(self, pool: enum.Enum, size: int) -> None:
            self._limits[trt.MemoryPoolType(pool).name] = size

        def _get(self, name: str) -> Any:
            return self._values.get(name)

        def _set(self, name: str, value: int) -> None:
            self._values[name] = int(value)

        builder_optimization_level = property(lambda self: self._get("level"), lambda self, v: self._set("level", v))
        default_device_type = property(lambda self: self._get("device"), lambda self, v: self._set("device", v))
        DLA_core = property(lambda self: self._get("DLA_core"), lambda self, v: self._set("DLA_core", v))
        num_compute_capabilities = property(
            lambda self: self._get("capabilities"), lambda self, v: self._set("capabilities", v)
        )

        def set_compute_capability(self, capability: Any, index: int) -> bool:
            require(self._get("capabilities") == 1, "set_compute_capability before their number")
            require(index == 0, "one capability is number 0")
            self._capability = capability
            return True

        def set_flag(self, flag: enum.Enum) -> None:
            self._flags.add(trt.BuilderFlag(flag).name)

        def can_run_on_DLA(self, layer: ILayer) -> bool:
            require(self._get("device") == int(trt.DeviceType.DLA), "can_run_on_DLA before default_device_type")
            return layer._node.op_type in trt.dla_kinds

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            for shapes in profile._shapes.values():
                if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
                    return -1
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, data: bytes) -> ITimingCache:
            require(version != RTX, "a warning of deprecation: TensorRT for RTX has no timing cache")
            return ITimingCache(bytes(data) if bytes(data).startswith(_timing_head(trt)) else _timing_head(trt))

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            require(not ignore_mismatch, "a timing cache of another GPU")
            self._timing = weakref.ref(cache)
            return True

    class Builder(_Strict):
        def __init__(self, logger: Any) -> None:
            require(getattr(logger, "_is_ready", False), "the logger's base class was not initialised")
            if not trt.has_gpu:
                logger.log(0, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = weakref.ref(logger)

        @property
        def num_DLA_cores(self) -> int:
            return int(trt.dla_cores)

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            require(flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED), "the network is not typed")
            return INetworkDefinition(self, flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig(self)

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            logger = _alive(self._logger, "the logger")
            require(_alive(network._builder, "the builder") is self, "a network of another builder")
            require(_alive(config._builder, "the builder") is self, "a configuration of another builder")
            parser = _alive(network._parser, "the parser, whose weights the network reads,")
            _alive(parser._graph, "the ONNX file, whose weights the network reads,")
            graph = network._graph()
            profile = _checked_profile(graph, config._profiles)
            cache = None if config._timing is None else _alive(config._timing, "the timing cache")
            monitor = None if config._monitor is None else _alive(config._monitor, "the monitor")
            trt.stats["builds"] = trt.stats.get("builds", 0) + 1
            if trt.refuse is not None:
                logger.log(1, trt.refuse)
                return None
            if monitor is not None and not _walk(monitor, len(graph.node)):
                logger.log(1, "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled")
                return None
            if cache is not None:
                cache._data += b" timed"
            trt.built.append({"limits": config._limits, "flags": config._flags, "profile": profile, **config._values})
            return _HostMemory(_plan(trt, network._model, profile, config._values.get("DLA_core")))

    return [
        ILogger, IProgressMonitor, ITensor, ILayer, INetworkDefinition, ParserError, OnnxParser, IOptimizationProfile,
        ITimingCache, IBuilderConfig, Builder,
    ]  # fmt: skip


class _HostMemory:
    """Memory of TensorRT's that is copied out."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


def _timing_head(trt: Any) -> bytes:
    return f"timings of {trt.gpu} by {trt.__version__}:".encode()


def _walk(monitor: Any, layers: int) -> bool:
    """A build's phases, as the real one tells them; False where the monitor cancels."""
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Tactic selection", "Building engine", layers)
    for step in range(layers):
        if monitor.step_complete("Tactic selection", step) is not True:
            return False
    monitor.phase_finish("Tactic selection")
    goes_on = monitor.step_complete("Building engine", 0)
    monitor.phase_finish("Building engine")  # before its last step, which is allowed
    return bool(goes_on)


def _checked_profile(graph: onnx.GraphProto, profiles: list[Any]) -> dict[str, list[tuple[int, ...]]]:
    dynamic = {value.name: _shape(value) for value in graph.input if -1 in _shape(value)}
    if not dynamic:
        return {}
    require(len(profiles) == 1, "dynamic inputs without a profile")
    shapes: dict[str, list[tuple[int, ...]]] = profiles[0]._shapes
    for name, real in dynamic.items():
        require(name in shapes, f"no profile of {name!r}")
        for shape in shapes[name]:
            fits = len(shape) == len(real) and all(r in (-1, s) for s, r in zip(shape, real, strict=True))
            require(fits, f"profile {shape} of {name!r}, which is {real}")
    return shapes


def _plan(trt: Any, model: onnx.ModelProto, profile: dict[str, Any], dla_core: int | None) -> bytes:
    head = {"gpu": trt.gpu, "version": trt.__version__, "profile": profile, "DLA_core": dla_core}
    return json.dumps({**head, "onnx": base64.b64encode(model.SerializeToString()).decode()}).encode()


def _running(trt: Any, number: str) -> list[type]:
    class IExecutionContext(_Strict):
        def __init__(self, engine: Any) -> None:
            self._engine = weakref.ref(engine)
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            weakref.finalize(engine, _freed, trt, "engine", weakref.ref(self))

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            engine = _alive(self._engine, "the context's engine")
            require(engine._modes[name] == trt.TensorIOMode.INPUT, f"{name!r} is no input")
            low, _, high = engine._profile.get(name, [_shape(engine._values[name])] * 3)
            self._shapes[name] = tuple(shape)
            return all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            engine = _alive(self._engine, "the context's engine")
            if engine._modes[name] == trt.TensorIOMode.INPUT:
                return self._shapes.get(name, _shape(engine._values[name]))
            return _inferred(engine._model, self._shapes)[name]

        def set_tensor_address(self, name: str, memory: int) -> bool:
            engine = _alive(self._engine, "the context's engine")
            require(name in engine._values, f"no tensor {name!r}")
            require(memory > 0 and memory % 256 == 0, f"address {memory} of {name!r}")
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream: int) -> bool:
            engine = _alive(self._engine, "the context's engine")
            require(isinstance(stream, int) and stream != 0, "the default stream makes TensorRT wait for the device")
            for name, value in engine._values.items():
                require(name in self._addresses, f"{name!r} has no address")
                is_input = engine._modes[name] == trt.TensorIOMode.INPUT
                require(not is_input or -1 not in _shape(value) or name in self._shapes, f"{name!r} has no shape")
            trt.stats["runs"] = trt.stats.get("runs", 0) + 1
            if trt.refuse is not None:
                trt.last_logger().log(1, trt.refuse)
                return False
            addresses, shapes = dict(self._addresses), {v: self.get_tensor_shape(v) for v in engine._values}
            own_context, own_engine = weakref.ref(self), self._engine  # a captured run may come after them

            def run() -> None:
                _alive(own_context, "the context of a run")
                _alive(own_engine, "the engine of a run")._run(addresses, shapes)

            trt.push(stream, run)
            return True

    class ICudaEngine(_Strict):
        def __init__(self, runtime: Any, head: dict[str, Any]) -> None:
            self._runtime = weakref.ref(runtime)
            self._model = onnx.load_from_string(base64.b64decode(head["onnx"]))
            self._profile = {name: [tuple(s) for s in shapes] for name, shapes in head["profile"].items()}
            graph = self._model.graph
            self._values = {value.name: value for value in (*graph.input, *graph.output)}
            modes = trt.TensorIOMode
            self._modes = {v.name: modes.INPUT for v in graph.input} | {v.name: modes.OUTPUT for v in graph.output}
            self._session: Any = None
            weakref.finalize(runtime, _freed, trt, "runtime", weakref.ref(self))
            trt.live.add(self)

        @property
        def num_io_tensors(self) -> int:
            _alive(self._runtime, "the engine's runtime")
            return len(self._values)

        @property
        def device_memory_size_v2(self) -> int:
            return 12 << 20

        def get_tensor_name(self, index: int) -> str:
            return list(self._values)[index]

        def get_tensor_mode(self, name: str) -> enum.Enum:
            return self._modes[name]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return _shape(self._values[name])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            require(profile_index == 0, "there is one profile")
            require(self._modes[name] == trt.TensorIOMode.INPUT, f"{name!r} is no input")
            return self._profile[name]

        def get_tensor_dtype(self, name: str) -> enum.Enum:
            return trt.DataType[_DTYPES[self._values[name].type.tensor_type.elem_type]]  # type: ignore[no-any-return]

        def create_execution_context(self) -> Any:
            _alive(self._runtime, "the engine's runtime")
            if trt.free_mib < 12:
                trt.last_logger().log(1, "IExecutionContext: Error Code 2: OutOfMemory (Requested size was 12582912)")
                return None
            return IExecutionContext(self)

        def _run(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
            if self._session is None:
                options = ort.SessionOptions()
                options.add_session_config_entry("session.disable_quant_qdq", "1")
                options.intra_op_num_threads = 1
                self._session = ort.InferenceSession(self._model.SerializeToString(), options)
            memory = {name: self._memory(name, addresses[name], shape) for name, shape in shapes.items()}
            inputs = {value.name: memory[value.name].copy() for value in self._model.graph.input}
            for value, array in zip(self._model.graph.output, self._session.run(None, inputs), strict=True):
                memory[value.name][...] = array

        def _memory(self, name: str, address: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(self._values[name].type.tensor_type.elem_type)
            raw = trt.memory_at(address, int(np.prod(shape)) * dtype.itemsize)
            return raw.view(dtype).reshape(shape)  # type: ignore[no-any-return]

    class Runtime(_Strict):
        def __init__(self, logger: Any) -> None:
            require(trt.has_gpu, "a Runtime without a driver crashes the process")
            require(getattr(logger, "_is_ready", False), "the logger's base class was not initialised")
            trt.last_logger = weakref.ref(logger)
            trt.live.add(self)
            self._core: int | None = None

        @property
        def DLA_core(self) -> int | None:
            return self._core

        @DLA_core.setter
        def DLA_core(self, core: int) -> None:
            self._core = core

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            logger = _alive(trt.last_logger, "the logger")
            trt.stats["loads"] = trt.stats.get("loads", 0) + 1
            try:
                head = json.loads(plan)
            except ValueError:
                logger.log(1, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag mismatch)")
                return None
            if (head["gpu"], head["version"]) != (trt.gpu, number):
                logger.log(1, f"the engine plan file was generated on an incompatible device: {head['gpu']}")
                return None
            require(head["DLA_core"] == self._core, "the runtime's DLA core is not the plan's")
            if trt.free_mib < 100:
                logger.log(1, "Error Code 1: Cuda Runtime (out of memory)")
                return None
            return ICudaEngine(self, head)

    return [Runtime, ICudaEngine, IExecutionContext]


def _freed(trt: Any, what: str, dependant: Callable[[], Any]) -> None:
    if dependant() is not None:
        trt.violations.append(f"{what} was freed before its {type(dependant()).__name__}")


def _inferred(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs for these inputs'."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    for value in fixed.graph.output:
        if -1 in _shape(value):
            value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    return {value.name: _shape(value) for value in onnx.shape_inference.infer_shapes(fixed).graph.output}


def _host_memory(address: int, size: int) -> np.ndarray[Any, Any]:
    return np.frombuffer((ctypes.c_char * size).from_address(address), np.uint8)
