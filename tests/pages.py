"""A run that the page's tests make up: its status, and frames in which somebody walks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import msgspec
import numpy as np

from pose_runtime.frame import Frame
from pose_runtime.live.status import SinkStatus, SourceStatus, Spread, Status
from pose_runtime.manifest import Accuracy
from pose_runtime.plan_cache import Proof
from pose_runtime.poses import Poses
from pose_runtime.sinks.page import ServeOptions, open_page
from pose_runtime.sinks.page.page import Page
from pose_runtime.skeletons import skeleton
from pose_runtime.sources import Item

COCO = skeleton("coco17")
HALF = [(0.05, -0.95), (0.1, -0.9), (0.25, -0.6), (0.35, -0.25), (0.4, 0.1), (0.15, 0.1), (0.17, 0.55), (0.18, 1)]
STANDING = np.array([(0, -0.9), *((side * x, y) for x, y in HALF for side in (1, -1))], np.float32)
"""A person two units high: the nose, then eyes to ankles, the left of each pair first."""

SOURCE = SourceStatus(
    name="front",
    address="/dev/video0",
    state="live",
    size_wh=(640, 360),
    format="bgr8",
    fps=30.0,
    frames=900,
    dropped=12,
    reconnects=2,
    error=None,
)
SINK = SinkStatus(name="mqtt broker:1883", state="lost", written=700, dropped=5, error="connection refused")
STATUS = Status(
    version="0.1.0",
    bundle="lightweight-tiny.pose",
    digest="5ca1ab1e",
    network="lightweight-tiny",
    graph="cpu_int8",
    precision="int8",
    device="cpu",
    engine=None,
    accuracy=(Accuracy(executor="onnxruntime", data="crowd", metric="AP", reference=61.5, value=61.2),),
    check=Proof(worst_oks=0.97, min_oks=0.9),
    uptime_s=75.0,
    alive=True,
    fps=14.9,
    frames=888,
    people=1,
    latency_ms=Spread(p50=20.0, p95=30.0, max=40.0),
    stages_ms=(1.0, 18.0, 1.0),
    age_ms=Spread(p50=50.0, p95=60.0, max=70.0),
    temperature_c=51.5,
    watts={"VDD_IN": 7.464},
    throttled=("cpu-throttle-alert",),
    sources=(SOURCE,),
    sinks=(SINK,),
)


def status(**changes: Any) -> Status:
    return msgspec.structs.replace(STATUS, **changes)


def source(name: str, **changes: Any) -> SourceStatus:
    return msgspec.structs.replace(SOURCE, name=name, **changes)


def walker(
    index: int, name: str = "front", size_wh: tuple[int, int] = (640, 360), *, noise: bool = False
) -> tuple[Item, Poses]:
    """A frame in which one person has walked from left to right, 4 pixels a frame; `noise` makes its JPEG large."""
    width, height = size_wh
    image = np.full((height, width, 3), (60, 50, 45), np.uint8)
    if noise:
        image = np.random.default_rng(index).integers(0, 255, image.shape, np.uint8)
    x = 60 + (4 * index) % (width - 120)
    cv2.rectangle(image, (x - 30, height // 4), (x + 30, 3 * height // 4), (90, 110, 130), -1)
    keypoints = np.ones((1, len(STANDING), 3), np.float32)
    keypoints[0, :, :2] = STANDING * height / 4 + (x, height / 2)
    keypoints[0, 3] = (np.nan, np.nan, 0)
    poses = Poses(keypoints, np.array([0.9], np.float32), COCO, np.array([7], np.int64))
    return Item(name, index, None, Frame.from_image(image, time_s=time.monotonic())), poses


@contextmanager
def page(status: Status = STATUS, **options: Any) -> Iterator[Page]:
    with open_page(ServeOptions(**{"address": "0", **options}), lambda: status) as opened:
        yield opened
