"""trt_pose's two published networks (MIT), on Google Drive."""

from __future__ import annotations

from pose_export.networks._registry import Entry, Names, Source, register

CLASSIFIER = r"(?:module\.)?0\.(?:resnet\.fc|densenet\.classifier)\.(?:weight|bias)"
"""The backbones' classifiers, which the files hold."""


def _add(name: str, backbone: str, side: int, parameters: int, macs: int, file: str, file_id: str) -> None:
    register(
        Entry(
            name=f"{name}.coco_{side}x{side}",
            method="trt_pose",
            paper="NVIDIA-AI-IOT, trt_pose, 2019",
            year=2019,
            builder="trt_pose:TrtPose",
            arguments={"backbone": backbone},
            skeleton="trt_pose18",
            preset="trt-pose",
            size_wh=(side, side),
            sizes_wh=((side, side),),
            step=32,
            outputs=("cmap", "paf"),
            parameters=parameters,
            macs=macs,
            note="published files hold the backbone's classifier, too",
            names=Names(ignored=(CLASSIFIER,)),
            sources=(Source(url=f"https://drive.google.com/open?id={file_id}", licence="MIT", file=file),),
        ),
        name,
    )


_add(
    "trt_pose_resnet18", "resnet", 224, 20_765_308, 7_821_836_288,
    "resnet18_baseline_att_224x224_A_epoch_249.pth", "1XYDdCUdiF2xxx4rznmLb62SdOUZuoNbd",
)  # fmt: skip
_add(
    "trt_pose_densenet121", "densenet", 256, 20_736_956, 11_816_402_944,
    "densenet121_baseline_att_256x256_B_epoch_160.pth", "13FkJkx7evQ1WwP54UmdiDXWyFMY1OxDU",
)  # fmt: skip
