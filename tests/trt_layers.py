"""What TensorRT for RTX makes of a graph: its builder needs no GPU, and its log names the final layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx
import pytest

from pose_calibration.graph_stats import node_macs


@dataclass(frozen=True)
class Layer:
    """One final layer.

    Attributes:
        name: the builder's.
        kind: the builder's word for its type: correlation is a convolution, kgen a generated kernel.
        inputs: names and types of the tensors that it reads, without constants.
        outputs: the same of those that it makes.
        nodes: names of the ONNX nodes that went into it.
    """

    name: str
    kind: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...]


_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), (?P<rest>Inputs: .*)$")
_TENSOR = re.compile(r"\{ Name: (.*?), Dimensions: .*?Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: (.*?)\]")


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers of the engine for an Ampere card; skips the test where the builder is not installed."""
    return parse(build_log(model))


def build_log(model: onnx.ModelProto) -> list[str]:
    """What the builder says; fails where it refuses the graph."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

    class Log(trt.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: object, text: str) -> None:
            self.lines.append(text)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(model.SerializeToString())
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    assert builder.build_serialized_network(network, config) is not None, log.lines[-5:]
    return [line for text in log.lines for line in text.splitlines()]


def parse(log: list[str]) -> list[Layer]:
    """The final layers among the lines of the log."""
    found = []
    for line in log:
        match = _LAYER.match(line)
        if match:
            parts = re.split(r"(?:^|, )(Inputs|Constants|Outputs|TacticName|StreamId|Metadata): ", match["rest"])
            fields = dict(zip(parts[1::2], parts[2::2], strict=True))
            inputs, outputs = (tuple(_TENSOR.findall(fields.get(key, ""))) for key in ("Inputs", "Outputs"))
            nodes = tuple(_NODE.findall(fields.get("Metadata", "")))
            found.append(Layer(match["name"], match["kind"], inputs, outputs, nodes))
    return found


def int8_macs(model: onnx.ModelProto, found: list[Layer]) -> float:
    """Of the multiply-accumulates of the nodes with int8 weights, the part that runs on Int8, 0 to 1."""
    macs = node_macs(model)
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == tensor.INT8}
    whole = {
        node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    planned = {n.name: macs[n.output[0]] for n in model.graph.node if n.output[0] in macs and whole & set(n.input)}
    on_int8 = {node for layer in found if layer.kind in _WEIGHTED and _all_int8(layer) for node in layer.nodes}
    return sum(macs for name, macs in planned.items() if name in on_int8) / sum(planned.values())


def conversions(found: list[Layer]) -> list[Layer]:
    """Layers that do nothing but change type or layout; what follows a convolution is its own last step."""
    made = {tensor for layer in found if layer.kind in _WEIGHTED for tensor, _ in layer.outputs}
    return [
        layer
        for layer in found
        if layer.kind in ("kgen", "reformat", "cast")
        and layer.inputs
        and not made.intersection(tensor for tensor, _ in layer.inputs)
        and _steps(layer) <= {"Cast", "Mul", "Move", "Tran", "Resh", "Conc"}
    ]


def _steps(layer: Layer) -> set[str]:
    """What a generated kernel does, from its name; rounding and cutting to int8 is MinMaxRoun, and left out."""
    name = re.sub(r"^__myl_|_myl\d+_\d+$", "", layer.name).replace("MinMaxRoun", "")
    return set(re.findall(r"[A-Z][a-z]+", name))


def borders(model: onnx.ModelProto) -> int:
    """Places where a Q/DQ graph changes precision by itself, each worth a conversion: inputs, outputs, casts beside
    them, tensors that are quantised but made by no convolution, Add or node that passes integers, parts of Concats."""
    producers = {output: node for node in model.graph.node for output in node.output}
    count = len(model.graph.input) + len(model.graph.output)
    for node in model.graph.node:
        if node.op_type == "Concat":
            count += len(node.input)
        if node.op_type == "QuantizeLinear":
            source = producers.get(node.input[0])
            while source is not None and source.op_type in ("Relu", "Clip"):
                source = producers.get(source.input[0])
            count += source is None or source.op_type not in _QUIET
    return count


_WEIGHTED = ("correlation", "deconv", "gemm", "convolution")
_QUIET = ("Add", "Cast", "Concat", "Conv", "DepthToSpace", "MaxPool", "Resize")


def _all_int8(layer: Layer) -> bool:
    return all(kind == "Int8" for _, kind in layer.inputs)
