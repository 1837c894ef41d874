"""OpenPose's released networks, in Caffe's files (for non-commercial use only), and the port of one to PyTorch."""

from __future__ import annotations

from typing import Any

from pose_export.networks._registry import Entry, Names, Published, Source, register

FLAT = (
    (r"^(conv[1-4]_)", r"model0.\1"),
    (r"^(conv5_\d_CPM_L(\d))", r"model1_\2.\1"),
    (r"^(Mconv\d_stage(\d)_L(\d))", r"model\2_\3.\1"),
)
"""Names without the part of the network, as in Caffe's files and in the port's checkpoint."""
_TRIPLES = (
    (r"^((?:conv|prelu)[1-4]_)", r"front.\1"),
    (r"^(M(?:conv|prelu)\d_stage(\d)_L2)", r"fields.\2.\1"),
    (r"^(M(?:conv|prelu)\d_stage(\d)_L1)", r"heats.\2.\1"),
    (r"\.slope$", ".weight"),
)
_FOLDER = "http://vcl.snu.ac.kr/OpenPose/models/pose/"
_2017 = "Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017"
_2019 = "Cao et al., OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, TPAMI 2019"


def _add(
    name: str,
    arguments: dict[str, Any],
    skeleton: str,
    preset: str,
    cost: tuple[int, int],
    source: Source,
    *aliases: str,
    accuracy: tuple[Published, ...] = (),
    body25: bool = False,
) -> None:
    register(
        Entry(
            name=name,
            method="OpenPose",
            paper=_2019 if body25 else _2017,
            year=2019 if body25 else 2017,
            builder="openpose:OpenPoseBody25" if body25 else "openpose:OpenPose",
            arguments=arguments,
            skeleton=skeleton,
            preset=preset,
            size_wh=(656, 368),
            sizes_wh=((656, 368),),
            step=16,
            outputs=("heatmaps", "pafs"),
            parameters=cost[0],
            macs=cost[1],
            accuracy=accuracy,
            names=Names(renamed=_TRIPLES if body25 else FLAT),
            sources=(source,),
        ),
        *aliases,
    )


def _caffe(path: str) -> Source:
    file = path.rpartition("/")[2]
    return Source(url=_FOLDER + path, licence="academic or non-profit, non-commercial", file=file)


_AP = Published(metric="COCO test-dev AP", value=61.8, source="HigherHRNet's table")
_COCO, _MPI = {"heatmaps": 19, "pafs": 38}, {"heatmaps": 16, "pafs": 28}
_COST = (52_311_446, 242_317_142_528)
_add(
    "openpose.coco_368x656", _COCO, "openpose18", "openpose-coco", _COST,
    _caffe("coco/pose_iter_440000.caffemodel"), "openpose", accuracy=(_AP,),
)  # fmt: skip
_add(
    "openpose_port.coco_368x656", {**_COCO, "relu_last": True}, "openpose18", "openpose-coco", _COST,
    Source(
        url="https://drive.google.com/drive/folders/1JsvI4M4ZTg98fmnCZLFM-3TeovnCRElG", licence="unknown",
        file="body_pose_model.pth",
    ),
    "openpose_port",
)  # fmt: skip
_add(
    "openpose.mpi_368x656", _MPI, "openpose_mpi15", "openpose-mpi", (51_481_032, 239_185_115_136),
    _caffe("mpi/pose_iter_160000.caffemodel"),
)  # fmt: skip
_add(
    "openpose_fast.mpi_368x656", {**_MPI, "stages": 4}, "openpose_mpi15", "openpose-mpi", (34_240_880, 174_167_181_312),
    _caffe("mpi/pose_iter_160000.caffemodel"),
)  # fmt: skip
_add(
    "openpose_body25.368x656", {}, "body25", "openpose-body25", (26_166_084, 143_630_517_760),
    _caffe("body_25/pose_iter_584000.caffemodel"), "openpose_body25", body25=True,
)  # fmt: skip
