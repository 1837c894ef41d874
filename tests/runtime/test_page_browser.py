"""The page in a real browser: skeletons that move, a server that goes and comes back, and pictures for the docs.

JETPOSE_PAGE_IMAGES=docs/images writes the pictures there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from chromium import Tab, chromium
from pages import SOURCE, STATUS, page, source, status, walker
from pose_runtime import Frame, Item, open_pipeline, open_source
from pose_runtime.live.status import SinkStatus, Spread, Status
from pose_runtime.runner import at_least
from pose_runtime.sinks.page import ServeOptions, open_page
from pose_runtime.sinks.page.page import Page

DESKTOP, PHONE = (1280, 800), (390, 844)
MOST_BYTES = 300 << 10
CLIP = Path(__file__).parents[2] / "docs/demo/people.mp4"

# Mean x, as a share of the width, of the pixels of a limb's colour.
ORANGE_X = """(() => {
  const canvas = document.getElementById("canvas");
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  let sum = 0, count = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] > 240 && Math.abs(data[i + 1] - 160) < 12 && Math.abs(data[i + 2] - 60) < 12) {
      sum += (i / 4) % width;
      count += 1;
    }
  }
  return count > 20 ? sum / count / width : null;
})()"""
NOTICE = "document.getElementById('notice').hidden ? '' : document.getElementById('notice').textContent"
TEXT = "document.body.innerText"


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@contextmanager
def walking(served: Page, name: str = "front") -> Iterator[None]:
    """Somebody walks, 20 frames a second."""
    stop = threading.Event()

    def walk() -> None:
        for index in count():
            if stop.wait(0.05):
                return
            served.write(*walker(index, name))

    thread = threading.Thread(target=walk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def moves(tab: Tab) -> None:
    """The skeleton's pixels do."""
    seen = {await tab.until(ORANGE_X)}
    end = time.monotonic() + 10
    while len(seen) < 4:
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.1)
        seen.add(await tab.value(ORANGE_X))
    assert max(filter(None, seen)) - min(filter(None, seen)) > 0.005


def test_skeletons_move_and_the_page_comes_back_by_itself() -> None:
    async def work() -> None:
        async with chromium() as tab:
            with page() as served, walking(served):
                address = served.url.split("/")[2]
                await tab.open(served.url, DESKTOP)
                await moves(tab)
                assert await tab.value(NOTICE) == ""
                shown = await tab.value(TEXT)
                for text in ("lightweight-tiny · INT8 · cpu", "14.9", "20 ms", "50 ms", "52 °C", "1 person", "front"):
                    assert text in shown.replace("\n", " ").replace("ms", " ms").replace("°", " °").replace("  ", " ")
                assert "connection refused" in shown  # the sink's
                assert tab.complaints == []
            await tab.until(f"({NOTICE}).includes('lost')")
            assert await tab.value("document.querySelector('figure').classList.contains('stale')")
            await tab.until("document.getElementById('link').textContent === 'Reconnecting…'")
            await asyncio.sleep(2)
            tab.complaints.clear()  # Chromium itself logs each refused connection; a page cannot keep it from that
            with page(address=address) as served, walking(served):
                await tab.until(f"({NOTICE}) === ''", 20)
                tab.complaints.clear()
                await moves(tab)
                assert await tab.value("document.getElementById('link').textContent") == "Live"
                assert tab.complaints == []

    run(work)


def test_the_token_leaves_the_address() -> None:
    async def work() -> None:
        async with chromium() as tab:
            with page(address="0.0.0.0:0") as served, walking(served):
                await tab.open(served.url, PHONE, 2, phone=True)
                await moves(tab)
                assert "token" not in await tab.value("location.href")
                assert await tab.value("document.cookie") == ""
                await tab.open(served.url.partition("?")[0], PHONE, 2, phone=True)  # the cookie has it
                await moves(tab)
                assert tab.complaints == []

    run(work)


def test_what_is_wrong_is_said_in_words() -> None:
    lost = source("yard", state="lost", error="no frame for 5 s")
    states = {
        "No source": status(sources=()),
        "Connecting to front…": status(sources=(source("front", state="connecting", error=None),)),
        "Waiting for the first frame of front": status(),
        "yard is lost. Trying again…\nno frame for 5 s": status(sources=(lost,)),
        "front has ended": status(sources=(source("front", state="ended"),)),
        "jetpose is stuck": status(alive=False),
    }
    now = [STATUS]

    async def work() -> None:
        with open_page(ServeOptions(address="0"), lambda: now[0]) as served:
            async with chromium() as tab:
                await tab.open(served.url, PHONE, phone=True)
                for words, state in states.items():
                    now[0] = state
                    await tab.until(f"({NOTICE}).startsWith({msgspec.json.encode(words).decode()})")
                empty = dict.fromkeys(("latency_ms", "age_ms", "stages_ms", "temperature_c"))
                now[0] = status(sources=(), sinks=(), **empty)
                await tab.until(f"({TEXT}).includes('no sensor here')")
                assert tab.complaints == []

    run(work)


def test_sources_have_tabs() -> None:
    both = status(sources=(source("front"), source("yard", state="lost")))

    async def work() -> None:
        with page(both) as served, walking(served, "yard"):
            async with chromium() as tab:
                await tab.open(served.url, DESKTOP)
                await tab.until(f"({NOTICE}).includes('first frame of front')")
                await tab.value("document.querySelectorAll('[role=tab]')[1].click()")
                await moves(tab)
                assert "yard is lost" in await tab.value(NOTICE)
                key = "new KeyboardEvent('keydown', {key: 'ArrowLeft'})"
                await tab.value(f"document.querySelectorAll('[role=tab]')[1].dispatchEvent({key})")
                assert await tab.value("document.querySelector('[aria-selected=true]').textContent") == "front"
                assert await tab.value("document.activeElement.textContent") == "front"
                assert tab.complaints == []

    run(work)


