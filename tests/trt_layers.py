"""What TensorRT for RTX makes of a graph: its builder needs no GPU, and its log names the final layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx
import pytest


@dataclass(frozen=True)
class Layer:
    """One final layer: its name, its type in the builder's words, the types of its tensors."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: str


_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), (?P<rest>Inputs: .*)$", re.DOTALL)
_TYPE = re.compile(r"Datatype: (\w+)")


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
            parts = re.split(r"(Inputs|Constants|Outputs|TacticName|Metadata): ", match["rest"])
            fields = dict(zip(parts[1::2], parts[2::2], strict=False))
            types = [tuple(_TYPE.findall(fields.get(key, ""))) for key in ("Inputs", "Constants", "Outputs")]
            found.append(Layer(match["name"], match["kind"], *types, fields.get("Metadata", "")))
    return found
