"""The status as Prometheus' metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pose_runtime.live.status import SinkStatus, SourceStatus, Spread, Status

_STAGES = ("pre", "network", "decode")


class Metrics(Collector):
    """Reads the status when it is asked; nothing is counted here, and nothing is global.

    Args:
        status: of the run.
        viewers: how many look at the page now.
    """

    def __init__(self, status: Callable[[], Status], viewers: Callable[[], int]) -> None:
        self._status, self._viewers = status, viewers
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing: a registry with one collector has no clash of names to look for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, from one status."""
        status = self._status()
        yield from _of_run(status)
        yield from _of_sources(status.sources)
        yield from _of_sinks(status.sinks)
        yield GaugeMetricFamily("jetpose_page_viewers", "Viewers of the page now.", value=self._viewers())

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


def _of_run(status: Status) -> Iterator[Metric]:
    keys = ("version", "bundle", "digest", "network", "graph", "precision", "device")
    info = {key: getattr(status, key) for key in keys}
    yield InfoMetricFamily("jetpose", "What runs.", value={**info, "engine": status.engine or ""})
    yield from _of_bundle(status)
    yield GaugeMetricFamily("jetpose_alive", "1: every stage finishes what it takes.", value=status.alive)
    yield GaugeMetricFamily("jetpose_uptime_seconds", "Since the loops run.", value=status.uptime_s)
    yield CounterMetricFamily("jetpose_frames", "Frames that became results.", value=status.frames)
    yield GaugeMetricFamily("jetpose_fps", "Results per second, over the last seconds.", value=status.fps)
    yield GaugeMetricFamily("jetpose_people", "People in the newest results.", value=status.people)
    yield _summary("jetpose_latency_seconds", "From taking a frame to its poses.", status.latency_ms)
    yield _summary("jetpose_age_seconds", "Age of frames when their poses are ready.", status.age_ms)
    stages = GaugeMetricFamily("jetpose_stage_seconds", "Median of each stage.", labels=["stage"])
    for stage, ms in zip(_STAGES, status.stages_ms or (), strict=False):
        stages.add_metric([stage], ms / 1000)
    yield stages
    if status.temperature_c is not None:
        what = "Of the hottest part of the chip."
        yield GaugeMetricFamily("jetpose_temperature_celsius", what, value=status.temperature_c)
    power = GaugeMetricFamily("jetpose_power_watts", "By rail.", labels=["rail"])
    for rail, watts in status.watts.items():
        power.add_metric([rail], watts)
    yield power
    if status.throttled is not None:
        what = "1: something holds clocks down."
        yield GaugeMetricFamily("jetpose_throttled", what, value=bool(status.throttled))


def _of_bundle(status: Status) -> Iterator[Metric]:
    accuracy = GaugeMetricFamily(
        "jetpose_accuracy", "Of the graph, as measured when the bundle was made.", labels=["metric", "data", "executor"]
    )
    for one in status.accuracy:
        accuracy.add_metric([one.metric, one.data, one.executor], one.value)
    yield accuracy
    if status.check is not None:
        what = "Lowest OKS of the check frames on this machine."
        yield GaugeMetricFamily("jetpose_check_oks", what, value=status.check.worst_oks)
        what = "1: every check frame met the bundle's bound on this machine."
        yield GaugeMetricFamily("jetpose_check_passed", what, value=status.check.passed)


def _summary(name: str, what: str, spread: Spread | None) -> Metric:
    """Percentiles of the last seconds; the largest is the quantile 1."""
    metric = Metric(name, what, "summary")
    if spread is not None:
        for quantile, ms in (("0.5", spread.p50), ("0.95", spread.p95), ("1", spread.max)):
            metric.add_sample(name, {"quantile": quantile}, ms / 1000)
    return metric


def _of_sources(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    def gauge(name: str, what: str, value: Callable[[SourceStatus], float]) -> Metric:
        metric = GaugeMetricFamily(f"jetpose_source_{name}", what, labels=["source"])
        for source in sources:
            metric.add_metric([source.name], value(source))
        return metric

    def counter(name: str, what: str, value: Callable[[SourceStatus], int]) -> Metric:
        metric = CounterMetricFamily(f"jetpose_source_{name}", what, labels=["source"])
        for source in sources:
            metric.add_metric([source.name], value(source))
        return metric

    yield gauge("up", "1: frames come.", lambda source: source.state == "live")
    yield gauge("fps", "Frames per second that came in, over the last seconds.", lambda source: source.fps)
    yield counter("frames", "Frames that came in.", lambda source: source.frames)
    yield counter("dropped", "Frames that a newer one replaced.", lambda source: source.dropped)
    yield counter("reconnects", "Times that the source came back.", lambda source: source.reconnects)


def _of_sinks(sinks: tuple[SinkStatus, ...]) -> Iterator[Metric]:
    up = GaugeMetricFamily("jetpose_sink_up", "1: the sink takes results.", labels=["sink"])
    written = CounterMetricFamily("jetpose_sink_written", "Results that the sink took.", labels=["sink"])
    dropped = CounterMetricFamily("jetpose_sink_dropped", "Results that the sink missed.", labels=["sink"])
    for sink in sinks:
        up.add_metric([sink.name], sink.state == "working")
        written.add_metric([sink.name], sink.written)
        dropped.add_metric([sink.name], sink.dropped)
    yield from (up, written, dropped)
