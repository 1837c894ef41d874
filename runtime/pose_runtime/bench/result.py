"""What `pose-bench` measured: versioned, typed, plain JSON. Times are milliseconds, memory is bytes."""

from __future__ import annotations

from msgspec import Struct

from pose_runtime.machine.facts import Machine
from pose_runtime.machine.sensors import Sensed
from pose_runtime.manifest import GraphRole

VERSION = 1


class Stage(Struct, frozen=True, kw_only=True):
    """Percentiles of one stage over the runs."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Bare(Struct, frozen=True, kw_only=True):
    """The network alone over the same inputs, run right after each frame.

    Attributes:
        network: its times.
        added_ms: median of frame to pose minus bare network, frame by frame: what everything around it costs.
        ratio: median of frame to pose divided by bare network, likewise.
    """

    network: Stage
    added_ms: float
    ratio: float


class Batch(Struct, frozen=True, kw_only=True):
    """Several frames per call: medians of a call, and frames per second."""

    size: int
    call_ms: float
    frames_per_s: float


class Crowd(Struct, frozen=True, kw_only=True):
    """A frame with so many people: how many were put in and found, and medians."""

    people: int
    found: int
    decode_ms: float
    frame_ms: float


class GraphTimes(Struct, frozen=True, kw_only=True):
    """One graph of the bundle.

    Attributes:
        device: where it ran, such as "cpu".
        engine: library and version that ran it.
        pre_ms, network_ms, decode_ms, total_ms: medians of each stage by itself, and of their sum.
        frame: wall time from frame to poses.
        stages: percentiles of each stage.
        bare: the network alone.
        batches, crowds: throughput by batch, and times by number of people; empty where the network takes no batches
            or finds one person per frame, or where it was not asked for.
        settings: of the engine, by name, such as threads; of TensorRT the equal flags of trtexec.
        device_memory_bytes: on the GPU, None without one.
    """

    device: str
    engine: str
    pre_ms: float
    network_ms: float
    decode_ms: float
    total_ms: float
    frame: Stage
    stages: dict[str, Stage]
    bare: Bare
    batches: tuple[Batch, ...]
    crowds: tuple[Crowd, ...]
    settings: dict[str, str]
    device_memory_bytes: int | None


class Comparison(Struct, frozen=True, kw_only=True):
    """B's time as a multiple of A's, frame by frame.

    Attributes:
        ratio: median of the pairs' ratios; below 1, B is faster.
        low, high: interval of that median by order statistics (sign test), without assumptions on the times but that
            pairs are independent.
        confidence: that the interval holds the median, at least 0.95 from six pairs on.
    """

    ratio: float
    low: float
    high: float
    confidence: float


class BenchResult(Struct, frozen=True, kw_only=True):
    """One run of `pose-bench`.

    Attributes:
        version: of this format.
        date: UTC, ISO 8601.
        network, bundle: name, and SHA-256 of the manifest.
        runs, frames: timed runs, and different frames used in turn.
        frame_wh: width and height of the first frame.
        graphs: by role.
        machine: what it ran on.
        load_before, load_after: load averages over 1, 5 and 15 minutes: high ones spoil the numbers.
        peak_rss_bytes: the most memory the process held.
        sensed: watts, temperatures and clocks during the runs.
    """

    version: int
    date: str
    network: str
    bundle: str
    runs: int
    frames: int
    frame_wh: tuple[int, int]
    graphs: dict[GraphRole, GraphTimes]
    machine: Machine
    load_before: tuple[float, float, float] | None
    load_after: tuple[float, float, float] | None
    peak_rss_bytes: int | None
    sensed: Sensed


class Side(Struct, frozen=True, kw_only=True):
    """One of two that are compared: network, manifest's SHA-256, graph, and its times."""

    network: str
    bundle: str
    graph: GraphRole
    times: GraphTimes


class CompareResult(Struct, frozen=True, kw_only=True):
    """One run of `pose-bench --compare A B`; fields as of `BenchResult`.

    Attributes:
        a, b: the two.
        frame: frame to pose, B over A.
        bare: the networks alone, B over A.
    """

    version: int
    date: str
    runs: int
    frames: int
    frame_wh: tuple[int, int]
    a: Side
    b: Side
    frame: Comparison
    bare: Comparison
    machine: Machine
    load_before: tuple[float, float, float] | None
    load_after: tuple[float, float, float] | None
    peak_rss_bytes: int | None
    sensed: Sensed
