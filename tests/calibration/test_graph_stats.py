from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pose_calibration.graph_stats import GraphStats, count, load_onnx
from pose_runtime.errors import ExportError
from shared import shared

FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.zeros(shape, dtype), name)


def model(
    nodes: list[onnx.NodeProto], weights: list[TensorProto], shape: tuple[int | str, ...], rank: int = 4
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, [None] * rank)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


CONV = model(
    [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])],
    [weight("w", 8, 3, 3, 3), weight("b", 8)],
    ("n", 3, 32, 48),
)


@pytest.mark.parametrize(
    ("graph", "parameters", "macs"),
    [
        (CONV, 8 * 27 + 8, 8 * 16 * 24 * 27),
        (  # groups
            model([helper.make_node("Conv", ["x", "w"], ["y"], group=3)], [weight("w", 6, 1, 3, 3)], (1, 3, 5, 5)),
            54,
            6 * 3 * 3 * 9,
        ),
        (  # each input pixel meets the whole kernel
            model(
                [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])],
                [weight("w", 3, 5, 4, 4)],
                (1, 3, 6, 7),
            ),
            240,
            6 * 7 * 3 * 5 * 16,
        ),
        (
            model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 7, 4)], ("n", 2, 5, 7)),
            28,
            2 * 5 * 7 * 4,
        ),
        (
            model([helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1)], [weight("w", 4, 7)], (7, 5), 2),
            28,
            5 * 7 * 4,
        ),
        (  # integer weights behind a DequantizeLinear; scales and zero points are none
            model(
                [
                    helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"], axis=0),
                    helper.make_node("Conv", ["x", "f"], ["y"]),
                ],
                [weight("w", 8, 3, 1, 1, dtype=np.int8), weight("s", 8), weight("z", 8, dtype=np.int8)],
                (1, 3, 4, 4),
            ),
            24,
            8 * 16 * 3,
        ),
        (model([helper.make_node("Relu", ["x"], ["y"])], [], ("a", "b", "c", "d")), 0, 0),
    ],
)
def test_count(graph: onnx.ModelProto, parameters: int, macs: int, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(graph.SerializeToString())
    assert count(load_onnx(path)) == GraphStats(parameters=parameters, macs=macs)


def test_open_size() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    graph = model([conv], [weight("w", 1, 3, 1, 1)], ("n", 3, "h", "w"))
    with pytest.raises(ExportError, match=r"Conv 'first': the shape of 'y' is open in the model; give an input size"):
        count(graph)
    assert count(graph, size_wh=(10, 20)).macs == 600
    assert graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "h"  # unchanged


def test_fixed_batch_counts_as_it_is() -> None:
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"])], [weight("w", 1, 3, 1, 1)], (4, 3, 2, 2))
    assert count(graph).macs == 4 * 4 * 3


def external(graph: onnx.ModelProto, tensor: TensorProto) -> onnx.ModelProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return graph


def copy(graph: onnx.ModelProto = CONV) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    return result


def hostile() -> list[tuple[onnx.ModelProto, str]]:
    outside = copy()
    outside = external(outside, outside.graph.initializer[0])
    hidden = copy()
    constant = hidden.graph.node.add(op_type="Constant", output=["c"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
    hidden = external(hidden, constant.attribute[0].t)
    nested = copy()
    branch = nested.graph.node.add(op_type="If", input=["x"], output=["c"])
    attribute = branch.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
    external(nested, attribute.g.initializer.add(name="deep", data_type=FLOAT, dims=[4]))
    huge = copy()
    huge.graph.initializer[0].dims[:] = [1 << 40, 1 << 40, 3, 3]
    negative = copy()
    negative.graph.initializer[0].dims[0] = -8
    unknown = copy()
    unknown.graph.node[0].op_type = "Nonsense"
    typeless = copy()
    typeless.graph.initializer[0].data_type = 99
    loop = copy()
    loop.graph.node[0].input[0] = "y"
    return [
        (outside, "tensor 'w' lies in another file"),
        (hidden, "lies in another file"),
        (nested, "tensor 'deep' lies in another file"),
        (huge, "its shape says otherwise"),
        (negative, "its shape says otherwise"),
        (unknown, "not a valid ONNX model"),
        (typeless, "its shape says otherwise"),
        (loop, "not a valid ONNX model"),
        (onnx.ModelProto(), "between 1 and"),
        (model([helper.make_node("Relu", ["x"], ["z"])], [], (1, 1)), "not a valid ONNX model"),
    ]


@pytest.mark.parametrize(("graph", "message"), hostile())
def test_hostile_models(graph: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ExportError, match=message) as error:
        load_onnx(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\x00" * 100, CONV.SerializeToString()[:-50]])
def test_other_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(ExportError) as error:
        load_onnx(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="No such file"):
        load_onnx(tmp_path / "a.onnx")
    with pytest.raises(ExportError, match="not a file"):
        load_onnx(tmp_path)


def test_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(CONV.SerializeToString())
    with pytest.raises(ExportError, match=r"has between 1 and 100"):
        load_onnx(path, max_bytes=100)


def test_absurd_input_size_is_only_a_number() -> None:
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"])], [weight("w", 1, 3, 1, 1)], ("n", 3, 1 << 31, 1 << 31))
    assert count(graph).macs == 3 << 62


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_counted(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(CONV.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ExportError):
        count(load_onnx(path))


def test_real_models() -> None:
    for path in sorted(shared("models").glob("*.onnx")):
        stats = count(load_onnx(path))
        assert 0.3e6 < stats.parameters < 1e6, path
        assert stats.macs > 1e8, path
