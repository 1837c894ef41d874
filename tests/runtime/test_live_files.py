"""Files of a live run: whole lines and playable videos at all times, whatever happens to the disk."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pose_runtime
import tiny
from live_items import ONE, live_item
from peers.mosquitto import until
from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.outlet import Outlet
from pose_runtime.sinks import line_file
from pose_runtime.sinks.jsonl import JsonLines, JsonOptions, LiveJsonLines, open_live_json
from pose_runtime.sinks.live_video import LiveVideo, Timeline, VideoOptions
from pose_runtime.sources import open_source

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(Path(pose_runtime.__file__).parents[1]), str(Path(__file__).parents[1])])
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "b").mkdir()
    return tiny.write(tmp_path / "b" / "tiny.pose")


class Disk:
    """A file system of 256 KiB in memory, to be filled, freed, made read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        with (self.folder / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        (self.folder / "ballast").unlink()

    def turn_read_only(self) -> None:
        """By another file system over it: this one cannot while a file is open."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(self.folder)], check=True)

    def turn_back(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("may not mount a file system here")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def options(path: Path, **others: Any) -> JsonOptions:
    return msgspec.convert({"file": str(path)} | others, JsonOptions)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line is whole."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def frames_of(path: Path) -> list[int]:
    """Of a file that stands alone."""
    header, *results = lines_of(path)
    assert header["skeleton"]["names"] == ["left_dot", "right_dot", "nose"]
    return [line["frame"] for line in results if "frame" in line]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "b")


# ---- JSON Lines --------------------------------------------------------------------------------------------------


def test_live_lines_tell_age_and_wall_clock(tmp_path: Path, bundle: Bundle) -> None:
    before_s = time.time()
    with LiveJsonLines(options(tmp_path / "a.jsonl"), bundle, "reference") as sink:
        sink.write(live_item(3, 0.1, captured_s=time.monotonic() - 0.25), ONE)
    header, line = lines_of(tmp_path / "a.jsonl")
    assert header["graph"] == "reference"
    assert list(line) == ["source", "frame", "time_s", "unix_s", "age_ms", "size_wh", "people"]
    assert 250 <= line["age_ms"] < 1000
    assert before_s - 0.26 < line["unix_s"] < time.time() - 0.24


def test_rotation(tmp_path: Path, bundle: Bundle) -> None:
    """Nothing is lost but what `keep` gives up; every file stands alone and holds to the bound."""
    path, size = tmp_path / "a.jsonl", int(0.02 * (1 << 20))
    with LiveJsonLines(options(path, rotate_mib=0.02, keep=3), bundle) as sink:
        for i in range(1000):
            sink.write(live_item(i), ONE)
            assert path.stat().st_size <= size
    assert names_in(tmp_path) == ["a.jsonl", "a.jsonl.1.gz", "a.jsonl.2.gz", "a.jsonl.3.gz"]
    files = [tmp_path / f"a.jsonl{end}" for end in (".3.gz", ".2.gz", ".1.gz", "")]
    frames = [frame for file in files for frame in frames_of(file)]
    assert frames == list(range(frames[0], 1000))
    assert len(frames) > 3 * 90


def test_a_device_does_not_rotate(tmp_path: Path, bundle: Bundle) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with LiveJsonLines(options(pipe, rotate_mib=0.01, keep=2), bundle) as sink:
        for i in range(300):
            sink.write(live_item(i), ONE)
            assert os.read(reader, 1 << 16).endswith(b"\n")
    os.close(reader)
    assert names_in(tmp_path) == ["pipe"]


@pytest.mark.parametrize(("keep", "names"), [(0, ["a.jsonl"]), (2, ["a.jsonl", "a.jsonl.1", "a.jsonl.2"])])
def test_rotation_without_compression(tmp_path: Path, bundle: Bundle, keep: int, names: list[str]) -> None:
    with LiveJsonLines(options(tmp_path / "a.jsonl", rotate_mib=0.01, keep=keep, compress=False), bundle) as sink:
        for i in range(500):
            sink.write(live_item(i), ONE)
    assert names_in(tmp_path) == names
    assert frames_of(tmp_path / "a.jsonl")[-1] == 499


def test_a_file_is_continued(tmp_path: Path, bundle: Bundle) -> None:
    """After a restart: what is there stays, a line that a power cut left unfinished goes."""
    path = tmp_path / "a.jsonl"
    for i in range(3):
        with LiveJsonLines(options(path), bundle) as sink:
            sink.write(live_item(i), ONE)
        with path.open("ab") as file:
            file.write(b'{"source":"cam","fra')
    with LiveJsonLines(options(path), bundle):
        pass
    assert frames_of(path) == [0, 1, 2]
    assert sum("jetpose" in line for line in lines_of(path)) == 4


def test_a_killed_process_leaves_whole_lines(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "a.jsonl"
    code = f"""
from live_items import ONE, live_item
from pose_runtime.bundle import load_bundle
from pose_runtime.sinks import line_file
from pose_runtime.sinks.jsonl import JsonOptions, LiveJsonLines
sink = LiveJsonLines(JsonOptions(file={str(path)!r}, rotate_mib=0.05), load_bundle({str(bundle.path)!r}))
for i in range(10**9):
    sink.write(live_item(i), ONE)
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    until(lambda: (tmp_path / "a.jsonl.2.gz").exists())
    process.kill()
    process.wait(10)
    with LiveJsonLines(options(path), bundle):
        pass
    for name in names_in(tmp_path):
        if not name.endswith(".part"):
            assert frames_of(tmp_path / name) is not None


def quick() -> Backoff:
    return Backoff(0.02, 0.05)


def put_until(outlet: Outlet, state: str, first: int) -> int:
    """Frames as they come, until the sink is so; the next number."""
    for i in range(first, first + 3000):
        outlet.put(live_item(i), ONE)
        time.sleep(0.003)
        if outlet.status().state == state:
            return i + 1
    raise AssertionError(outlet.status())


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_lines_on_a_faulty_disk(disk: Disk, bundle: Bundle, fault: str) -> None:
    """It is lost and comes back within one wait; the file has whole lines all the while."""
    path = disk.folder / "a.jsonl"
    with Outlet("json", lambda: LiveJsonLines(options(path), bundle), live=True, backoff=quick()) as outlet:
        after = put_until(outlet, "working", 0)
        for _ in range(2):
            if fault == "full":
                disk.fill()
            else:
                disk.turn_read_only()
            after = put_until(outlet, "lost", after)
            assert ("No space left" if fault == "full" else "Read-only") in (outlet.status().error or "")
            if fault == "full":
                frames_of(path)
                disk.free()
            else:
                disk.turn_back()
            start_s = time.monotonic()
            after = put_until(outlet, "working", after)
            assert time.monotonic() - start_s < 2
        dropped = outlet.status().dropped
    frames = frames_of(path)
    assert frames[-1] == after - 1
    assert len(frames) + dropped == after


def test_rotation_on_a_full_disk(disk: Disk, bundle: Bundle) -> None:
    """No result is lost but those that came while there was no room."""
    path = disk.folder / "a.jsonl"
    sink_options = options(path, rotate_mib=0.05, keep=9, compress=False)
    with Outlet("json", lambda: LiveJsonLines(sink_options, bundle), live=True, backoff=quick()) as outlet:
        disk.fill()
        os.truncate(disk.folder / "ballast", 150 << 10)
        after = put_until(outlet, "lost", 0)
        disk.free()
        after = put_until(outlet, "working", after)
    files = [name for name in names_in(disk.folder) if name != "a.jsonl"]
    assert files
    frames = sorted(frame for name in names_in(disk.folder) for frame in frames_of(disk.folder / name))
    assert len(frames) == len(set(frames)) == outlet.status().written
    assert frames[-1] == after - 1


def test_compression_on_a_full_disk(disk: Disk) -> None:
    """The file stays as it is, and no part of the other."""
    (disk.folder / "a.jsonl.1").write_bytes(os.urandom(50_000))
    disk.fill()
    line_file._compress(disk.folder / "a.jsonl.1")
    assert names_in(disk.folder) == ["a.jsonl.1", "ballast"]
    disk.free()
    line_file._compress(disk.folder / "a.jsonl.1")
    assert names_in(disk.folder) == ["a.jsonl.1.gz"]


def test_a_file_limit_in_mid_line(tmp_path: Path, bundle: Bundle) -> None:
    """Where no file system can be mounted, a limit of the process refuses a part of a line just as well."""
    path = tmp_path / "a.jsonl"
    code = f"""
import resource, signal
from live_items import ONE, live_item
from pose_runtime.bundle import load_bundle
from pose_runtime.errors import SinkError
from pose_runtime.sinks import line_file
from pose_runtime.sinks.jsonl import JsonOptions, LiveJsonLines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
sink = LiveJsonLines(JsonOptions(file={str(path)!r}), load_bundle({str(bundle.path)!r}))
for i in range(40):
    try:
        sink.write(live_item(i), ONE)
    except SinkError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.write(live_item(40), ONE)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert f"{path}: cannot write it: File too large" in done.stdout
    frames = frames_of(path)
    assert frames == [*range(len(frames) - 1), 40]


def test_a_folder_that_goes_and_comes_back(tmp_path: Path, bundle: Bundle) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "a.jsonl"
    with Outlet("json", lambda: LiveJsonLines(options(path), bundle), live=True, backoff=quick()) as outlet:
        after = put_until(outlet, "working", 0)
        path.unlink()
        folder.rmdir()
        after = put_until(outlet, "lost", after)
        assert "No such file" in (outlet.status().error or "")
        folder.mkdir()
        after = put_until(outlet, "working", after)
    assert frames_of(path)[-1] == after - 1


def test_a_file_that_somebody_moves_is_made_anew(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "a.jsonl"
    with LiveJsonLines(options(path), bundle) as sink:
        sink.write(live_item(0), ONE)
        path.rename(tmp_path / "moved.jsonl")
        sink.write(live_item(1), ONE)
    assert (frames_of(tmp_path / "moved.jsonl"), frames_of(path)) == ([0], [1])


def test_lines_that_cannot_be_opened(tmp_path: Path, bundle: Bundle) -> None:
    for path in (tmp_path, tmp_path / "no" / "a.jsonl"):
        with pytest.raises(SinkError, match="cannot write"):
            open_live_json(options(path), bundle)


def test_standard_output(bundle: Bundle) -> None:
    with pytest.MonkeyPatch.context() as patch:
        read, write = os.pipe()
        with os.fdopen(write, "w") as out:
            patch.setattr(sys, "stdout", out)
            sink = open_live_json(JsonOptions(file="-"), bundle)
            sink.write(live_item(5), ONE)
            sink.close()
    with os.fdopen(read) as got:
        assert [json.loads(line).get("frame") for line in got] == [None, 5]
    assert isinstance(sink, JsonLines)


# ---- videos ------------------------------------------------------------------------------------------------------


def video(path: Path, sources: tuple[str, ...] = ("cam",), **others: Any) -> LiveVideo:
    pytest.importorskip("av")
    return LiveVideo(msgspec.convert({"file": str(path)} | others, VideoOptions), sources)


def times_of(path: Path) -> list[float]:
    with open_source(path) as source:
        return [round(item.time_s or 0.0, 3) for item in source]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_live_video_keeps_times(tmp_path: Path, suffix: str) -> None:
    times = [7.0, 7.04, 7.2, 7.21, 7.5]
    with video(tmp_path / f"a{suffix}") as sink:
        for i, time_s in enumerate(times):
            sink.write(live_item(i, time_s, captured_s=100 + time_s), ONE)
    assert times_of(tmp_path / f"a{suffix}") == pytest.approx([0.0, 0.04, 0.2, 0.21, 0.5], abs=2e-3)


def test_a_clock_that_starts_again(tmp_path: Path) -> None:
    """A stream comes back after 8 s and counts from 0: the video goes on 8 s later."""
    with video(tmp_path / "a.mp4") as sink:
        for i in range(5):
            sink.write(live_item(i, 50 + i / 25, captured_s=i / 25), ONE)
        for i in range(5):
            sink.write(live_item(i, i / 25, captured_s=8 + i / 25), ONE)
    assert times_of(tmp_path / "a.mp4") == pytest.approx(
        [*(i / 25 for i in range(5)), *(8 + i / 25 for i in range(5))], abs=2e-3
    )


def test_timeline() -> None:
    timeline = Timeline()
    frames = [
        (10.0, 0.0, 10.0),
        (10.04, 0.05, 10.04),  # jitter of the network does not matter
        (10.08, 2.05, 10.08),  # nor does a short stall
        (3600.0, 2.09, 10.12),  # a jump does
        (3600.04, 2.10, 10.16),
        (0.0, 9.10, 17.16),  # a restart
        (-1.0, 9.0, 17.16),
        (None, 10.0, 18.16),
    ]
    for source_s, monotonic_s, result_s in frames:
        assert timeline.at(source_s, monotonic_s) == pytest.approx(result_s)
    of_a_file = Timeline()
    assert [of_a_file.at(t, None) for t in (0.0, 0.04, 100.0)] == [0.0, 0.04, 100.0]


def test_another_size_starts_a_next_file(tmp_path: Path) -> None:
    with video(tmp_path / "a.mp4") as sink:
        for i, size_wh in enumerate([(128, 96), (128, 96), (64, 64), (128, 96)]):
            sink.write(live_item(i, i / 25, size_wh=size_wh), ONE)
    assert names_in(tmp_path) == ["a-2.mp4", "a-3.mp4", "a.mp4"]
    assert [len(times_of(tmp_path / n)) for n in ("a.mp4", "a-2.mp4", "a-3.mp4")] == [2, 1, 1]


def test_nothing_is_overwritten_and_old_files_go(tmp_path: Path) -> None:
    for _ in range(4):
        with video(tmp_path / "a.mp4", minutes=0.5 / 60, keep=3) as sink:
            for i in range(4):
                sink.write(live_item(i, i / 4, captured_s=i / 4), ONE)
    assert names_in(tmp_path) == ["a-6.mp4", "a-7.mp4", "a-8.mp4"]
    assert times_of(tmp_path / "a-8.mp4") == [0.0, 0.25]


def test_each_source_has_its_own_video(tmp_path: Path) -> None:
    with video(tmp_path / "a.mp4", ("door", "yard/2")) as sink:
        for i in range(3):
            sink.write(live_item(i, i / 25, name="door"), ONE)
            sink.write(live_item(i, i / 25, name="yard/2", size_wh=(64, 48)), ONE)
    assert names_in(tmp_path) == ["a-door.mp4", "a-yard_2.mp4"]
    assert len(times_of(tmp_path / "a-yard_2.mp4")) == 3


def test_a_killed_process_leaves_a_video(tmp_path: Path) -> None:
    """All but the last seconds of it can be played."""
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    code = f"""
from live_items import ONE, live_item
from pose_runtime.sinks.live_video import LiveVideo, VideoOptions
sink = LiveVideo(VideoOptions(file={str(path)!r}), ["cam"])
for i in range(300):
    sink.write(live_item(i, i / 25), ONE)
print("done", flush=True)
sink.write(live_item(300, 12.0), ONE)
import time; time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"done\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert len(times_of(path)) >= 200


def test_a_video_on_a_full_disk(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk stays and can be played; a next file follows once there is room."""
    pytest.importorskip("av")
    monkeypatch.setattr("pose_runtime.video._LEAST_FREE", 100 << 10)
    path = disk.folder / "a.mp4"
    with Outlet("video", lambda: video(path), live=True, backoff=quick()) as outlet:
        after = put_until(outlet, "working", 0)
        while path.stat().st_size < 10_000:
            outlet.put(live_item(after, after / 25), ONE)
            after += 1
            time.sleep(0.002)
        disk.fill()
        after = put_until(outlet, "lost", after)
        for i in range(after, after + 100):  # it stays lost, and leaves nothing more
            outlet.put(live_item(i, i / 25), ONE)
            time.sleep(0.003)
        assert outlet.status().state == "lost"
        assert names_in(disk.folder) == ["a.mp4", "ballast"]
        disk.free()
        after = put_until(outlet, "working", after)
        for i in range(after, after + 20):
            outlet.put(live_item(i, i / 25), ONE)
            time.sleep(0.005)
    played = {name: len(times_of(disk.folder / name)) for name in names_in(disk.folder)}
    assert played["a.mp4"] >= 50
    assert len(played) >= 2
    assert all(played.values())


def test_a_video_that_somebody_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("pose_runtime.video._SAVE_S", 0.0)
    sink = video(tmp_path / "a.mp4")
    sink.write(live_item(0), ONE)
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(SinkError, match="moved or deleted"):
        sink.write(live_item(1), ONE)
    sink.abandon()
    assert names_in(tmp_path) == []


def test_video_options(tmp_path: Path) -> None:
    for name, words in (("a.jpg", "saved as a video"), ("a", "saved as a video"), ("no/a.mp4", "no such folder")):
        with pytest.raises(SinkError, match=words):
            video(tmp_path / name)
    for others in ({"minutes": 0}, {"keep": 0}, {"size": 3}):
        with pytest.raises(msgspec.ValidationError):
            video(tmp_path / "a.mp4", **others)
