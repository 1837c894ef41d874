"""Run human-pose networks: load a bundle, open a pipeline, give it frames, get the people.

    with pose_runtime.open_pipeline() as pipeline:  # a network that comes with jetpose, or a bundle of yours
        poses = pipeline(image)

Everything is imported when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pose_runtime import decode
    from pose_runtime.base_pipeline import BasePipeline
    from pose_runtime.bundle import Bundle, load_bundle
    from pose_runtime.choose import Choice
    from pose_runtime.errors import (
        BundleError,
        DecodeError,
        EngineError,
        FrameError,
        PoseError,
        SinkError,
        SourceError,
    )
    from pose_runtime.frame import Frame
    from pose_runtime.networks import bundled
    from pose_runtime.pipeline import Pipeline, Timings, open_pipeline
    from pose_runtime.poses import Poses
    from pose_runtime.skeletons import Skeleton
    from pose_runtime.sources import Item, Source, open_source

    __version__: str

__all__ = [
    "BasePipeline",
    "Bundle",
    "BundleError",
    "Choice",
    "DecodeError",
    "EngineError",
    "Frame",
    "FrameError",
    "Item",
    "Pipeline",
    "PoseError",
    "Poses",
    "SinkError",
    "Skeleton",
    "Source",
    "SourceError",
    "Timings",
    "__version__",
    "bundled",
    "decode",
    "load_bundle",
    "open_pipeline",
    "open_source",
]

_HOMES = {
    "base_pipeline": ("BasePipeline",),
    "bundle": ("Bundle", "load_bundle"),
    "choose": ("Choice",),
    "errors": ("BundleError", "DecodeError", "EngineError", "FrameError", "PoseError", "SinkError", "SourceError"),
    "frame": ("Frame",),
    "networks": ("bundled",),
    "pipeline": ("Pipeline", "Timings", "open_pipeline"),
    "poses": ("Poses",),
    "skeletons": ("Skeleton",),
    "sources": ("Item", "Source", "open_source"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("pose_runtime.version").version()
    elif name == "decode":
        return importlib.import_module("pose_runtime.decode")
    elif name in _MODULES:
        value = getattr(importlib.import_module(f"pose_runtime.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
