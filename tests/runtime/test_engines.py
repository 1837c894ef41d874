"""Engines: what goes in is checked, what comes out is the network's, foreign errors become EngineError."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from pose_runtime.engines import ENGINES, TensorSpec, open_engine
from pose_runtime.engines._external import has_external_data
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.errors import EngineError


def model_bytes(
    nodes: list[onnx.NodeProto], x: list[int | str], y: list[int | str], dtype: int, *more: object
) -> bytes:
    inputs = [helper.make_tensor_value_info("x", dtype, x)]
    outputs = [helper.make_tensor_value_info("y", dtype, y)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, list(more)),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def double(shape: list[int | str], dtype: int = TensorProto.FLOAT) -> bytes:
    """y = 2 x."""
    return model_bytes([helper.make_node("Add", ["x", "x"], ["y"])], shape, shape, dtype)


def test_runs_and_reuses_its_outputs() -> None:
    with open_engine("onnxruntime", double([1, 3, 4, 5]), threads=1) as engine:
        assert engine.inputs == (TensorSpec("x", (1, 3, 4, 5), np.dtype(np.float32)),)
        assert engine.outputs == (TensorSpec("y", (1, 3, 4, 5), np.dtype(np.float32)),)
        x = np.random.default_rng(0).random((1, 3, 4, 5), np.float32)
        first = engine.infer({"x": x})
        np.testing.assert_array_equal(first["y"], 2 * x)
        again = engine.infer({"x": x})
        x[...] = 7  # the same array, other values
        third = engine.infer({"x": x})
        assert first["y"] is again["y"] is third["y"]
        np.testing.assert_array_equal(third["y"], np.full_like(x, 14))
        other = np.ones_like(x)
        np.testing.assert_array_equal(engine.infer({"x": other})["y"], 2 * other)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_any_size(dtype: int) -> None:
    with open_engine("onnxruntime", double(["n", 3, "h", "w"], dtype)) as engine:
        assert engine.inputs[0].shape == (None, 3, None, None)
        for _ in range(2):
            for size in range(1, 12):  # more than the engine remembers
                x = np.full((2, 3, size, size + 1), size, engine.inputs[0].dtype)
                np.testing.assert_array_equal(engine.infer({"x": x})["y"], 2 * x)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "wanted ['x']"),
        ({"x": np.zeros((1, 3, 4, 5), np.float32), "w": np.zeros(1)}, "got inputs ['w', 'x']"),
        ({"x": np.zeros((1, 3, 4, 5))}, "float64 (1, 3, 4, 5), wanted float32 (1, 3, 4, 5)"),
        ({"x": np.zeros((1, 3, 4, 6), np.float32)}, "(1, 3, 4, 6), wanted"),
        ({"x": np.zeros((3, 4, 5), np.float32)}, "(3, 4, 5), wanted"),
        ({"x": np.zeros((1, 3, 5, 4), np.float32).swapaxes(2, 3)}, "C-contiguous"),
    ],
)
def test_refuses_wrong_inputs(inputs: dict[str, np.ndarray], words: str) -> None:
    with open_engine("onnxruntime", double([1, 3, 4, 5])) as engine, pytest.raises(EngineError) as raised:
        engine.infer(inputs)
    assert words in str(raised.value)


def test_closed() -> None:
    engine = open_engine("onnxruntime", double([1, 1, 1, 1]))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer({"x": np.zeros((1, 1, 1, 1), np.float32)})


@pytest.mark.parametrize("graph", [b"", b"not a graph", double([1, 3, 4, 5])[:-20]])
def test_damaged_graph(graph: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="cannot load the graph") as raised:
        open_engine("onnxruntime", graph)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_failing_run(capfd: pytest.CaptureFixture[str]) -> None:
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [1], [7])
    graph = model_bytes([helper.make_node("Reshape", ["x", "sizes"], ["y"])], ["n"], [7], TensorProto.FLOAT, sizes)
    with open_engine("onnxruntime", graph) as engine:
        engine.infer({"x": np.zeros(7, np.float32)})
        with pytest.raises(EngineError, match="network failed"):
            engine.infer({"x": np.zeros(6, np.float32)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "tensorflow"}, "wanted one of onnxruntime"),
        ({"device": "cuda:0"}, "runs on the CPU"),
        ({"device": "cuda"}, "runs on the CPU"),
        ({"device": "gpu"}, "wanted auto, cpu"),
        ({"threads": 0}, "wanted 1 to 1024"),
    ],
)
def test_refuses_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(EngineError) as raised:
        open_engine(**{"name": "onnxruntime", "graph": double([1, 1, 1, 1]), **options})  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "pose_runtime.engines.onnxruntime", raising=False)
    with pytest.raises(EngineError, match=r"pip install 'jetpose\[cpu\]'"):
        open_engine("onnxruntime", b"")


def test_extras_exist() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for extra in ENGINES.values():
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)


def test_fake() -> None:
    spec = TensorSpec("x", (None, 2), np.dtype(np.float32))
    with FakeEngine([spec], [spec], lambda inputs: {"x": inputs["x"] + 1}) as engine:
        np.testing.assert_array_equal(engine.infer({"x": np.zeros((3, 2), np.float32)})["x"], np.ones((3, 2)))
        with pytest.raises(EngineError, match="wanted float32"):
            engine.infer({"x": np.zeros((3, 3), np.float32)})


WEIGHT = np.full((3, 3, 1, 1), 2, np.float32)


def outside(tensor: onnx.TensorProto, location: str) -> onnx.TensorProto:
    """`tensor` with its numbers in a file."""
    external_data_helper.set_external_data(tensor, location, offset=0, length=36)
    tensor.ClearField("raw_data")
    return tensor


def holding(kind: str, tensor: onnx.TensorProto) -> onnx.ModelProto:
    """A model with a tensor at one of the places where ONNX has them."""
    model = onnx.ModelProto()
    node = model.graph.node.add()
    if kind == "initializer":
        model.graph.initializer.append(tensor)
    elif kind == "constant":
        node.attribute.add().t.CopyFrom(tensor)
    elif kind == "list":
        node.attribute.add().tensors.append(tensor)
    elif kind == "branch":
        node.attribute.add().g.initializer.append(tensor)
    elif kind == "branches":
        node.attribute.add().graphs.add().node.add().attribute.add().t.CopyFrom(tensor)
    elif kind == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif kind == "sparse constant":
        node.attribute.add().sparse_tensor.indices.CopyFrom(tensor)
    elif kind == "training":
        model.training_info.add().initialization.initializer.append(tensor)
    else:
        model.functions.add().node.add().attribute.add().t.CopyFrom(tensor)
    return model


@pytest.mark.parametrize(
    "kind",
    [
        *("initializer", "constant", "list", "branch", "branches"),
        *("sparse", "sparse constant", "training", "function"),
    ],
)
def test_weights_in_other_files_are_refused(kind: str) -> None:
    """They have no hash in the bundle; ONNX Runtime would take them from the current folder or from anywhere."""
    inside = numpy_helper.from_array(WEIGHT, "location")
    good = holding(kind, inside).SerializeToString()
    bad = holding(kind, outside(inside, "w.bin")).SerializeToString()
    assert not has_external_data(good)
    assert has_external_data(bad)
    with pytest.raises(EngineError, match="other files"):
        open_engine("onnxruntime", bad)
    for end in range(0, len(bad), 3):
        has_external_data(bad[:end])  # ends


def test_weights_beside_the_process_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    monkeypatch.chdir(tmp_path)
    weight = outside(numpy_helper.from_array(WEIGHT, "w"), "w.bin")
    graph = model_bytes([helper.make_node("Conv", ["x", "w"], ["y"])], [1, 3, 4, 4], [1, 3, 4, 4], 1, weight)
    with pytest.raises(EngineError, match="other files"):
        open_engine("onnxruntime", graph)
