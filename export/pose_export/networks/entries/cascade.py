"""DeepPose, G-RMI, and Tompson's coarse and fine models.

The authors of all three published no weights; MMPose trained DeepPose on ResNets (Apache-2.0).
"""

from __future__ import annotations

from typing import Any

from pose_export.networks._registry import Entry, Published, Source, register
from pose_export.networks.entries._mmpose import mmpose
from pose_runtime.skeletons import SKELETONS

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_DEEPPOSE = "Toshev & Szegedy, DeepPose: Human Pose Estimation via Deep Neural Networks, CVPR 2014"


def _add(
    name: str,
    method: str,
    paper: str,
    builder: str,
    arguments: dict[str, Any],
    skeleton: str,
    preset: str,
    size_wh: tuple[int, int],
    step: int,
    outputs: tuple[str, ...],
    parameters: int,
    macs: int,
    accuracy: tuple[Published, ...],
    *aliases: str,
    note: str = "",
    sources: tuple[Source, ...] = (),
) -> None:
    register(
        Entry(
            name=name,
            method=method,
            paper=paper,
            year=int(paper[-4:]),
            builder=builder,
            arguments={"joints": len(SKELETONS[skeleton].names), **arguments},
            skeleton=skeleton,
            preset=preset,
            size_wh=size_wh,
            sizes_wh=(size_wh,),
            step=step,
            outputs=outputs,
            parameters=parameters,
            macs=macs,
            note=note,
            accuracy=accuracy,
            sources=sources,
        ),
        *aliases,
    )


_add(
    "deeppose.lsp_220x220",
    "DeepPose",
    _DEEPPOSE,
    "deeppose:DeepPose",
    {},
    "lsp14",
    "deeppose",
    (220, 220),
    220,
    ("vector",),
    58_396_060,
    1_131_274_784,
    (
        Published(metric="LSP PCP@0.5, mean of limbs, first stage", value=54.0, source="the paper"),
        Published(metric="LSP PCP@0.5, mean of limbs, three stages", value=61.0, source="the paper"),
    ),
    "deeppose",
    note="the paper speaks of about 40 M parameters; the layers that it lists have 58.4 M, or 57.0 M with AlexNet's "
    "convolutions in two groups",
)


def _resnet(depth: int, data: str, size: tuple[int, int], cost: tuple[int, int], value: float, file: str) -> None:
    metric = {"mpii": "MPII val PCKh@0.5", "coco": "COCO val2017 AP"}[data]
    _add(
        f"deeppose_res{depth}.{data}_{size[1]}x{size[0]}",
        f"DeepPose on ResNet-{depth}",
        _DEEPPOSE,
        "deeppose:DeepPoseResNet",
        {"blocks": _BLOCKS[depth]},
        {"mpii": "mpii16", "coco": "coco17"}[data],
        "deeppose-mmpose",
        size,
        32,
        ("vector",),
        *cost,
        (Published(metric=metric, value=value, source="MMPose's table, flip test"),),
        *((f"deeppose_res{depth}",) if data == "coco" else ()),
        sources=(mmpose(f"top_down/deeppose/deeppose_res{depth}_{data}_{size[1]}x{size[0]}-{file}.pth"),),
    )


_MPII, _COCO = (256, 256), (192, 256)
_resnet(50, "mpii", _MPII, (23_573_600, 5_338_365_952), 82.6, "c63cd0b6_20210203")
_resnet(50, "coco", _COCO, (23_577_698, 4_003_794_944), 52.8, "f6de6c0e_20210205")
_resnet(101, "mpii", _MPII, (42_565_728, 10_186_981_376), 84.1, "87516a90_20210205")
_resnet(101, "coco", _COCO, (42_569_826, 7_640_256_512), 56.2, "2f247111_20210205")
_resnet(152, "mpii", _MPII, (58_209_376, 15_035_596_800), 85.0, "15f5e6f9_20210205")
_resnet(152, "coco", _COCO, (58_213_474, 11_276_718_080), 58.4, "7df89a88_20210205")

_add(
    "tompson.mpii_256x256",
    "efficient object localization",
    "Tompson et al., Efficient Object Localization Using Convolutional Networks, CVPR 2015",
    "tompson:Tompson",
    {},
    "lsp14",
    "tompson",
    (256, 256),
    16,
    ("heatmaps", "windows", "fine"),
    10_408_092,
    53_981_433_856,
    (
        Published(metric="MPII test PCKh@0.5", value=82.0, source="the paper"),
        Published(metric="MPII val PCKh@0.5", value=82.3, source="the authors' published predictions"),
    ),
    "tompson",
    note="the paper leaves widths open, so it states neither number",
)
_add(
    "grmi.coco_353x257",
    "G-RMI",
    "Papandreou et al., Towards Accurate Multi-person Pose Estimation in the Wild, CVPR 2017",
    "grmi:GRMI",
    {"blocks": _BLOCKS[101]},
    "coco17",
    "grmi",
    (257, 353),
    1,
    ("heatmaps", "offsets"),
    42_604_659,
    64_369_017_024,
    (Published(metric="COCO test-dev2017 AP", value=64.9, source="the paper"),),
    "grmi",
    note="published 57.0 GFLOPs fit multiply-accumulates in units of 2^30 at 256 x 352 (56.9), whose maps are a row "
    "and a column smaller",
)