def test_nothing_is_wider_than_a_phone() -> None:
    long = source("a-very-long-name-of-a-camera-in-the-back-yard", address="rtsp://" + "x" * 200, state="lost")

    async def work() -> None:
        with page(status(sources=(long, SOURCE), network="n" * 80)) as served:
            async with chromium() as tab:
                await tab.open(served.url, (320, 600), phone=True)
                await tab.until(f"({TEXT}).includes('rtsp')")
                every = "[...document.querySelectorAll('body *:not([role=tab])')]"  # tabs scroll in their bar
                wide = f"{every}.filter((one) => one.getBoundingClientRect().right > 320.5)"
                assert await tab.value(f"{wide}.map((one) => one.outerHTML.slice(0, 80))") == []
                assert await tab.value("document.documentElement.scrollWidth") <= 320

    run(work)


# ---- pictures for the docs ---------------------------------------------------------------------------------------


class Demo:
    """The clip of the docs as a camera, people found by the network that comes with jetpose. All numbers are measured
    but the temperature, which many machines do not tell, and the broker's."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._results: list[tuple[float, float, float, int]] = []  # when, latency, age, people
        self._size_wh: tuple[int, int] | None = None
        self._graph = "reference"
        self.index = 0

    def status(self) -> Status:
        recent = [one for one in self._results if one[0] > time.monotonic() - 3]
        latency, age = (np.array([one[i] for one in recent]) * 1000 if recent else None for i in (1, 2))
        frames, fps = len(self._results), len(recent) / 3
        camera = msgspec.structs.replace(
            SOURCE, address=CLIP.name, size_wh=self._size_wh, fps=fps, frames=frames, dropped=0, reconnects=0
        )
        return status(
            graph=self._graph,
            precision="int8" if self._graph == "cpu_int8" else "fp32",
            uptime_s=time.monotonic() - self._start,
            fps=fps,
            frames=frames,
            people=recent[-1][3] if recent else 0,
            latency_ms=spread(latency),
            age_ms=spread(age),
            sources=(camera,),
            sinks=(SinkStatus(name="mqtt broker:1883", state="working", written=frames, dropped=0, error=None),),
        )

    def play(self, served: Page, stop: threading.Event) -> None:
        with open_pipeline("lightweight-tiny", threads=1) as pipeline:
            assert pipeline.choice is not None
            self._graph = pipeline.choice.role
            while not stop.is_set():
                with open_source(CLIP) as clip:
                    items = iter(clip)
                    while not stop.wait(0.04) and self._result(served, pipeline, items):
                        pass

    def _result(self, served: Page, pipeline: Any, items: Iterator[Item]) -> bool:
        captured = time.monotonic()
        item = next(items, None)
        if item is None:
            return False
        frame = Frame(item.frame.planes, item.frame.format, item.frame.size_wh, item.frame.strides, captured)
        taken = time.monotonic()
        poses = at_least(pipeline(frame), 0.25)
        done = time.monotonic()
        self._size_wh, self.index = frame.size_wh, item.index
        self._results.append((done, done - taken, done - captured, len(poses)))
        served.write(Item("front", item.index, None, frame), poses)
        return True


def spread(times: Any) -> Spread | None:
    if times is None:
        return None
    return Spread(p50=float(np.median(times)), p95=float(np.quantile(times, 0.95)), max=float(times.max()))


@pytest.mark.parametrize(
    ("name", "size_wh", "scale", "scheme"),
    [("page-desktop", DESKTOP, 1, "dark"), ("page-phone", PHONE, 2, "light")],
)
def test_pictures_for_the_docs(name: str, size_wh: tuple[int, int], scale: float, scheme: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="av is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    folder = os.environ.get("JETPOSE_PAGE_IMAGES")
    demo, stop = Demo(), threading.Event()

    async def work() -> None:
        with open_page(ServeOptions(address="0"), demo.status) as served:
            player = threading.Thread(target=demo.play, args=(served, stop))
            player.start()
            try:
                async with chromium() as tab:
                    features = [{"name": "prefers-color-scheme", "value": scheme}]
                    await tab.ask("Emulation.setEmulatedMedia", features=features)
                    await tab.open(served.url, size_wh, scale, phone=scale > 1)
                    await tab.until("/[3-9] people/.test(document.getElementById('badge').textContent)", 30)
                    await asyncio.sleep(40 if folder else 1)  # for the sparklines
                    while folder and not 30 <= demo.index <= 34:  # where the people stand apart
                        await asyncio.sleep(0.01)
                    (tmp_path / "shot.png").write_bytes(await tab.screenshot())
                    assert tab.complaints == []
            finally:
                stop.set()
                player.join()

    run(work)
    image = cv2.imread(str(tmp_path / "shot.png"))
    assert image.shape == (round(size_wh[1] * scale), round(size_wh[0] * scale), 3)
    data = small_png(image)
    assert len(data) <= MOST_BYTES
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(data)


def small_png(image: np.ndarray) -> bytes:
    """With 6 bits per colour, which the eye does not miss and which is half as large."""
    _, data = cv2.imencode(".png", image & 0xFC, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data.tobytes()
