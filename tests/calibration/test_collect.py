from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny_onnx
from pose_calibration import collect as module
from pose_calibration import passes
from pose_calibration.collect import collect
from pose_calibration.histogram import Histogram
from pose_runtime.errors import CalibrationError, EngineError

CHANNELS = 4


def chain(
    layers: int = 5, *, dims: list[int | str] | None = None, float16: bool = False, channels: int = CHANNELS
) -> bytes:
    """image -> Conv -> Relu, again and again; tensors c0, r0, c1, ..."""
    random = np.random.default_rng(3)
    kind, dtype = (TensorProto.FLOAT16, np.float16) if float16 else (TensorProto.FLOAT, np.float32)
    nodes, weights, last = [], [], "image"
    for i in range(layers):
        shape = (channels, channels if i else 3, 3, 3)
        weights.append(numpy_helper.from_array(random.normal(0, 0.8 / channels**0.5, shape).astype(dtype), f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        last = f"r{i}"
    dims = dims or [1, 3, 16, 24]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", kind, dims)],
        [helper.make_tensor_value_info(last, kind, [None] * 4)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def images(count: int, hw: tuple[int, int] = (16, 24)) -> list[np.ndarray]:
    return [np.random.default_rng(i).normal(size=(1, 3, *hw)).astype(np.float32) for i in range(count)]


def by_hand(graph: bytes, tensors: list[str], inputs: list[np.ndarray]) -> dict[str, Histogram]:
    """Every tensor as an output at once."""
    model = onnx.load_model_from_string(graph)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = {name: Histogram() for name in tensors}
    for array in inputs:
        for name, values in zip(tensors, session.run(tensors, {"image": array}), strict=True):
            found[name].add(values)
    return found


def assert_same(a: dict[str, Histogram], b: dict[str, Histogram]) -> None:
    assert list(a) == list(b)
    for name in a:
        assert (a[name].exponent, a[name].low, a[name].high) == (b[name].exponent, b[name].low, b[name].high)
        np.testing.assert_array_equal(a[name].counts, b[name].counts)


ALL = [f"{kind}{i}" for i in range(5) for kind in "cr"]
ONE = CHANNELS * 16 * 24 * 4
"""Bytes of one tensor."""


@pytest.mark.parametrize("budget", [1, ONE, 3 * ONE, 1 << 30])
def test_any_grouping_counts_what_the_network_gives(budget: int) -> None:
    graph, inputs = chain(), images(4)
    tensors = ALL[::-1]
    assert_same(collect(graph, tensors, inputs, budget_bytes=budget), by_hand(graph, tensors, inputs))


def test_the_budget_holds_whatever_the_number_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    empty = np.empty

    def spy(size: Any, *rest: Any, **more: Any) -> np.ndarray:
        asked.append(size)
        return empty(size, *rest, **more)

    monkeypatch.setattr(passes.np, "empty", spy)
    seen = []
    collect(chain(), ALL, images(2), budget_bytes=3 * ONE, tell=lambda done, total: seen.append((done, total)))
    buffers = [size for size in asked if isinstance(size, int) and size >= ONE]
    assert buffers == [3 * ONE, 3 * ONE, 3 * ONE, ONE]
    assert seen == [(i, 8) for i in range(1, 9)]


def test_the_input_counts_as_a_tensor() -> None:
    inputs = images(2)
    found = collect(chain(), ["r1", "image"], inputs)
    assert list(found) == ["r1", "image"]
    assert found["image"].low == min(array.min() for array in inputs)
    assert_same(collect(chain(), ["image"], inputs), {"image": found["image"]})


def test_sizes_may_change_from_input_to_input() -> None:
    graph = chain(dims=["batch", 3, "height", "width"])
    inputs = [*images(1), *images(2, (8, 40)), *images(1), np.concatenate(images(2))]
    assert_same(collect(graph, ALL, inputs, budget_bytes=3 * ONE), by_hand(graph, ALL, inputs))


def test_half_precision_graphs_get_half_precision_inputs() -> None:
    graph, inputs = chain(float16=True), images(2)
    wanted = by_hand(graph, ["c2"], [array.astype(np.float16) for array in inputs])
    assert_same(collect(graph, ["c2"], inputs), wanted)


class Breaking:
    """Inputs that end in an exception after `after` of them, counted over all passes."""

    def __init__(self, inputs: list[np.ndarray], after: int) -> None:
        self.inputs, self.left = inputs, after

    def __iter__(self) -> Iterator[np.ndarray]:
        for array in self.inputs:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield array


@pytest.mark.parametrize("after", [7, 9, 12, 15, 17])
def test_a_broken_run_goes_on(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 2)
    graph, inputs, state = chain(), images(6), tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        collect(graph, ALL, Breaking(inputs, after), budget_bytes=5 * ONE, state=state)
    told = []
    got = collect(graph, ALL, inputs, budget_bytes=5 * ONE, state=state, tell=lambda *done: told.append(done))
    assert_same(got, collect(graph, ALL, inputs))
    assert told[-1] == (12, 12)
    runs = len(told) - sum(b[0] - a[0] > 1 for a, b in zip([(0, 0), *told], told, strict=False))
    assert runs < 12 - (after - 6) + 3  # at most two are run again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.npz"]


def test_a_finished_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.npz"
    first = collect(chain(), ALL, images(2), state=state)
    monkeypatch.setattr(passes, "Taps", None)
    assert_same(collect(chain(), ALL, images(2), state=state, budget_bytes=ONE), first)


@pytest.mark.parametrize("what", ["graph", "inputs", "order", "tensors"])
def test_a_state_of_something_else_is_not_used(what: str, tmp_path: Path) -> None:
    state, inputs = tmp_path / "state.npz", images(3)
    collect(chain(), ["c1", "r1"], inputs, state=state)
    graph = chain(4) if what == "graph" else chain()
    inputs = {"inputs": images(2), "order": inputs[::-1]}.get(what, inputs)
    tensors = ["c1"] if what == "tensors" else ["c1", "r1"]
    told: list[int] = []
    got = collect(graph, tensors, inputs, state=state, tell=lambda done, total: told.append(done))
    assert told == list(range(1, len(inputs) + 1))
    assert_same(got, collect(graph, tensors, inputs))


def test_a_file_that_is_no_state_is_kept(tmp_path: Path) -> None:
    state = tmp_path / "notes.txt"
    state.write_bytes(b"nothing")
    with pytest.raises(CalibrationError, match="is no state of a calibration"):
        collect(chain(), ["c1"], images(2), state=state)
    assert state.read_bytes() == b"nothing"


@pytest.mark.parametrize("content", [b"", b"PK\3\4", None])
def test_a_damaged_state_is_replaced(content: bytes | None, tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    wanted = collect(chain(), ["c1"], images(2), state=state)
    data = state.read_bytes()
    state.write_bytes(data[: len(data) // 2] if content is None else content)
    assert_same(collect(chain(), ["c1"], images(2), state=state), wanted)
    assert_same(collect(chain(), ["c1"], images(2), state=state), wanted)


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"state\.npz: cannot keep the state: No such"):
        collect(chain(), ["c1"], images(1), state=tmp_path / "gone" / "state.npz")


def test_nan_names_the_tensor_and_the_picture() -> None:
    inputs = images(3)
    inputs[1][0, 2, 5, 5] = np.inf
    with pytest.raises(CalibrationError, match=r"tensor 'c0': \d+ of 1536 values are NaN or infinite, for picture b"):
        collect(chain(), ["c0", "r0"], inputs, names=["a", "b", "c"])
    with pytest.raises(CalibrationError, match="tensor 'image': 1 of 1152 values are NaN or infinite, for picture 1"):
        collect(chain(), ["image"], inputs)


def test_a_network_that_is_constant_or_dead() -> None:
    model = onnx.load_model_from_string(chain(1))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w0"))
    found = collect(model.SerializeToString(), ["c0", "r0"], images(2))
    assert (found["r0"].low, found["r0"].high, found["r0"].total) == (0, 0, 2 * 1536)


@pytest.mark.parametrize(
    ("tensors", "inputs", "words"),
    [
        (["c9"], images(1), "tensor 'c9': the graph does not compute it"),
        (["w0"], images(1), "tensor 'w0': the graph does not compute it"),
        (["c0"], [], "calibration inputs: got none"),
        (["c0"], iter(images(1)), "can be gone through once"),
    ],
)
def test_what_cannot_be_collected(tensors: list[str], inputs: list[np.ndarray], words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        collect(chain(), tensors, inputs)


def test_inputs_that_change_are_refused() -> None:
    class Changing:
        def __init__(self, *passes: list[np.ndarray]) -> None:
            self.passes = iter(passes)

        def __iter__(self) -> Iterator[np.ndarray]:
            return iter(next(self.passes))

    open_graph = chain(dims=[1, 3, "h", "w"])
    for second, words in ((images(1), "got 2, then 1"), (images(2, (8, 8)), "0 has another shape")):
        with pytest.raises(CalibrationError, match=words):
            collect(open_graph, ["c0"], Changing([], images(2), second))


def test_graphs_that_do_not_fit() -> None:
    with pytest.raises(CalibrationError, match="no ONNX model"):
        collect(b"\xff\xff\xff", ["c0"], images(1))
    with pytest.raises(EngineError, match="the network failed"):
        collect(chain(), ["c0"], images(1, (8, 8)))
    model = onnx.load_model_from_string(chain(1))
    model.graph.node.append(helper.make_node("Shape", ["c0"], ["s"]))
    with pytest.raises(CalibrationError, match=r"tensor 's': holds tensor\(int64\)"):
        collect(model.SerializeToString(), ["s"], images(1))


def test_a_graph_that_is_quantised_already_has_ranges_where_it_has_floats() -> None:
    model = onnx.load_model_from_string(chain(1))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["r0", "scale", "zero"], ["q"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]))
    graph = model.SerializeToString()
    found = collect(graph, ["d", "r0"], images(2))
    assert found["d"].high == pytest.approx(min(round(found["r0"].high, 1), 12.7), abs=0.06)
    with pytest.raises(CalibrationError, match=r"tensor 'q': holds tensor\(int8\)"):
        collect(graph, ["q"], images(1))


def test_no_tensors_is_no_work() -> None:
    assert collect(chain(), [], images(1)) == {}


PEAK = """
import json, re, sys
import numpy as np
from pose_calibration.collect import collect
class Inputs:
    def __iter__(self):
        for i in range(int(sys.argv[2])):
            yield np.random.default_rng(i).normal(size=(1, 3, 256, 256)).astype(np.float32)
graph = open(sys.argv[1], 'rb').read()
tensors = [f"{kind}{i}" for i in range(12) for kind in "cr"]
collect(graph, tensors[:1], Inputs(), threads=1)
def memory(key):
    return int(re.search(key + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
found = collect(graph, tensors, Inputs(), budget_bytes=int(sys.argv[3]), threads=1)
print(json.dumps([memory("VmHWM") - before, found["r11"].total]))
"""


def test_memory_follows_the_budget_and_not_the_work(tmp_path: Path) -> None:
    """24 tensors of 4 MiB each, in groups of 8 MiB; ONNX Runtime takes more than as much again, as it likes."""
    path = tmp_path / "chain.onnx"
    path.write_bytes(chain(12, dims=[1, 3, 256, 256], channels=16))

    def peak(count: int, budget: int) -> float:
        command = [sys.executable, "-c", PEAK, str(path), str(count), str(budget)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        kib, total = json.loads(done.stdout)
        assert total == count * 16 * 256 * 256
        return kib / 1024

    assert peak(3, 8 << 20) < 0.6 * peak(1, 1 << 30)


def test_several_inputs_are_refused() -> None:
    model = tiny_onnx.heatmap_net()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    with pytest.raises(CalibrationError, match="got 2 inputs, wanted one"):
        collect(model.SerializeToString(), ["c0"], images(1))
