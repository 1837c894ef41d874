from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pose_export import _inert
from pose_export.checkpoints import convert_names, fit, load_weights, read_checkpoint
from pose_export.networks import Names
from pose_runtime.errors import ExportError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.final_layer = nn.Conv2d(4, 2, 1)


class Unknown:
    """A class that the loading process may not import."""

    def __init__(self) -> None:
        self.value = 1


class Runs:
    """A pickle that calls `function(*arguments)` when an ordinary unpickler reads it."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.call


class OddDict(dict):  # type: ignore[type-arg]
    pass


Pair = namedtuple("Pair", "a b")


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    nn.init.normal_(net.bn1.running_mean)
    return net


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def new_format(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def save(content: object, path: Path, new: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


def prefixed(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


def floats(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if tensor.is_floating_point()}


def check_loads(path: Path, net: Net) -> None:
    fresh = Net()
    load_weights(fresh, path)
    for name, tensor in net.state_dict().items():
        loaded = fresh.state_dict()[name]
        assert loaded.dtype == tensor.dtype
        assert torch.equal(loaded, tensor), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net.state_dict(),
        lambda net: {"state_dict": net.state_dict()},
        lambda net: {
            "epoch": 3,
            "model": "pose_hrnet",
            "state_dict": prefixed(net, "module."),
            "optimizer": {"lr": 0.1},
        },
        lambda net: {"best_state_dict": net.state_dict(), "perf": 0.7},
        lambda net: {"model": net.state_dict()},
        lambda net: {"model": {"state_dict": prefixed(net, "model.module.")}},
        lambda net: prefixed(net, "1."),
        lambda net: prefixed(net, "module.1."),
        lambda net: {"meta": {"epoch": 210, "time": "now"}, "state_dict": mmpose(net, "keypoint_head.")},
        lambda net: {"state_dict": mmpose(net, "head.") | {"data_preprocessor.mean": torch.zeros(3, 1, 1)}},
        lambda net: {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in net.state_dict().items()},
        lambda net: {n: t for n, t in net.state_dict().items() if "num_batches" not in n},
        lambda net: {
            "best": np.float64(0.7),
            "epoch": np.int64(3),
            "curve": np.arange(3.0),
            "state_dict": net.state_dict(),
        },
        lambda net: {"meta": Unknown(), "state_dict": net.state_dict()},
        lambda net: {"meta": [OddDict(a=1), Pair(1, 2), SimpleNamespace(a=Unknown())], "state_dict": net.state_dict()},
        lambda net: {"type": np.dtype("O"), "kind": Unknown, "state_dict": prefixed(net, "module.")},
        lambda net: {"meta": Unknown(), "state_dict": {n: t.double() for n, t in floats(net).items()}},
        lambda net: {"meta": Unknown(), "state_dict": OrderedDict(net.state_dict())},
        lambda net: {"meta": {Unknown(): {Unknown()}}, "state_dict": net.state_dict()},
    ],
)
def test_load_weights(wrap: Any, net: Net, new_format: bool, tmp_path: Path) -> None:
    net.bn1.num_batches_tracked.zero_()
    check_loads(save(wrap(net), tmp_path / "net.pth", new_format), net)


def mmpose(net: Net, head: str) -> dict[str, Tensor]:
    """Names as mmpose gives them."""
    return {(head if "final" in name else "backbone.") + name: tensor for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("extra", [{}, {"meta": Unknown()}])
def test_float16_becomes_float32(net: Net, new_format: bool, extra: dict[str, object], tmp_path: Path) -> None:
    half = {name: t.half() if "conv" in name else t for name, t in prefixed(net, "1.").items()}
    path = save({"state_dict": half, **extra}, tmp_path / "net.pth.tar", new_format)
    net.conv1.weight.data = net.conv1.weight.data.half().float()
    check_loads(path, net)


def test_views_share_a_storage(net: Net, new_format: bool, tmp_path: Path) -> None:
    base = torch.randn(4, 4, 3, 3)
    net.conv1.weight.data = base[:, 1:]
    content = {"meta": Unknown(), "state_dict": net.state_dict()}
    check_loads(save(content, tmp_path / "net.pth", new_format), net)


def test_no_code_runs(net: Net, new_format: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setattr(sys.modules[__name__], "fell", lambda: trap.write_text("x"), raising=False)
    content = {
        "system": Runs(os.system, f"touch {trap}"),
        "eval": Runs(eval, f"open({str(trap)!r}, 'w')"),
        "nested": Runs(getattr, Runs(__import__, "os"), "system"),
        "chained": Runs(Runs, Runs(os.mkdir, str(trap))),
        "state_dict": net.state_dict(),
    }
    check_loads(save(content, tmp_path / "net.pth", new_format), net)
    assert not trap.exists()
    pickle.loads(pickle.dumps(content["system"]))
    assert trap.exists(), "the trap itself does not work"


def test_no_import(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the file names is not imported, though it could be."""
    (tmp_path / "trap_module.py").write_text("class Trap: pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    import trap_module  # type: ignore[import-not-found]

    path = save({"meta": trap_module.Trap(), "state_dict": net.state_dict()}, tmp_path / "net.pth")
    del sys.modules["trap_module"]
    check_loads(path, net)
    assert "trap_module" not in sys.modules


@pytest.mark.parametrize(
    "opcodes",
    [
        b"ccollections\nOrderedDict\n}X\x03\x00\x00\x00getX\x01\x00\x00\x00asb",  # attributes of a class
        b"cos\nsystem\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb",
        b"cos\nsystem\n(X\x01\x00\x00\x00atRX\x01\x00\x00\x00bb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}X\x09\x00\x00\x00_functioncos\nsystem\nsb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR}X\x01\x00\x00\x00aK\x01sb.",
        b"cos\nsystem\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\nX\x01\x00\x00\x00ao.",
        b"\x82\x01.",
    ],
)
def test_hostile_opcodes(opcodes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02" + opcodes)
        archive.writestr("net/version", b"3\n")
        archive.writestr("net/byteorder", b"little")
    with pytest.raises(ExportError) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert OrderedDict.get is dict.get


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda s: s.pop("conv1.weight"), r"another network: missing conv1\.weight$"),
        (lambda s: s.update(other=torch.zeros(1)), r"another network: unexpected other$"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(4, 3, 5, 5)}),
            r"of another shape conv1\.weight 4x3x5x5 float32 \(wanted 4x3x3x3 float32\)$",
        ),
        (lambda s: s.update({"bn1.weight": torch.zeros(4, dtype=torch.int64)}), r"bn1\.weight 4 int64"),
        (lambda s: s.update({"bn1.weight": torch.full((4,), torch.nan)}), r"damaged: NaN or Inf bn1\.weight"),
        (lambda s: s.update({"module.bn1.bias": torch.zeros(4)}), r"2 tensors that would become 'bn1\.bias'"),
        (lambda s: s.clear() or s.update({f"x{i}": torch.zeros(1) for i in range(9)}), r"x0, x1, x2 and 6 more$"),
    ],
)
def test_misfits(net: Net, rename: Any, message: str, tmp_path: Path) -> None:
    state = dict(net.state_dict())
    rename(state)
    with pytest.raises(ExportError, match=message):
        load_weights(Net(), save(state, tmp_path / "net.pth"))


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {}}, {"epoch": 3}, "text", Unknown(), torch.zeros(2)])
def test_no_state_dict(content: object, new_format: bool, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no state dict"):
        read_checkpoint(save(content, tmp_path / "net.pth", new_format))


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.98])
@pytest.mark.parametrize("extra", [{}, {"meta": Unknown()}])
def test_truncated(net: Net, new_format: bool, part: float, extra: dict[str, object], tmp_path: Path) -> None:
    path = save({"state_dict": net.state_dict(), **extra}, tmp_path / "net.pth", new_format)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ExportError) as error:
        load_weights(Net(), path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\x00" * 1000, "not a PyTorch checkpoint"),
        (b"PK\x03\x04" + b"\x00" * 1000, "damaged or truncated"),
        (pickle.dumps({"a": 1}), "not a PyTorch checkpoint"),
        (_inert.LEGACY_MAGIC, "damaged or truncated"),
    ],
)
def test_other_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with pytest.raises(ExportError, match=message) as error:
        load_weights(Net(), path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="No such file"):
        load_weights(Net(), tmp_path / "absent.pth")
    with pytest.raises(ExportError, match="not a file"):
        load_weights(Net(), tmp_path)


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x00" * 10_000_000)
    with pytest.raises(ExportError, match="declares more bytes"):
        read_checkpoint(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(ExportError, match="TorchScript"):
        read_checkpoint(path)


def test_absurd_storage_in_the_older_format(net: Net, tmp_path: Path) -> None:
    """A storage that declares far more numbers than the file has."""
    net.final_layer.weight.data = torch.ones(2, 4, 1, 1)
    path = save({"meta": Unknown(), "state_dict": net.state_dict()}, tmp_path / "net.pth", new=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 8), struct.pack("<q", 1 << 60)))
    with pytest.raises(ExportError, match="damaged"):
        read_checkpoint(path)


