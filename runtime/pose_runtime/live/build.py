"""From settings to a live run: the bundle opened, every source and sink with its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from pose_runtime.config import RunConfig
from pose_runtime.live.capture import Capture
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.live.outlet import Outlet
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.run import LiveRun
from pose_runtime.live.served import Served
from pose_runtime.sinks import Sink
from pose_runtime.sinks.jsonl import open_live_json
from pose_runtime.sinks.live_video import LiveVideo
from pose_runtime.sinks.mqtt import Mqtt, MqttOptions
from pose_runtime.sinks.page import open_page
from pose_runtime.sinks.window import Window
from pose_runtime.sources import Item
from pose_runtime.sources.live import SourceOptions, open_live, redacted

_FILE_FRAMES = 4  # decoded ahead of the network


def open_run(config: RunConfig, served: Served) -> LiveRun:
    """The run, nothing of which runs before its `start`; it closes the pipeline from now on."""
    changed = threading.Condition()
    boxes = [_box(source, changed) for source in config.source]
    captures = [_capture(source, box, config.stuck_s) for source, box in zip(config.source, boxes, strict=True)]
    return LiveRun(config, served, captures, boxes, partial(_outlets, config))


def _box(source: SourceOptions, changed: threading.Condition) -> Mailbox[Item]:
    if source.is_live:
        return Mailbox(1, changed=changed)
    return Mailbox(_FILE_FRAMES, drops=False, changed=changed)


def _capture(source: SourceOptions, box: Mailbox[Item], stuck_s: float) -> Capture:
    return Capture(
        source.title,
        redacted(source.address),
        partial(open_live, source),
        box,
        is_live=source.is_live,
        pulse=Pulse(f"source {source.title}", stuck_s),
    )


def _outlets(config: RunConfig, run: LiveRun) -> Sequence[Outlet]:
    """Opened one after the other; if one cannot be, those before it are closed."""
    is_live = any(source.is_live for source in config.source)
    outlets: list[Outlet] = []
    try:
        for name, factory in _factories(config, run):
            outlets.append(Outlet(name, factory, live=is_live, most_s=config.stuck_s))
    except BaseException:
        for outlet in outlets:
            outlet.stop(0.0, abandon=True)
        raise
    return outlets


def _mqtt(options: MqttOptions, run: LiveRun) -> Sink:
    return Mqtt(options, run.served.bundle, run.served.role, status=run.status)


def _factories(config: RunConfig, run: LiveRun) -> Sequence[tuple[str, Callable[[], Sink]]]:
    """Name of each sink, and how it is opened, now and after a loss; some name the bundle that serves then."""
    found: list[tuple[str, Callable[[], Sink]]] = []
    titles = [source.title for source in config.source]
    if config.show:
        found.append(("window", lambda: Window(sources=titles)))
    if (save := config.save) is not None:
        found.append((f"video {save.file}", lambda: LiveVideo(save, titles)))
    if (json := config.json) is not None:
        found.append((f"json {json.file}", lambda: open_live_json(json, run.served.bundle, run.served.role)))
    if (mqtt := config.mqtt) is not None:
        found.append((f"mqtt {mqtt.address}", lambda: _mqtt(mqtt, run)))
    if (serve := config.serve) is not None:
        found.append((f"page {serve.address}", lambda: open_page(serve, run.status)))
    return found
