"""Whole live runs: sources, network and sinks in their threads; another bundle; faults; memory and CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from live import FakeCamera, Kept, SlowPipeline, until
from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.config import RunConfig, load_config
from pose_runtime.errors import EngineError, SourceError
from pose_runtime.live import build
from pose_runtime.live.build import open_run
from pose_runtime.live.reload import Reloader
from pose_runtime.live.run import LiveRun
from pose_runtime.live.served import Opener, Served
from pose_runtime.networks import bundle_path
from pose_runtime.poses import Poses
from pose_runtime.sources import Item
from pose_runtime.sources.live import SourceOptions
from pose_runtime.store import BundleStore

CLIP = Path(__file__).parents[2] / "docs/demo/people.mp4"


def served(pipeline: SlowPipeline | None = None) -> Served:
    return Served(load_bundle("lightweight-tiny"), pipeline or SlowPipeline())


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[FakeCamera]]:
    """Cameras opened so far, by name, in place of real ones."""
    opened: dict[str, list[FakeCamera]] = {}

    def open_camera(options: SourceOptions) -> FakeCamera:
        camera = FakeCamera(options.title, options.fps or 100.0, options.size_wh or (64, 48))
        opened.setdefault(options.title, []).append(camera)
        return camera

    monkeypatch.setattr(build, "open_live", open_camera)
    return opened


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The one sink of every run."""
    sink = Kept()
    monkeypatch.setattr(build, "_factories", lambda config, run: [("kept", lambda: sink)])
    return sink


def live(*numbers: int, **more: Any) -> RunConfig:
    return load_config(None, {"source": [{"address": f"camera:{number}"} for number in numbers], **more})


@pytest.mark.usefixtures("cameras")
def test_frames_of_all_cameras_reach_the_sink(kept: Kept) -> None:
    run = open_run(live(0, 1), served())
    run.start()
    until(lambda: len({item.name for item, _ in kept.results}) == 2 and len(kept.results) > 20)
    status = run.status()
    assert [source.state for source in status.sources] == ["live", "live"]
    assert [source.format for source in status.sources] == ["bgr8", "bgr8"]
    assert status.alive
    assert status.age_ms is not None
    assert status.sinks[0].written > 0
    start_s = monotonic()
    run.close()
    assert monotonic() - start_s < 2
    assert run.status().sources[0].state == "ended"


def test_a_lost_camera_comes_back(cameras: dict[str, list[FakeCamera]], kept: Kept) -> None:
    run = open_run(live(0), served())
    run.start()
    until(lambda: kept.results)
    cameras["camera0"][0].lost.set()
    until(lambda: len(cameras["camera0"]) == 2)
    until(lambda: run.status().sources[0].reconnects == 1)
    assert run.status().sources[0].error == "camera0: unplugged"
    run.close()


def test_files_end_the_run_with_every_frame_written(tmp_path: Path) -> None:
    out = tmp_path / "poses.jsonl"
    sources = [{"address": str(CLIP)}, {"address": str(CLIP), "name": "again"}]
    run = open_run(load_config(None, {"source": sources, "json": {"file": str(out)}}), served())
    run.start()
    until(lambda: run.wait(0.05), 60)
    run.close(drain=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()][1:]
    for name in ("people", "again"):
        assert [line["frame"] for line in lines if line["source"] == name] == list(range(200))


def test_a_file_that_is_not_there_is_the_users_fault() -> None:
    pipeline = SlowPipeline()
    run = open_run(load_config(None, {"source": [{"address": "none.mp4"}, {"address": "camera:0"}]}), served(pipeline))
    with pytest.raises(SourceError, match=r"none\.mp4"):
        run.start()
    run.close()
    assert pipeline.is_closed


@pytest.mark.usefixtures("cameras", "kept")
def test_a_failing_network_ends_the_run() -> None:
    pipeline = SlowPipeline()
    pipeline.fault = EngineError("gone")
    run = open_run(live(0), served(pipeline))
    run.start()
    until(lambda: run.wait(0.05))
    with pytest.raises(EngineError, match="gone"):
        run.close()


class Broken(Kept):
    def write(self, item: Item, poses: Poses) -> None:
        raise ZeroDivisionError


