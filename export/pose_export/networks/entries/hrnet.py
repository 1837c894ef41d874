"""The published HRNets and HigherHRNets.

Sources: the authors' files (MIT; on Google Drive, but for one mirror in the Open Model Zoo) and mmpose's
(Apache-2.0), whose file names carry the first 8 hex digits of the file's SHA-256.
"""

from __future__ import annotations

from pose_export.networks._registry import Entry, Published, Source, register
from pose_export.networks.entries._mmpose import mmpose
from pose_runtime.skeletons import SKELETONS

_HRNET_FOLDER = "https://drive.google.com/drive/folders/1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC"
_HIGHER_FOLDER = "https://drive.google.com/drive/folders/1X9-TzWpwbX2zQf2To8lB-ZQHMYviYYh6"
_ZOO = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1/"


def _drive(folder: str, file: str, file_id: str = "") -> Source:
    url = f"https://drive.google.com/file/d/{file_id}/view" if file_id else folder
    return Source(url=url, licence="MIT", file=file)


def _authors(file: str, file_id: str = "") -> Source:
    return _drive(_HIGHER_FOLDER if "higher" in file else _HRNET_FOLDER, file, file_id)


_W32_512_MIRROR = Source(
    url=_ZOO + "higher-hrnet-w32-human-pose-estimation/ckpt/pose_higher_hrnet_w32_512.pth",
    licence="MIT",
    file="pose_higher_hrnet_w32_512.pth",
    algorithm="sha384",
    digest="d344fcc4e426308139397bd708be1c59500e038a540ea0979b6a10556b5f3530701d86c0cab276fc5710419f91879e3d",
)

_SKELETONS = {"coco": "coco17", "mpii": "mpii16", "crowdpose": "crowdpose14"}
_SIZES_WH = {
    ("hrnet", "coco"): ((192, 256), (288, 384)),
    ("hrnet", "mpii"): ((256, 256),),
    ("hrnet", "crowdpose"): ((192, 256),),
    ("higherhrnet", "coco"): ((512, 512), (640, 640)),
    ("higherhrnet", "crowdpose"): ((512, 512),),
}
_CLASSES = {"hrnet": "hrnet:HRNet", "higherhrnet": "higherhrnet:HigherHRNet"}
_OUTPUTS = {"hrnet": ("heatmaps",), "higherhrnet": ("heatmaps_tags", "heatmaps")}


_METHODS = {
    "hrnet": (
        "HRNet",
        "Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019",
        2019,
        "published GFLOPs are multiply-accumulates in units of 2^30",
    ),
    "higherhrnet": (
        "HigherHRNet",
        "Cheng et al., HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation, CVPR 2020",
        2020,
        "published GFLOPs count the multiply-accumulates of the transposed convolution four times",
    ),
}
_AUTHORS_TABLES = "the authors' table, flip test"
_MMPOSE_TABLES = "MMPose's table, flip test"


def _coco(value: float, source: str = _AUTHORS_TABLES) -> Published:
    return Published(metric="COCO val2017 AP", value=value, source=source)


def _mpii(value: float, source: str = _AUTHORS_TABLES) -> Published:
    return Published(metric="MPII val PCKh@0.5", value=value, source=source)


def _crowdpose(value: float, source: str) -> Published:
    return Published(metric="CrowdPose test AP", value=value, source=source)


def _add(
    architecture: str,
    tag: str,
    parameters: int,
    macs: int,
    accuracy: Published,
    sources: tuple[Source, ...],
    *aliases: str,
) -> None:
    """Tag is `data_WxH` in the publishers' way: height x width, or one number for a square."""
    family, _, width = architecture.partition("_w")
    data, _, size = tag.partition("_")
    skeleton = SKELETONS[_SKELETONS[data]]
    method, paper, year, note = _METHODS[family]
    height_width = [int(side) for side in size.split("x")]
    register(
        Entry(
            name=f"{architecture}.{tag}",
            method=method,
            paper=paper,
            year=year,
            builder=_CLASSES[family],
            arguments={"width": int(width), "joints": len(skeleton.names)},
            skeleton=skeleton.name,
            preset=family,
            size_wh=(height_width[-1], height_width[0]),
            sizes_wh=_SIZES_WH[family, data],
            step=32,
            outputs=_OUTPUTS[family],
            parameters=parameters,
            macs=macs,
            note=note,
            accuracy=(accuracy,),
            sources=sources,
        ),
        *aliases,
    )


