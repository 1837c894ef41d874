"""Pipelines of GStreamer, in child processes that see the system's PyGObject."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from pose_runtime.errors import SourceError
from pose_runtime.sources.gstreamer import csi
from pose_runtime.sources.live import SourceOptions, open_live

PACKAGES = "/usr/lib/python3/dist-packages"
HEAD = f"""
    import itertools, json, logging, sys, threading, time
    sys.path.append({PACKAGES!r})
    import numpy as np
    from pose_runtime.errors import SourceError
    from pose_runtime.sources.live import SourceOptions, open_live
    def opened(pipeline, **more):
        return open_live(SourceOptions(address="gst:" + pipeline, **more))
"""
NEEDED = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstVideo', '1.0')"
BARS = "videotestsrc is-live=true pattern=smpte75"


def child(code: str) -> Any:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    probe = f"import sys; sys.path.append({PACKAGES!r}); {NEEDED}; from gi.repository import Gst, GstVideo"
    if subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True).returncode:
        pytest.skip("no GStreamer for this Python: python3-gi and gir1.2-gst-plugins-base-1.0 are not installed for it")
    text = textwrap.dedent(HEAD) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def message(pipeline: str, more: str = "") -> tuple[str, float]:
    """What opening a pipeline and reading it to its end says, and how long it took."""
    text, took_s = child(
        f"""
        start = time.monotonic()
        try:
            source = opened({pipeline!r}, {more})
            try:
                list(source)
            finally:
                source.close()
        except SourceError as error:
            print(json.dumps([str(error), time.monotonic() - start]))
        """
    )
    return text, took_s


@pytest.mark.parametrize(
    ("caps", "kind", "bar"),
    [
        ("NV12,colorimetry=bt601", "nv12", None),
        ("YUY2,colorimetry=bt601", "yuyv", None),
        ("BGR", "bgr8", [0, 191, 191]),
        ("RGB", "rgb8", [191, 191, 0]),
        ("GRAY8", "gray8", None),
    ],
)
def test_formats(caps: str, kind: str, bar: list[int] | None) -> None:
    """An odd width, for rows that are longer than their pixels; the second bar is yellow."""
    items, pixel, late_s = child(
        f"""
        source = opened("{BARS} ! video/x-raw,format={caps},width=322,height=242,framerate=30/1", name="g")
        items = list(itertools.islice(source, 10))
        late = time.monotonic() - items[-1].frame.time_s
        frame = items[-1].frame
        row = frame.planes[0][100 * frame.strides[0]:]
        print(json.dumps([[[i.name, i.index, i.time_s, i.frame.format, i.frame.size_wh] for i in items],
                          row[3 * 69:3 * 70].tolist(), late]))
        source.close()
        """
    )
    assert [item[:2] for item in items] == [["g", i] for i in range(10)]
    assert {item[3] for item in items} == {kind}
    assert items[0][4] == [322, 242]
    assert items[9][2] == pytest.approx(9 / 30, abs=0.1)
    assert 0 <= late_s < 0.5
    if bar is not None:
        assert pixel == pytest.approx(bar, abs=3)


def test_other_formats_are_refused() -> None:
    text, _ = message(f"{BARS} ! video/x-raw,format=I420,width=320,height=240")
    assert text.startswith(f"gst:{BARS} ! video/x-raw")


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("nosuchelement", 'wrong pipeline: no element "nosuchelement"'),
        ("videotestsrc !", "wrong pipeline"),
        ("filesrc location=/no/such/file ! decodebin", "Resource not found"),
        ("videotestsrc num-buffers=5 ! video/x-raw,format=GRAY8,width=64,height=64", "the pipeline ended"),
        ("rtspsrc location=rtsp://ann:secret@127.0.0.1:1/ user-pw=secret ! fakesink videotestsrc ! nosuch", "wrong"),
    ],
)
def test_pipelines_that_fail(pipeline: str, said: str) -> None:
    text, took_s = message(pipeline)
    assert said in text
    assert "secret" not in text
    assert took_s < 5


def test_a_stall_is_a_loss() -> None:
    pipeline = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=64 ! valve name=valve"
    text, took_s = child(
        f"""
        source = opened("{pipeline}", stall_s=0.5)
        frames = iter(source)
        next(frames)
        source._pipeline.get_by_name("valve").set_property("drop", True)
        start = time.monotonic()
        try:
            list(frames)
        except SourceError as error:
            print(json.dumps([str(error), time.monotonic() - start]))
        source.close()
        """
    )
    assert text.endswith("no frame for 0.5 s")
    assert took_s < 1.5


def test_a_pipeline_that_never_gives_a_frame() -> None:
    text, took_s = message("appsrc is-live=true", "open_s=0.5")
    assert text == "gst:appsrc is-live=true: no frame within 0.5 s"
    assert took_s < 3


def test_interrupt_ends_the_wait() -> None:
    took_s = child(
        """
        source = opened("videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=64,framerate=1/5",
                        stall_s=30)
        frames = iter(source)
        next(frames)
        threading.Timer(0.2, source.interrupt).start()
        start = time.monotonic()
        list(frames)
        print(json.dumps(time.monotonic() - start))
        source.close()
        """
    )
    assert took_s < 1


def test_other_colours_are_told() -> None:
    said = child(
        f"""
        records = []
        class Keep(logging.Handler):
            def emit(self, record):
                records.append(record.getMessage())
        logging.getLogger("pose_runtime").addHandler(Keep())
        opened("{BARS} ! video/x-raw,format=NV12,width=64,height=64,colorimetry=bt709").close()
        print(json.dumps(records))
        """
    )
    assert len(said) == 1
    assert "bt709" in said[0]


def test_without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    for address in ("csi:0", "gst:videotestsrc"):
        with pytest.raises(SourceError, match=r"sudo apt install python3-gi .*--system-site-packages"):
            open_live(SourceOptions(address=address))


def test_the_pipeline_of_a_csi_camera() -> None:
    options = SourceOptions(address="csi:1", size_wh=(1920, 1080), fps=60.0)
    assert csi(1, options) == (
        "nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=60/1 ! "
        "nvvidconv ! video/x-raw,format=NV12"
    )
