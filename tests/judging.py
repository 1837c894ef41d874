"""A chain of convolutions, a plan for it, and a judge whose verdict is known, for tests of the search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pose_calibration.agreement import Tally
from pose_calibration.judge import Verdict
from pose_calibration.plan import VERSION, Plan
from pose_runtime.errors import EngineError
from pose_runtime.manifest import Accuracy

LAYERS = 6


def chain() -> onnx.ModelProto:
    """Six convolutions with Relu, c0 to c5, and a head, c6; each has the same work."""
    random = np.random.default_rng(1)
    nodes, weights, tensor = [], [], "image"
    for i in range(LAYERS + 1):
        weights.append(numpy_helper.from_array(random.normal(0, 0.3, (8, 8, 3, 3)).astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("Conv", [tensor, f"w{i}"], [f"c{i}"], pads=[1] * 4, kernel_shape=[3, 3]))
        tensor = f"c{i}"
        if i < LAYERS:
            nodes.append(helper.make_node("Relu", [tensor], [f"r{i}"]))
            tensor = f"r{i}"
    shape = [1, 8, 16, 16]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", tensor)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def plan(method: str = "minmax", high: float = 4.0) -> Plan:
    tensors = ("image", *(f"r{i}" for i in range(LAYERS)), f"c{LAYERS}")
    ranges = {name: (-high if name == "image" else 0.0, high) for name in tensors}
    nodes = tuple(f"c{i}" for i in range(LAYERS))
    return Plan(
        version=VERSION, int8=nodes, ranges=ranges, exponents={}, shifts={}, fp32=(), method=method, data="numbers"
    )


def int8_nodes(data: bytes) -> set[str]:
    nodes = onnx.load_model_from_string(data).graph.node
    dequantised = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    return {node.output[0] for node in nodes if node.op_type == "Conv" and node.input[1] in dequantised}


class KnownJudge:
    """Costs add up; `cpu` adds to graphs with uint8 activations, `broken` nodes give no finite values in INT8."""

    def __init__(self, costs: Mapping[str, float], *, cpu: float = 0.0, broken: str = "", scale: float = 0.0) -> None:
        self.costs, self.cpu, self.broken, self.scale = costs, cpu, broken, scale
        self.judged: list[set[str]] = []

    def __call__(self, data: bytes, role: str) -> Verdict:
        nodes = int8_nodes(data)
        self.judged.append(nodes)
        if self.broken in nodes:
            raise EngineError("not finite")
        loss = sum(self.costs.get(node, 0.0) for node in nodes)
        if role == "cpu_int8":
            loss += self.cpu
        record = Accuracy(executor="fake", data="numbers", metric="AP", reference=50.0, value=50.0 - loss)
        return Verdict((record,), Tally(10, 0, 0, 1 - loss / 100, 0.9, 0.0, 0.0, 0))

    def noise(self, data: bytes, _role: str) -> float:
        if self.broken in int8_nodes(data):
            return float("inf")
        return sum(self.costs.get(node, 0.0) for node in int8_nodes(data))
