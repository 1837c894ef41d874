"""Lightweight OpenPose with one to three refinement stages; the published file holds three (Apache-2.0)."""

from __future__ import annotations

from pose_export.networks._registry import Entry, Names, Published, Source, register

_FILE = "checkpoint_iter_370000.pth"
_URL = "https://download.01.org/opencv/openvino_training_extensions/models/human_pose_estimation/"


def _add(refinements: int, parameters: int, macs: int, *aliases: str) -> None:
    later = "|".join(str(i) for i in range(refinements, 3))
    register(
        Entry(
            name=f"lightweight_{refinements}.coco_256x456",
            method="lightweight OpenPose",
            paper="Osokin, Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, ICPRAM 2019",
            year=2018,
            builder="lightweight:LightweightOpenPose",
            arguments={"refinements": refinements},
            skeleton="openpose18",
            preset="lightweight-openpose",
            size_wh=(456, 256),
            sizes_wh=((456, 256),),
            step=8,
            outputs=(*(None,) * (2 * refinements), "stage_1_output_1_heatmaps", "stage_1_output_0_pafs"),
            parameters=parameters,
            macs=macs,
            accuracy=(Published(metric="COCO val2017 AP", value=40.0, source="the author's page"),)
            if refinements == 1
            else (),
            names=Names(ignored=(rf"(?:module\.)?refinement_stages\.(?:{later})\..*",) if later else ()),
            sources=(Source(url=_URL + _FILE, licence="Apache-2.0", file=_FILE),),
        ),
        *aliases,
    )


_add(1, 4_091_698, 7_656_013_824, "lightweight", "lightweight_openpose")
_add(2, 5_700_331, 10_581_417_984)
_add(3, 7_308_964, 13_506_822_144)
