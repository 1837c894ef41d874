"""Convolutional pose machines as released, in Caffe's files (GPL-2.0)."""

from __future__ import annotations

from pose_export.networks._registry import Entry, Published, Source, register
from pose_runtime.skeletons import SKELETONS

_FOLDER = "http://posefs1.perception.cs.cmu.edu/CPM/caffe_model_github/model/"


def _add(
    name: str,
    builder: str,
    skeleton: str,
    stages: int,
    cost: tuple[int, int],
    accuracy: Published | None,
    file: str,
    *aliases: str,
) -> None:
    register(
        Entry(
            name=name,
            method="CPM" if builder == "CPM" else "CPM on VGG",
            paper="Wei et al., Convolutional Pose Machines, CVPR 2016",
            year=2016,
            builder=f"cpm:{builder}",
            arguments={"stages": stages, "joints": len(SKELETONS[skeleton].names)},
            skeleton=skeleton,
            preset="cpm",
            size_wh=(368, 368),
            sizes_wh=((368, 368),),
            step=8,
            outputs=(*(None,) * (stages - 1), "heatmaps"),
            parameters=cost[0],
            macs=cost[1],
            accuracy=() if accuracy is None else (accuracy,),
            sources=(Source(url=_FOLDER + file, licence="GPL-2.0", file=file.rpartition("/")[2]),) if file else (),
        ),
        *aliases,
    )


_SIX, _VGG = (31_219_866, 175_437_729_280), (29_852_058, 88_419_683_840)
_LSP = Published(metric="LSP PCK@0.2, person-centric", value=90.5, source="the paper, with MPII")
_PCK = Published(metric="FLIC PCK@0.2, wrists", value=95.0, source="the authors' published predictions")
_MPII, _MPII_VGG = (
    Published(metric="MPII test PCKh@0.5", value=value, source=source)
    for value, source in ((88.5, "the paper, with LSP"), (90.1, "the authors' page"))
)
_JOINTS = "ai_challenger14"  # head top, neck, right arm, left arm, right leg, left leg
_add("cpm_3.lsp_368x368", "CPM", _JOINTS, 3, (16_731_021, 144_782_881_792), None, "", "cpm_3")
_add(
    "cpm_6.mpii_368x368", "CPM", _JOINTS, 6, _SIX, _MPII, "_trained_MPI/pose_iter_985000_addLEEDS.caffemodel",
    "cpm", "cpm_6",
)  # fmt: skip
_add("cpm_6.lsp_368x368", "CPM", _JOINTS, 6, _SIX, _LSP, "_trained_LEEDS_PC/pose_iter_395000.caffemodel")
_add(
    "cpm_4.flic_368x368", "CPM", "flic9", 4, (21_323_816, 154_500_095_488), _PCK,
    "_trained_FLIC/pose_iter_40000.caffemodel", "cpm_4",
)  # fmt: skip
_add(
    "cpm_vgg.mpii_368x368", "CPMVgg", _JOINTS, 6, _VGG, _MPII_VGG, "_trained_MPI/pose_iter_320000.caffemodel", "cpm_vgg"
)