_add(
    "hrnet_w32",
    "coco_256x192",
    28_536_113,
    7_645_003_776,
    _coco(74.4),
    (
        mmpose("top_down/hrnet/hrnet_w32_coco_256x192-c78dce93_20200708.pth"),
        _authors("pose_coco/pose_hrnet_w32_256x192.pth", "1zYC7go9EV0XaSlSBjMaiyE_4TcHc_S38"),
    ),
    "hrnet",
    "hrnet_w32",
)
_add(
    "hrnet_w32",
    "coco_384x288",
    28_536_113,
    17_201_258_496,
    _coco(75.8),
    (
        mmpose("top_down/hrnet/hrnet_w32_coco_384x288-d9f0d786_20200708.pth"),
        _authors("pose_coco/pose_hrnet_w32_384x288.pth"),
    ),
)
_add(
    "hrnet_w32",
    "mpii_256x256",
    28_536_080,
    10_193_207_296,
    _mpii(90.3),
    (
        mmpose("top_down/hrnet/hrnet_w32_mpii_256x256-6c4f923f_20200812.pth"),
        _authors("pose_mpii/pose_hrnet_w32_256x256.pth", "1_wn2ifmoQprBrFvUCDedjPON4Y6jsN-v"),
    ),
)
_add(
    "hrnet_w32",
    "crowdpose_256x192",
    28_536_014,
    7_644_708_864,
    _crowdpose(67.5, _MMPOSE_TABLES),
    (mmpose("top_down/hrnet/hrnet_w32_crowdpose_256x192-960be101_20201227.pth"),),
)
_add(
    "hrnet_w48",
    "coco_256x192",
    63_595_745,
    15_691_825_152,
    _coco(75.1),
    (
        mmpose("top_down/hrnet/hrnet_w48_coco_256x192-b9e0b3ab_20200708.pth"),
        _authors("pose_coco/pose_hrnet_w48_256x192.pth"),
    ),
    "hrnet_w48",
)
_add(
    "hrnet_w48",
    "coco_384x288",
    63_595_745,
    35_306_606_592,
    _coco(76.3),
    (
        mmpose("top_down/hrnet/hrnet_w48_coco_384x288-314c8528_20200708.pth"),
        _authors("pose_coco/pose_hrnet_w48_384x288.pth", "1UoJhTtjHNByZSm96W3yFTfU5upJnsKiS"),
    ),
)
_add(
    "hrnet_w48",
    "mpii_256x256",
    63_595_696,
    20_922_236_928,
    _mpii(90.1, _MMPOSE_TABLES),
    (
        mmpose("top_down/hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth"),
        _authors("pose_mpii/pose_hrnet_w48_256x256.pth"),
    ),
)
_add(
    "higherhrnet_w32",
    "coco_512",
    28_645_331,
    46_203_404_288,
    _coco(67.1),
    (
        _W32_512_MIRROR,
        mmpose("bottom_up/higher_hrnet32_coco_512x512-8ae85183_20200713.pth"),
        _authors("pose_higher_hrnet_w32_512.pth", "1V9Iz0ZYy9m8VeaspfKECDW0NKlGsYmO1"),
    ),
    "higherhrnet",
    "higherhrnet_w32",
)
_add(
    "higherhrnet_w32",
    "coco_640",
    28_645_331,
    72_192_819_200,
    _coco(68.5),
    (
        mmpose("bottom_up/higher_hrnet32_coco_640x640-a22fe938_20200712.pth"),
        _authors("pose_higher_hrnet_w32_640.pth.tar", "1uEcQlm1rjV-JRgVbaP79Y5sMLqUX2ciD"),
    ),
)
_add(
    "higherhrnet_w32",
    "crowdpose_512",
    28_641_962,
    46_143_635_456,
    _crowdpose(65.5, _MMPOSE_TABLES),
    (mmpose("bottom_up/higher_hrnet32_crowdpose_512x512-1aa4a132_20201017.pth"),),
)
_add(
    "higherhrnet_w48",
    "coco_640",
    63_827_139,
    149_468_774_400,
    _coco(69.9),
    (_authors("pose_higher_hrnet_w48_640.pth.tar", "10j9Wx_I2H6qaw-prAdlJ44fLryDtA-ah"),),
    "higherhrnet_w48",
)
_add(
    "higherhrnet_w48",
    "coco_512",
    63_827_139,
    95_660_015_616,
    _coco(68.6, _MMPOSE_TABLES),
    (mmpose("bottom_up/higher_hrnet48_coco_512x512-60fedcbc_20200712.pth"),),
)
