"""jetpose's own networks, trained on synthetic people; their weights come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pose_export.networks._registry import Entry, Source, register
from pose_runtime.skeletons import SKELETONS

_SIZE_WH = (320, 320)


def _source(file: str) -> Source:
    return Source(url=f"package:{file}", licence="Apache-2.0", file=file)


def _add(
    name: str,
    method: str,
    builder: str,
    skeleton: str,
    preset: str,
    outputs: tuple[str, ...],
    parameters: int,
    macs: int,
    arguments: Mapping[str, Any] | None = None,
) -> None:
    register(
        Entry(
            name=f"{name}.synthetic_320x320",
            method=method,
            paper="jetpose",
            year=2026,
            builder=f"tiny:{builder}",
            arguments={"width": 48, "joints": len(SKELETONS[skeleton].names)} if arguments is None else arguments,
            skeleton=skeleton,
            preset=preset,
            size_wh=_SIZE_WH,
            sizes_wh=(_SIZE_WH, (256, 256), (320, 256), (320, 192)),
            step=32,
            outputs=outputs,
            parameters=parameters,
            macs=macs,
            sources=(_source(f"{name.replace('_', '-')}.pth"),),
        ),
        name,
    )


_TAGS = ("heatmaps_tags", "heatmaps")
_add(
    "higherhrnet_tiny",
    "HigherHRNet, small",
    "HigherHRNetTiny",
    "coco17",
    "higherhrnet-tiny",
    _TAGS,
    1_280_515,
    1_610_752_000,
)
_add(
    "lightweight_tiny",
    "part affinity fields, small",
    "LightweightTiny",
    "openpose18",
    "lightweight-tiny",
    ("heatmaps", "pafs"),
    1_330_290,
    1_915_801_600,
)
_add(
    "joint_tiny",
    "both of these, for training",
    "JointTiny",
    "coco17",
    "higherhrnet-tiny",
    (*_TAGS, "field_heatmaps", "pafs"),
    1_374_565,
    2_208_870_400,
)
_add(
    "person_tiny",
    "centres and boxes of people, small",
    "PersonTiny",
    "box2",
    "person-tiny",
    ("heatmaps", "boxes"),
    1_301_077,
    1_214_976_000,
    arguments={},
)