@pytest.mark.usefixtures("cameras")
def test_what_nobody_expects_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_factories", lambda config, run: [("broken", Broken)])
    run = open_run(live(0), served())
    run.start()
    until(lambda: run.wait(0.05))
    with pytest.raises(ZeroDivisionError):
        run.close()


@pytest.mark.usefixtures("cameras", "kept")
def test_a_network_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, free = threading.Event(), threading.Event()

    class Hanging(SlowPipeline):
        def _all(self, *arguments: Any) -> list[Poses]:
            hangs.set()
            free.wait(30)
            return super()._all(*arguments)

    run = open_run(live(0, stuck_s=0.2), served(Hanging()))
    run.start()
    assert hangs.wait(5)
    until(lambda: not run.alive)
    assert run.stuck[0].startswith("network, ")
    assert not run.status().alive
    free.set()
    until(lambda: run.alive)
    run.close()


# ---- another bundle ----------------------------------------------------------------------------------------------


@pytest.fixture
def link(tmp_path: Path) -> Path:
    link = tmp_path / "bundle"
    link.symlink_to(bundle_path("lightweight-tiny"))
    return link


def turn(link: Path, target: Path) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
def running(
    cameras: dict[str, list[FakeCamera]], link: Path, tmp_path: Path
) -> Iterator[tuple[LiveRun, Reloader, Path]]:
    """A real network on a camera, results as JSON Lines, ids on."""
    out = tmp_path / "poses.jsonl"
    over = {"bundle": str(link), "device": "cpu", "json": {"file": str(out)}, "track": {}, "trial_s": 5, "threads": 1}
    config = live(0, **over)
    opener = Opener(config, "door")
    run = open_run(config, opener())
    run.start()
    yield run, Reloader(run, opener, config.trial_s), out
    run.close()


def test_another_bundle_takes_over_without_losing_the_camera(
    running: tuple[LiveRun, Reloader, Path], link: Path, cameras: dict[str, list[FakeCamera]]
) -> None:
    run, reload, out = running
    until(lambda: run.status().frames > 2)
    turn(link, bundle_path("higherhrnet-tiny"))
    reload()
    until(lambda: run.status().network.startswith("higherhrnet"), 30)
    frames = run.status().frames
    until(lambda: run.status().frames > frames + 12, 30)
    assert len(cameras["camera0"]) == 1
    run.close()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    headers = [line["network"].partition("_")[0] for line in lines if "network" in line]
    assert headers == ["lightweight", "higherhrnet"]
    indices = [line["frame"] for line in lines if "frame" in line]
    assert indices == sorted(set(indices))