def test_repeated_numbers_are_not_blown_up(tmp_path: Path, new_format: bool) -> None:
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    path = save({"meta": Unknown(), "state_dict": {"a": huge}}, tmp_path / "net.pth", new_format)
    with pytest.raises(ExportError, match="of which 1 are stored"):
        read_checkpoint(path)


def test_convert_names_keeps_what_belongs() -> None:
    """A network whose own names begin like a wrapper's."""
    wanted = ["model.head.weight", "1.bias"]
    assert convert_names(["module.model.head.weight", "1.bias", "x"], wanted) == {
        "module.model.head.weight": "model.head.weight",
        "1.bias": "1.bias",
        "x": "x",
    }


def test_fit_keeps_the_wanted_order() -> None:
    wanted = {"a": torch.zeros(1), "b": torch.zeros(2)}
    assert list(fit({"b": torch.ones(2), "a": torch.ones(1)}, wanted)) == ["a", "b"]


def test_names_of_a_checkpoint() -> None:
    """Renamed first, then freed of prefixes; what nothing needs is left out, and counts as no misfit."""
    how = Names(ignored=(r"classifier\..*",), renamed=((r"^net\.(\d+)", r"blocks.\1"), ("gamma", "weight")))
    wanted = {"blocks.0.weight": torch.zeros(2)}
    names = convert_names(["net.0.gamma", "classifier.weight"], wanted, how)
    assert names == {"net.0.gamma": "blocks.0.weight"}
    given = {"net.0.gamma": torch.ones(2), "classifier.weight": torch.ones(1)}
    assert fit(given, wanted, how)["blocks.0.weight"].tolist() == [1, 1]
    with pytest.raises(ExportError, match="unexpected classifier"):
        fit({"blocks.0.weight": torch.ones(2), "classifier.weight": torch.ones(1)}, wanted)
