"""What a live run says of itself at one moment: for the page, the metrics, the health check and the log."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from pose_runtime.manifest import Accuracy
from pose_runtime.plan_cache import Proof

SourceState = Literal["connecting", "live", "lost", "ended"]
SinkState = Literal["working", "lost", "ended"]


class SourceStatus(Struct, frozen=True, kw_only=True):
    """One source.

    Attributes:
        name: as configured; results carry it.
        address: what is read, without credentials.
        state: connecting (the first time), live, lost (in its reconnect loop), ended (a file's last frame was taken).
        size_wh: width, height of its frames in pixels, once known.
        format: of its frames, as `Frame.format`.
        fps: frames per second that came in, over the last seconds.
        frames: that came in.
        dropped: frames that a newer one replaced before the network could take them.
        reconnects: times that it came back.
        error: why it was lost last, on one line.
    """

    name: str
    address: str
    state: SourceState
    size_wh: tuple[int, int] | None
    format: str | None
    fps: float
    frames: int
    dropped: int
    reconnects: int
    error: str | None


class SinkStatus(Struct, frozen=True, kw_only=True):
    """One sink.

    Attributes:
        name: its kind and what it writes to, without credentials, such as `mqtt broker:1883`.
        state: working, lost (in its reconnect loop), ended (the viewer closed it).
        written: results it took.
        dropped: results that it was too slow or not there for.
        error: why it was lost last, on one line.
    """

    name: str
    state: SinkState
    written: int
    dropped: int
    error: str | None


class Spread(Struct, frozen=True, kw_only=True):
    """Percentiles of the last seconds, in milliseconds."""

    p50: float
    p95: float
    max: float


class Status(Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        version: of jetpose.
        bundle: name of the bundle's folder.
        digest: that identifies the bundle.
        network: its name.
        graph: role of the graph that runs.
        precision: of that graph.
        device: what runs it, such as `cpu` or `cuda:0`.
        engine: key of the built engine, 32 digits; None on a processor, where none is built.
        accuracy: of that graph, as it was measured when the bundle was made; AP in points, 0 to 100.
        check: what the engine gave here on the bundle's check frames (lowest OKS, bound); None where it was not shown
            them.
        uptime_s: since the loops run.
        alive: every stage finishes what it takes.
        fps: results per second, over the last seconds.
        frames: results so far.
        people: in the newest results of all sources.
        latency_ms: from taking a frame to its poses.
        stages_ms: medians of pre-processing, network and decoding.
        age_ms: of frames when their poses are ready, since they were captured.
        temperature_c: of the hottest part of the chip, where the board tells.
        watts: by rail, such as VDD_IN; those that the board tells.
        throttled: what holds clocks down, empty for nothing; None where the machine does not tell.
        sources: in the order of the configuration.
        sinks: likewise.
    """

    version: str
    bundle: str
    digest: str
    network: str
    graph: str
    precision: str
    device: str
    engine: str | None
    accuracy: tuple[Accuracy, ...]
    check: Proof | None
    uptime_s: float
    alive: bool
    fps: float
    frames: int
    people: int
    latency_ms: Spread | None
    stages_ms: tuple[float, float, float] | None
    age_ms: Spread | None
    temperature_c: float | None
    watts: dict[str, float]
    throttled: tuple[str, ...] | None
    sources: tuple[SourceStatus, ...]
    sinks: tuple[SinkStatus, ...]


def line(status: Status) -> str:
    """A run on one line."""
    parts = [f"{status.fps:.1f} frames/s", f"{status.people} people"]
    if status.latency_ms:
        parts.append(f"latency {status.latency_ms.p50:.0f} ms")
    if status.age_ms:
        parts.append(f"age {status.age_ms.p50:.0f} ms")
    for source in status.sources:
        state = f"{source.fps:.1f} in/s" if source.state == "live" else source.state
        parts.append(f"{source.name} {state}" + (f", {source.dropped} dropped" if source.dropped else ""))
    parts += [f"{sink.name} {sink.state}" for sink in status.sinks if sink.state == "lost"]
    return "; ".join(parts)