def test_a_bundle_that_cannot_be_opened_changes_nothing(
    running: tuple[LiveRun, Reloader, Path], link: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, reload, _ = running
    turn(link, link.parent / "none")
    reload()
    until(lambda: "the new bundle does not serve" in caplog.text)
    frames = run.status().frames
    until(lambda: run.status().frames > frames + 2, 30)
    assert run.status().network.startswith("lightweight")


@pytest.mark.usefixtures("cameras")
def test_a_bundle_that_fails_goes_and_the_former_one_is_back(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    old, new = SlowPipeline(), SlowPipeline()
    run = open_run(live(0), served(old))
    other = Served(load_bundle("higherhrnet-tiny"), new)
    reload = Reloader(run, lambda: other, 5.0)
    run.start()
    until(lambda: kept.results)
    new.fault = EngineError("NaN")
    reload()
    until(lambda: "lightweight-tiny.pose goes on, the new bundle does not serve: NaN" in caplog.text)
    assert new.is_closed
    assert run.served.bundle.path.name == "lightweight-tiny.pose"
    count = len(kept.results)
    until(lambda: len(kept.results) > count + 3)
    run.close()
    assert old.is_closed


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """With lightweight-tiny serving, and higherhrnet-tiny installed."""
    store = BundleStore(tmp_path / "store")
    first = store.install(bundle_path("lightweight-tiny"))
    store.install(bundle_path("higherhrnet-tiny"))
    store.activate(first, prove=lambda bundle: None)
    store.begin_serving("door").confirm()
    return store


def activate_the_other(store: BundleStore) -> None:
    (other,) = (one for one in store.installed() if one.name.startswith("higherhrnet"))
    assert store.activate(other, prove=lambda bundle: None)


@pytest.mark.usefixtures("cameras")
def test_a_stores_bundle_is_confirmed_by_results(kept: Kept, store: BundleStore) -> None:
    config = live(0, bundle=str(store.root / "current"), device="cpu", threads=1, trial_s=5)
    opener = Opener(config, "door")
    run = open_run(config, opener())
    run.start()
    reload = Reloader(run, opener, config.trial_s)
    until(lambda: kept.results)
    activate_the_other(store)
    reload()
    until(lambda: run.served.bundle.path.name.startswith("higherhrnet"), 30)
    until(lambda: not store.begin_serving("another").on_trial, 30)
    current = store.current()
    assert current is not None
    assert current.name.startswith("higherhrnet")
    run.close()


@pytest.mark.usefixtures("cameras")
def test_a_stores_bundle_that_fails_is_given_back(
    kept: Kept, store: BundleStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = live(0, bundle=str(store.root / "current"), device="cpu", threads=1, trial_s=5)
    opener = Opener(config, "door")
    run = open_run(config, opener())
    run.start()
    reload = Reloader(run, opener, config.trial_s)
    until(lambda: kept.results)
    activate_the_other(store)
    bad = SlowPipeline()
    bad.fault = EngineError("NaN")
    monkeypatch.setattr(opener, "_pipeline", lambda bundle: bad)
    reload()
    until(lambda: "the new bundle does not serve: NaN" in caplog.text)
    current = store.current()
    assert current is not None
    assert current.name.startswith("lightweight")
    count = len(kept.results)
    until(lambda: len(kept.results) > count + 3)
    run.close()


def test_a_bundle_on_trial_that_cannot_be_opened_is_given_back_at_the_start(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate_the_other(store)
    opener = Opener(live(0, bundle=str(store.root / "current"), device="cpu"), "door")
    whole = opener._pipeline

    def refuse(bundle: Bundle) -> BasePipeline:
        if bundle.manifest.network.name.startswith("higherhrnet"):
            raise EngineError("refused")
        return whole(bundle)

    monkeypatch.setattr(opener, "_pipeline", refuse)
    served = opener()
    assert served.bundle.path.name.startswith("lightweight")
    served.pipeline.close()


# ---- cost --------------------------------------------------------------------------------------------------------


COST = """
import sys; sys.path[:0] = {path!r}
from live import FakeCamera, SlowPipeline, until
import resource, gc
from pathlib import Path
from time import monotonic, process_time
from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.config import load_config
from pose_runtime.live import build
from pose_runtime.live.served import Served
build.open_live = lambda options: FakeCamera("camera0", {fps}, {size})
def rss():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
over = {{"source": [{{"address": "camera:0"}}], "track": {{}}, "smooth": {{}}, "json": {{"file": "/dev/null"}}}}
run = build.open_run(load_config(None, over), Served(load_bundle(), SlowPipeline(people={people})))
run.start()
until(lambda: run.status().frames >= {warm}, 60)
before, start, begun = rss(), process_time(), monotonic()
frames = run.status().frames
while run.status().frames < frames + {frames}:
    assert not run.wait(0.2)
print(process_time() - start, monotonic() - begun, run.status().frames - frames, before, rss())
run.close()
"""


def cost(*, fps: float, size: tuple[int, int], people: int, warm: int, frames: int) -> tuple[float, int, int]:
    """Share of one core, resident bytes before and after, of a run in a process of its own with ids, smoothing and
    JSON Lines; source, network and decoding cost nothing.
    """
    code = COST.format(path=sys.path, fps=fps, size=size, people=people, warm=warm, frames=frames)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180)
    cpu_s, wall_s, count, before, after = map(float, done.stdout.split())
    assert count >= frames
    return cpu_s / wall_s, int(before), int(after)


def test_memory_stays_flat_over_ten_thousand_frames() -> None:
    _, before, after = cost(fps=3000, size=(64, 48), people=1, warm=1500, frames=10_000)
    assert after <= 1.02 * before


def test_a_720p_camera_costs_a_tenth_of_a_core_at_most() -> None:
    share, _, _ = cost(fps=30, size=(1280, 720), people=5, warm=30, frames=90)
    assert share <= 0.1
