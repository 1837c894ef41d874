"""How well people are followed and smoothed, beside simpler ways:  python -m bench.following [--network]  (in tests/)

Crowds of known identities walk across each other before a camera, stop, leave and come back. A detector that is worse
than ours is simulated on six clips, which the defaults were not chosen on. With --network people are also rendered and
found by the network that comes with jetpose, in two clips; this needs OpenGL and takes minutes. Figures are means of
the clips; identity switches are sums.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from crowd import FPS, Crowd, Truth, pictures
from followed import COCO, Follow, GreedyBoxes, Seen, Steadiness, detect, judge, mean, oks, steadiness
from pose_runtime import Frame, open_pipeline
from pose_runtime.oks import greedy_pairs
from pose_runtime.poses import Poses
from pose_runtime.skeletons import convert
from pose_runtime.tracking import Smoother, SmoothOptions, Tracker, TrackOptions

SEEDS = range(100, 106)
PEOPLE = (4, 8, 12)
SECONDS = 12.0
NETWORK_SEEDS = (200, 201)

FOLLOWERS: dict[str, Callable[[], Follow]] = {
    "boxes, greedy IoU": GreedyBoxes,
    "OKS, no motion": lambda: Tracker(COCO, TrackOptions(coast_s=0)),
    "OKS and motion": lambda: Tracker(COCO),
}
SMOOTHERS: dict[str, Callable[[], Follow]] = {
    "nothing": lambda: lambda poses, _: poses,
    "low-pass of 1 Hz": lambda: Smoother(COCO, SmoothOptions(beta=0)),
    "One-Euro": lambda: Smoother(COCO),
}


def simulated(every: int, drops: float) -> list[list[Seen]]:
    """The clips as the simulated detector finds them."""
    crowds = ((seed, Crowd(seed, PEOPLE[seed % len(PEOPLE)], SECONDS)) for seed in SEEDS)
    return [detect(crowd, seed, every=every, drops=drops) for seed, crowd in crowds]


def found_by_network() -> list[list[Seen]]:
    """Rendered clips as the bundled network finds them."""
    pipeline = open_pipeline(device="cpu")
    clips = []
    for seed in NETWORK_SEEDS:
        crowd = Crowd(seed, 4, 8.0, (512, 320), depths=(2.2, 5))
        clips.append([_seen(pipeline(Frame.from_image(image)), i, t) for i, (image, t) in enumerate(pictures(crowd))])
    return clips


def _seen(poses: Poses, number: int, truth: Truth) -> Seen:
    """A frame with its people's rows of the truth, of half an OKS and more."""
    poses = replace(poses, keypoints=convert(poses.keypoints, poses.skeleton, COCO), skeleton=COCO)
    told, rows = np.flatnonzero(truth.told), np.full(len(poses), -1)
    for i, j in greedy_pairs(oks(truth, poses), 0.5):
        rows[j] = told[i]
    return Seen(number / FPS, truth, poses, rows)


def following(name: str, clips: list[list[Seen]]) -> Iterator[str]:
    """A line per follower."""
    for how, make in FOLLOWERS.items():
        v = mean([judge(clip, make()) for clip in clips])
        yield f"{name:22} {how:18} {v.hota:6.3f} {v.assa:6.3f} {v.idf1:6.3f} {v.switches:8}"


def smoothing(name: str, clips: list[list[Seen]]) -> Iterator[str]:
    """A line per smoother."""
    for how, make in SMOOTHERS.items():
        rows = [steadiness(clip, make()) for clip in clips]
        values = [statistics.mean(getattr(row, field) for row in rows) for field in Steadiness.__dataclass_fields__]
        yield f"{name:22} {how:18} " + " ".join(f"{value:9.2f}" for value in values)


def main() -> None:
    """Print both tables."""
    network = found_by_network() if "--network" in sys.argv[1:] else None
    print(f"{'found by':22} {'followed by':18} {'HOTA':>6} {'AssA':>6} {'IDF1':>6} {'switches':>8}")
    for every in (1, 3):
        print(*following(f"simulated, {FPS / every:.0f} FPS", simulated(every, 0.05)), sep="\n")
        if network:
            print(*following(f"network, {FPS / every:.0f} FPS", [clip[::every] for clip in network]), sep="\n")
    columns = " ".join(f"{name:>9}" for name in ("still px", "moving px", "error px", "lag ms"))
    print(f"\n{'found by':22} {'smoothed by':18} {columns}")
    for every in (1, 3):
        print(*smoothing(f"simulated, {FPS / every:.0f} FPS", simulated(every, 0.0)), sep="\n")
        if network:
            print(*smoothing(f"network, {FPS / every:.0f} FPS", [clip[::every] for clip in network]), sep="\n")


if __name__ == "__main__":
    main()
