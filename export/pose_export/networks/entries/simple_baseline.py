"""SimpleBaseline on ResNet-50, the usual anchor: the authors' files (MIT, Google Drive) and MMPose's (Apache-2.0)."""

from __future__ import annotations

from pose_export.networks._registry import Entry, Published, Source, register
from pose_export.networks.entries._mmpose import mmpose

_FOLDER = "https://drive.google.com/drive/folders/1rsmIvQxLdLHNMVJqkPFIkBwnVYhuZwJS"


def _add(height: int, width: int, macs: int, value: float, file: str, *aliases: str) -> None:
    size = f"{height}x{width}"
    register(
        Entry(
            name=f"simple_baseline_res50.coco_{size}",
            method="SimpleBaseline",
            paper="Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018",
            year=2018,
            builder="simple_baseline:SimpleBaseline",
            arguments={"joints": 17, "blocks": (3, 4, 6, 3)},
            skeleton="coco17",
            preset="hrnet",
            size_wh=(width, height),
            sizes_wh=((width, height),),
            step=32,
            outputs=("heatmaps",),
            parameters=33_999_697,
            macs=macs,
            note="published 8.9 GFLOPs (256 x 192) count each transposed convolution four times",
            accuracy=(Published(metric="COCO val2017 AP", value=value, source="the authors' table, flip test"),),
            sources=(
                mmpose(f"top_down/resnet/res50_coco_{size}-{file}.pth"),
                Source(url=_FOLDER, licence="MIT", file=f"pose_coco/pose_resnet_50_{size}.pth.tar"),
            ),
        ),
        *aliases,
    )


_add(256, 192, 5_426_380_800, 70.4, "ec54d7f3_20200709", "simple_baseline", "simple_baseline_res50")
_add(384, 288, 12_209_356_800, 72.2, "e6f795e9_20200709")
