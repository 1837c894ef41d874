"""jetpose's own networks, trained on synthetic people; their weights come with the package."""

from __future__ import annotations

from pose_export.networks._registry import Entry, Source, register
from pose_runtime.skeletons import SKELETONS

_SIZE_WH = (320, 320)


def _source(file: str) -> Source:
    return Source(url=f"package:{file}", licence="Apache-2.0", file=file)


def _add(name: str, builder: str, skeleton: str, preset: str, outputs: tuple[str, ...], parameters: int) -> None:
    register(
        Entry(
            name=f"{name}.synthetic_320x320",
            builder=f"tiny:{builder}",
            width=48,
            joints=len(SKELETONS[skeleton].names),
            skeleton=skeleton,
            preset=preset,
            size_wh=_SIZE_WH,
            sizes_wh=(_SIZE_WH, (256, 256), (320, 256), (320, 192)),
            step=32,
            outputs=outputs,
            parameters=parameters,
            sources=(_source(f"{name.replace('_', '-')}.pth"),),
        ),
        name,
    )


_add("higherhrnet_tiny", "HigherHRNetTiny", "coco17", "higherhrnet-tiny", ("heatmaps_tags", "heatmaps"), 1_280_515)
_add("lightweight_tiny", "LightweightTiny", "openpose18", "lightweight-tiny", ("heatmaps", "pafs"), 1_330_290)
_BOTH = ("heatmaps_tags", "heatmaps", "field_heatmaps", "pafs")
_add("joint_tiny", "JointTiny", "coco17", "higherhrnet-tiny", _BOTH, 1_374_565)
