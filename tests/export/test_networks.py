from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import goldens
from pose_export import identify, networks
from pose_export.checkpoints import MisfitError
from pose_export.networks import cpm, hourglass
from pose_export.networks.higherhrnet import HigherHRNet
from pose_export.networks.hrnet import HRNet
from pose_export.to_onnx import compare, export_onnx
from pose_runtime.errors import ExportError
from shared import shared

LICENCES = (
    *("MIT", "Apache-2.0", "BSD-3-Clause", "GPL-2.0", "unknown"),
    "academic or non-profit, non-commercial",
)
UNPUBLISHED = ("deeppose", "tompson", "grmi", "hourglass_1", "cpm_3")
"""Their authors published no weights."""
NAMES = [entry.name for entry in networks.entries()]


@pytest.fixture(scope="module")
def built() -> dict[str, nn.Module]:
    """Networks without memory for their weights: enough to ask for names and shapes."""
    with torch.device("meta"):
        return {name: networks.build(networks.find(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_entry(name: str, built: dict[str, nn.Module]) -> None:
    entry, network = networks.find(name), built[name]
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.parameters
    if "hrnet_w" in name:
        assert len(network.state_dict()) == (1810 if entry.preset == "higherhrnet" else 1754)
    assert entry.size_wh in entry.sizes_wh
    assert not any(side % entry.step for size in entry.sizes_wh for side in size)


@pytest.mark.parametrize("name", NAMES)
def test_entry_outputs(name: str, built: dict[str, nn.Module]) -> None:
    entry, network = networks.find(name), built[name]
    width, height = entry.size_wh
    outputs = network(torch.zeros(1, 3, height, width, device="meta"))
    shapes = [tuple(o.shape[1:]) for o in (outputs if isinstance(outputs, tuple) else (outputs,))]
    joints = entry.keypoints
    assert len(entry.outputs) == len(shapes)
    if entry.builder.endswith("JointTiny"):
        assert shapes[2:] == [(joints + 2, height // 4, width // 4), (38, height // 4, width // 4)]
        shapes = shapes[:2]
    if entry.preset.startswith("higherhrnet"):
        assert shapes == [(2 * joints, height // 4, width // 4), (joints, height // 2, width // 2)]
    elif entry.preset == "lightweight-tiny":
        assert shapes == [(joints + 1, height // 4, width // 4), (38, height // 4, width // 4)]
    elif entry.preset == "person-tiny":
        assert shapes == [(1, height // 8, width // 8), (4, height // 8, width // 8)]
    elif entry.preset == "hrnet":
        assert shapes == [(joints, height // 4, width // 4)]
    elif entry.preset in ("hourglass", "hourglass-flat"):
        assert shapes == [(joints, height // 4, width // 4)] * len(shapes)
    elif entry.preset == "embedding-hourglass":
        assert shapes == [(4 * joints, height // 4, width // 4)] * len(shapes)
    elif entry.preset == "cpm":
        assert shapes == [(joints + 1, 46, 46)] * len(shapes)
    elif entry.preset in ("openpose-coco", "openpose-mpi", "openpose-body25", "lightweight-openpose"):
        limbs = {18: 19, 15: 14, 25: 26}[joints]
        assert shapes == [(joints + 1, height // 8, width // 8), (2 * limbs, height // 8, width // 8)] * (
            len(shapes) // 2
        )
    elif entry.preset == "trt-pose":
        assert shapes == [(18, height // 4, width // 4), (42, height // 4, width // 4)]
    elif entry.preset == "person-tiny":
        assert [len(shape) for shape in shapes] == [3, 3]
    elif entry.preset.startswith("deeppose"):
        assert shapes == [(2 * joints,)]
    elif entry.preset == "grmi":
        assert shapes == [(joints, height, width), (2 * joints, height, width)]
    else:
        assert shapes == [(joints, height // 4, width // 4), (2 * joints,), (joints, 36, 36)]


@pytest.mark.parametrize("name", NAMES)
def test_sources(name: str) -> None:
    sources = networks.find(name).sources
    assert sources or name.partition(".")[0] in UNPUBLISHED
    for source in sources:
        assert (
            source.licence in ("MIT", "Apache-2.0", "BSD-3-Clause", "GPL-2.0", "unknown")
            or "non-commercial" in source.licence
        )
        if source.url.startswith("package:"):
            continue
        assert source.url.startswith(
            ("https://", "http://www-personal.umich.edu/", "http://posefs1.", "http://vcl.snu.ac.kr/")
        )
        if source.algorithm is not None:
            assert source.url.startswith("https://")
            int(source.digest, 16)
            assert 8 <= len(source.digest) <= 2 * hashlib.new(source.algorithm).digest_size


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("hrnet", "hrnet_w32.coco_256x192"),
        ("hrnet_w32", "hrnet_w32.coco_256x192"),
        ("hrnet_w48", "hrnet_w48.coco_256x192"),
        ("higherhrnet", "higherhrnet_w32.coco_512"),
        ("higherhrnet_w32", "higherhrnet_w32.coco_512"),
        ("higherhrnet_w48", "higherhrnet_w48.coco_640"),
        ("HigherHRNet-W48", "higherhrnet_w48.coco_640"),
        ("hrnet_w48.mpii_256x256", "hrnet_w48.mpii_256x256"),
        ("higherhrnet_w32.coco_640", "higherhrnet_w32.coco_640"),
        ("higherhrnet_w32.crowdpose_512", "higherhrnet_w32.crowdpose_512"),
    ],
)
def test_find(short: str, full: str) -> None:
    assert networks.find(short).name == full


def test_find_names_what_is_valid() -> None:
    with pytest.raises(ExportError) as error:
        networks.find("higherhrnet_w33")
    message = str(error.value)
    assert message.startswith("no network is called 'higherhrnet_w33'; valid are higherhrnet_w32, ")
    assert all(name in message for name in networks.names())
    assert "\n" not in message


def test_input_size_is_width_and_height() -> None:
    assert networks.find("hrnet").size_wh == (192, 256)
    assert networks.find("hrnet").sizes_wh == ((192, 256), (288, 384))


def test_names_need_no_torch() -> None:
    code = "import sys; from pose_export import networks; networks.find('hrnet'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("kind", "size_hw"), [(HRNet, (32, 32)), (HigherHRNet, (32, 96))])
def test_gradients_reach_every_parameter(kind: type[HRNet | HigherHRNet], size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = kind(width=4, joints=2)
    outputs = network(torch.randn(2, 3, *size_hw))
    sum(o.square().mean() for o in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_goldens(capsys: pytest.CaptureFixture[str]) -> None:
    root: Path = shared("reference")
    passed, total = goldens.run(root, "hrnet/networks")
    assert passed == total > 0, capsys.readouterr().out


@pytest.mark.parametrize("name", ["higherhrnet-tiny", "lightweight-tiny", "joint-tiny", "person-tiny"])
def test_our_networks_are_small_and_dense(name: str) -> None:
    network = networks.build(networks.find(name))
    assert sum(parameter.numel() for parameter in network.parameters()) <= 2_000_000
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and module.in_channels != 3:
            assert module.groups == 1
            assert module.in_channels % 16 == 0
            assert module.out_channels % 16 == 0


def test_our_networks_share_the_trunk() -> None:
    one, other = (networks.build(networks.find(name)).state_dict() for name in ("higherhrnet-tiny", "lightweight-tiny"))
    shared_names = [key for key in one if key in other and one[key].shape == other[key].shape]
    assert sum(key.startswith(("stem.", "stages.", "laterals.", "downwards.", "merges.")) for key in one) == len(
        shared_names
    )


def test_the_detector_has_their_trunk_to_an_eighth() -> None:
    one, other = (networks.build(networks.find(name)).state_dict() for name in ("person-tiny", "lightweight-tiny"))
    own = {key for key in one if key not in other or one[key].shape != other[key].shape}
    assert {key.partition(".")[0] for key in own} == {"neck", "centres", "sides"}


def test_both_heads_on_one_trunk_are_the_two_networks() -> None:
    joint = networks.build(networks.find("joint-tiny")).eval()
    picture, kept = torch.randn(1, 3, 64, 96), []
    for name in ("higherhrnet-tiny", "lightweight-tiny"):
        network = networks.build(networks.find(name)).eval()
        network.load_state_dict({key: joint.state_dict()[key] for key in network.state_dict()})
        kept += network(picture)
    assert all(torch.equal(a, b) for a, b in zip(joint(picture), kept, strict=True))


def test_the_last_stage_alone_is_returned_outside_training() -> None:
    network = networks.build(networks.find("lightweight-tiny"))
    picture = torch.zeros(2, 3, 64, 96)
    assert len(network(picture)) == 2
    assert len(network.train()(picture)) == 4


@pytest.mark.parametrize(
    ("build", "side"),
    [
        (lambda: hourglass.StackedHourglass(stacks=2, joints=3), 64),
        (lambda: hourglass.FlatStackedHourglass(stacks=2, joints=3), 64),
        (lambda: cpm.CPM(stages=3, joints=3), 64),
    ],
    ids=["hourglass", "flat hourglass", "cpm"],
)
def test_the_last_stage_is_exported(build: Callable[[], nn.Module], side: int, tmp_path: Path) -> None:
    """Equal to PyTorch, for any batch."""
    torch.manual_seed(0)
    network, path = build().eval(), tmp_path / "net.onnx"
    stages = 3 if isinstance(network, cpm.CPM) else 2
    names = (*(None,) * (stages - 1), "heatmaps")
    export_onnx(
        network, input_name="image", output_names=names, size_wh=(side, 2 * side), dynamic_batch=True, path=path
    )
    assert list(compare(network, path, output_names=names, size_wh=(side, 2 * side))) == ["heatmaps"]


def test_a_centre_map() -> None:
    """The authors count pixels from one, and the middle of 368 is their pixel 184."""
    found = cpm.centre_map(368, 368)[0, 0]
    assert np.unravel_index(int(found.argmax()), found.shape) == (183, 183)
    assert found[183, 183 + 21] == pytest.approx(np.exp(-0.5))


def test_a_checkpoint_of_another_network_is_recognised() -> None:
    network = networks.build(networks.find("hourglass_2"))
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    misfit = MisfitError("a.pth: missing a", state)
    wanted = networks.find("hrnet")
    told = identify.explain(misfit, Path("a.pth"), wanted)
    assert told.startswith("a.pth: the checkpoint is of another network than hrnet_w32.coco_256x192: ")
    assert told.endswith("it fits --model hourglass_2.mpii_256x256")
    assert identify.explain(MisfitError("a.pth: missing a", {}), Path("a.pth"), wanted) == "a.pth: missing a"
