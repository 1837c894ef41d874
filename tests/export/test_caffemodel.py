"""Caffe's files, written here byte by byte: both layouts, hostile ones, and into a network."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pose_export.caffemodel import read_caffemodel
from pose_runtime.errors import ExportError

torch = pytest.importorskip("torch")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(array: np.ndarray, *, old: bool) -> bytes:
    data = field(5, array.astype("<f4").tobytes())
    if old:
        shape = (*(1,) * (4 - array.ndim), *array.shape)
        return b"".join(field(i + 1, side) for i, side in enumerate(shape)) + data
    return data + field(7, field(1, b"".join(varint(side) for side in array.shape)))


def net(layers: dict[str, list[np.ndarray]], *, old: bool = False) -> bytes:
    name, blobs, number = (4, 6, 2) if old else (1, 7, 100)
    parts = [field(1, b"a net"), varint(9 << 3 | 5) + struct.pack("<f", 1.0)]
    for key, arrays in layers.items():
        body = field(name, key.encode()) + field(2 if not old else 5, b"Convolution" if not old else 4)
        parts.append(field(number, body + b"".join(field(blobs, blob(array, old=old)) for array in arrays)))
    return b"".join(parts)


RANDOM = np.random.default_rng(0)
LAYERS = {
    "conv1_1": [RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32), RANDOM.normal(size=4).astype(np.float32)],
    "relu": [],
    "slope": [RANDOM.normal(size=200).astype(np.float32)],
}


@pytest.mark.parametrize("old", [True, False])
def test_weights_by_name(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net(LAYERS, old=old))
    found = read_caffemodel(path)
    assert list(found) == ["conv1_1.weight", "conv1_1.bias", "slope.weight"]
    for key, (layer, i) in zip(found, (("conv1_1", 0), ("conv1_1", 1), ("slope", 0)), strict=True):
        np.testing.assert_array_equal(found[key], LAYERS[layer][i])


def test_every_truncation_is_refused_or_ends_with_a_layer(tmp_path: Path) -> None:
    path, data = tmp_path / "net.caffemodel", net(LAYERS)
    whole = {len(net(dict(list(LAYERS.items())[:count]))) for count in range(len(LAYERS) + 1)}
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size in whole:
            continue
        with pytest.raises(ExportError) as caught:
            read_caffemodel(path)
        assert "\n" not in str(caught.value)


def test_noise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    for seed in range(200):
        path.write_bytes(np.random.default_rng(seed).bytes(300))
        with pytest.raises(ExportError):
            read_caffemodel(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no weights in it"),
        (net({"relu": []}), "no weights in it"),
        (net({"": [np.ones(3)]}), "a layer without a name of its own"),
        (net({"a": [np.ones(3)]}) * 2, "a layer without a name of its own"),
        (field(100, field(1, b"a") + field(7, field(5, b"abc"))), "buffer size must be a multiple"),
        (field(100, field(1, b"a") + field(7, field(1, 1 << 62))), "with 0 values"),
        (b"\xff" * 12, "over 64 bits"),
    ],
)
def test_what_is_no_network(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(data)
    with pytest.raises(ExportError, match=message):
        read_caffemodel(path)


def test_a_released_network_takes_its_file(tmp_path: Path) -> None:
    """By the names of Caffe's layers: OpenPose's of 2019, with slopes."""
    from pose_export import networks
    from pose_export.checkpoints import load_weights
    from pose_export.networks.openpose import OpenPoseBody25

    torch.manual_seed(0)
    network, fresh = OpenPoseBody25(), OpenPoseBody25()
    layers: dict[str, list[np.ndarray]] = {}
    for key, tensor in network.state_dict().items():
        layers.setdefault(key.split(".")[-2], []).append(tensor.numpy())
    path = tmp_path / "pose_iter_584000.caffemodel"
    path.write_bytes(net(layers, old=True))
    load_weights(fresh, path, networks.find("openpose_body25").names)
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[key]), key
