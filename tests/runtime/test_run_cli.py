"""pose-run and pose-bench as a shell sees them: exit status, what stands on stdout and stderr, what is left on disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import pose_runtime
import tiny
from peers.xvfb import screen
from pose_runtime import networks, runner
from pose_runtime.cli import _progress, bench
from pose_runtime.cli import run as cli
from pose_runtime.cli._common import print_error
from pose_runtime.errors import SourceError
from pose_runtime.sinks import Sink
from pose_runtime.sinks.draw import to_bgr
from pose_runtime.sources import open_source

RUNTIME = str(Path(pose_runtime.__file__).parents[1])


def command(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv[0] = 'pose-{name}'; from pose_runtime.cli.{name} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        **{"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options},
        env={k: v for k, v in os.environ.items() if "DISPLAY" not in k} | {"PYTHONPATH": RUNTIME},
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a folder of three images with two people in the first, and a video."""
    folder = tmp_path_factory.mktemp("work")
    tiny.write(folder / "tiny.pose")
    (folder / "in").mkdir()
    for i, frame in enumerate((tiny.frame((20, 30), (90, 60), None), tiny.frame(), tiny.frame(None, None, (64, 48)))):
        cv2.imwrite(str(folder / "in" / f"{i}.png"), frame)
    return folder


def test_json_to_stdout(work: Path) -> None:
    done = command("run", "--bundle", work / "tiny.pose", "--source", work / "in", "--json", "-")
    assert done.returncode == 0
    header, *lines = map(json.loads, done.stdout.splitlines())
    assert header["skeleton"]["names"] == list(tiny.SKELETON.names)
    assert [(line["frame"], len(line["people"])) for line in lines] == [(0, 1), (1, 0), (2, 1)]
    x, y, score = lines[0]["people"][0]["keypoints"][0]
    assert abs(x - 20) <= 8
    assert abs(y - 30) <= 8
    assert score > 0.9
    assert done.stderr.startswith("3 frames, 2 people, ")
    assert "network" in done.stderr.splitlines()[1]
    assert len(done.stderr.splitlines()) == 2


def test_files_and_score(work: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", work / "tiny.pose", "--source", work / "in", "--json", tmp_path / "a.jsonl")
    assert command("run", *arguments, "--save", tmp_path / "out").returncode == 0
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["0.png", "1.png", "2.png", "a.jsonl", "out"]
    assert cv2.imread(str(tmp_path / "out" / "0.png")).shape == (96, 128, 3)
    assert command("run", *arguments, "--min-score", "1.5").returncode == 0  # overwrites
    assert all(not json.loads(line)["people"] for line in (tmp_path / "a.jsonl").read_text().splitlines()[1:])


def test_video_in_video_out(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from pose_runtime.video import VideoWriter

    writer = VideoWriter(tmp_path / "in.mp4", 30.0)
    for i in range(6):
        writer.write(tiny.frame((20 + 10 * i, 40), None, None), i, i / 30)
    writer.close()
    done = command(
        "run",
        "--bundle",
        work / "tiny.pose",
        "--source",
        tmp_path / "in.mp4",
        "--json",
        "-",
        "--save",
        tmp_path / "o.mp4",
    )
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    assert [line["time_s"] for line in lines] == pytest.approx([i / 30 for i in range(6)], abs=1e-3)
    for i, line in enumerate(lines):
        assert abs(line["people"][0]["keypoints"][0][0] - (20 + 10 * i)) <= 8
    with open_source(tmp_path / "o.mp4") as source:
        assert [item.time_s for item in source] == pytest.approx([i / 30 for i in range(6)], abs=1e-3)


def test_without_a_sink(work: Path) -> None:
    done = command("run", "--bundle", work / "tiny.pose", "--source", work / "in" / "0.png")
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith("1 frame, 1 person, ")
    assert "add --json FILE, --save PATH, --sheet FILE or --show" in done.stderr


def test_the_default_network_runs_where_none_is_named(
    work: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(networks, "bundled", lambda: {networks.DEFAULT: work / "tiny.pose"})
    for named in ([], ["--bundle", networks.DEFAULT]):
        monkeypatch.setattr(sys, "argv", ["pose-run", "--source", str(work / "in"), "--json", "-", *named])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        header, *lines = map(json.loads, capfd.readouterr().out.splitlines())
        assert header["network"] == "tiny"
        assert len(lines) == 3


def test_a_sheet_of_a_folder(work: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = command("run", "--bundle", work / "tiny.pose", "--source", work / "in", "--sheet", sheet)
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing was kept" not in done.stderr
    height, width = cv2.imread(str(sheet)).shape[:2]
    assert height > 96
    assert width > 128


def test_a_clip_into_all_results_at_once(
    work: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `make demo` does it: the default network over a clip, into a video, a sheet and JSON Lines."""
    monkeypatch.setattr(networks, "bundled", lambda: {networks.DEFAULT: work / "tiny.pose"})
    results = [tmp_path / name for name in ("annotated.mp4", "sheet.png", "poses.jsonl")]
    options = zip(("--save", "--sheet", "--json"), map(str, results), strict=True)
    monkeypatch.setattr(sys, "argv", ["pose-run", "--source", str(video), *(word for pair in options for word in pair)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0, capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == sorted(results)
    _, *lines = map(json.loads, results[2].read_text().splitlines())
    assert [len(line["people"]) for line in lines] == [1] * 100
    with open_source(video) as before, open_source(results[0]) as after:
        for line, old, new in zip(lines, before, after, strict=True):
            x, y, _ = line["people"][0]["keypoints"][0]
            was, now = (int(to_bgr(item.frame)[round(y), round(x), 2]) for item in (old, new))
            assert now > was + 50  # the left's orange on blue
    sheet = cv2.imread(str(results[1]))
    assert sheet.shape[0] // 100 * (sheet.shape[1] // 132) == 12


def test_bad_images_are_skipped(work: Path, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes((work / "in" / f"{i}.png").read_bytes())
    (tmp_path / "1.png").write_bytes((work / "in" / "1.png").read_bytes()[:90])
    done = command("run", "--bundle", work / "tiny.pose", "--source", tmp_path, "--json", "-")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"pose-run: {tmp_path / '1.png'}: ")
    assert lines[1].startswith("2 frames, 2 people, ")
    assert lines[1].endswith("1 image skipped")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"")
    done = command("run", "--bundle", work / "tiny.pose", "--source", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[3] == "0 frames, 0 people, nothing to do, 3 images skipped"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "none is given: --source PATH"),
        (["--source", "in"], 1, "no network of this name comes with jetpose; known: other"),
        (["--bundle", "tiny", "--source", "in"], 1, "tiny: no such folder, and no network of this name"),
        (["--bundle", "tiny.pose", "--source", "in", "--threads", "0"], 2, "--threads"),
        (["--bundle", "none.pose", "--source", "in"], 1, "none.pose: no such folder"),
        (["--bundle", "tiny.pose", "--source", "none"], 1, "none: no such file"),
        (["--bundle", "tiny.pose", "--source", "in", "--device", "cuda:99"], 1, "CUDA driver"),
        (["--bundle", "tiny.pose", "--source", "in", "--device", "tpu"], 1, "wanted auto, cpu"),
        (["--bundle", "tiny.pose", "--source", "in", "--show"], 1, "no display"),
        (["--bundle", "tiny.pose", "--source", "in", "--save", "in"], 1, "is read from"),
        (["--bundle", "tiny.pose", "--source", "in", "--json", "in/0.png"], 1, "is read from"),
        (["--bundle", "tiny.pose", "--source", "in", "--json", "x/y.jsonl"], 1, "cannot write"),
        (["--bundle", "tiny.pose", "--source", "in", "--save", "x.png"], 1, "there are more"),
        (
            ["--bundle", "tiny.pose", "--source", "in", "--json", "x.mp4", "--save", "x.mp4"],
            1,
            "both --json and --save",
        ),
        (["--bundle", "tiny.pose", "--source", "in", "--save", "x.png", "--sheet", "./x.png"], 1, "both --save and"),
        (["--bundle", "tiny.pose", "--source", "in", "--sheet", "in/0.png"], 1, "is read from"),
        (["--bundle", "tiny.pose", "--source", "in", "--sheet", "x.txt"], 1, "x.txt: a sheet is an image"),
        (["--bundle", "tiny.pose", "--source", "in", "--sheet", "x/y.png"], 1, "no such folder"),
    ],
)
def test_errors(
    work: Path,
    arguments: list[str],
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "argv", ["pose-run", *arguments])
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(networks, "bundled", lambda: {"other": work / "tiny.pose"})
    before = sorted(work.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert ended.value.code == status
    assert out == ""
    assert words in err
    if status == 1:
        assert err.startswith("pose-run: ")
        assert len(err.splitlines()) == 1
    assert sorted(work.rglob("*")) == before


def test_full_disk_and_closed_pipe(work: Path) -> None:
    arguments = ("run", "--bundle", work / "tiny.pose", "--source", work / "in", "--json", "-")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = command(*arguments, stdout=full)
        assert done.returncode == 1
        assert done.stderr == "pose-run: standard output: cannot write it: No space left on device\n"
    read, write = os.pipe()
    os.close(read)
    done = command(*arguments, stdout=write)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_polite_kill_unwinds() -> None:
    code = """
import os, signal, time
from pose_runtime.cli._common import new_app, run_app
app = new_app()
@app.command()
def wait() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    finally:
        print("unwound")
run_app(app)
"""
    environment = os.environ | {"PYTHONPATH": RUNTIME}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "unwound\n", "")


def test_score_must_be_a_number(work: Path) -> None:
    done = command("run", "--bundle", work / "tiny.pose", "--source", work / "in", "--min-score", "nan")
    assert done.returncode == 2
    assert "--min-score: got nan" in done.stderr


def test_bench(work: Path) -> None:
    done = command("bench", work / "tiny.pose", "--runs", "3", "--threads", "1")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[:5]] == ["stage", "pre", "network", "decode", "total"]
    done = command("bench", work / "tiny.pose", "--runs", "3", "--json", "-", "--source", work / "in")
    result = json.loads(done.stdout)
    assert result["network"] == "tiny"
    assert (result["runs"], result["frames"]) == (3, 3)
    assert list(result["graphs"]) == ["reference"]
    assert 0 < result["graphs"]["reference"]["pre_ms"] < result["graphs"]["reference"]["total_ms"]
    (empty := work / "empty").mkdir()
    done = command("bench", work / "tiny.pose", "--source", empty)
    empty.rmdir()
    assert (done.returncode, done.stdout) == (1, "")
    assert "no images" in done.stderr


# ---- several graphs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(work: Path) -> Path:
    """A bundle with a graph of every role."""
    tiny.write(work / "three.pose", ("reference", "tensorrt", "cpu_int8"))
    return work / "three.pose"


@dataclass
class Done:
    status: int
    out: list[str]
    err: list[str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A command inside this process."""

    def run(module: ModuleType, *arguments: object) -> Done:
        name = f"pose-{module.__name__.rpartition('.')[2]}"
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            module.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out.splitlines(), err.splitlines())

    return run


def test_which_graph_runs_and_why(work: Path, three: Path, call: Callable[..., Done]) -> None:
    options = ("--bundle", three, "--source", work / "in", "--json", "-")
    done = call(cli, *options)
    assert done.status == 0
    assert re.match(r"graph (reference|cpu_int8): (this CPU has|cpu_int8 is|[\d.]+ x as fast as)", done.err[0])
    assert done.err[1].startswith("3 frames, 2 people, ")
    for role in ("reference", "tensorrt", "cpu_int8"):
        asked = call(cli, *options, "--graph", role)
        assert json.loads(asked.out[0])["graph"] == role
        assert asked.out[1:] == done.out[1:]
        assert asked.err[0].startswith(f"graph {role}: asked for")


@pytest.mark.parametrize("module", [cli, bench])
def test_a_graph_that_is_not_there(work: Path, call: Callable[..., Done], module: ModuleType) -> None:
    bundle = work / "tiny.pose"
    options = ("--bundle", bundle, "--source", work / "in") if module is cli else (bundle,)
    done = call(module, *options, "--graph", "cpu_int8")
    assert (done.status, done.out) == (1, [])
    name = "run" if module is cli else "bench"
    assert done.err == [f"pose-{name}: {bundle}: has no graph cpu_int8, only reference"]
    done = call(module, *options, "--graph", "fp64")
    assert done.status == 2
    assert "cpu_int8" in "".join(done.err)  # what there is


def test_bench_compares_graphs(three: Path, call: Callable[..., Done]) -> None:
    done = call(bench, three, "--runs", "3", "--threads", "1")
    head, *_, ratio, speed = done.out
    assert head.split() == ["stage", "reference", "ms", "share", "cpu_int8", "ms", "share"]
    assert re.fullmatch(r"cpu_int8: network [\d.]+ x, total [\d.]+ x as fast as reference", ratio)
    assert re.fullmatch(r"[\d.]+ \(reference\), [\d.]+ \(cpu_int8\) frames/s over 3 runs", speed)
    for role, timed in (("tensorrt", ["reference", "tensorrt"]), ("reference", ["reference"])):
        result = json.loads(call(bench, three, "--runs", "2", "--json", "-", "--graph", role).out[0])
        assert list(result["graphs"]) == timed
        assert all(times["total_ms"] > 0 for times in result["graphs"].values())


# ---- inside one process ------------------------------------------------------------------------------------------


def test_a_sink_can_end_the_run(work: Path) -> None:
    class Enough(Sink):
        def write(self, item: object, poses: object) -> None:
            self.finished = True

    with (
        pose_runtime.open_pipeline(work / "tiny.pose", threads=1) as pipeline,
        open_source(work / "in") as source,
        Enough() as sink,
    ):
        summary = runner.run(pipeline, source, [sink])
    assert (summary.frames, summary.people) == (1, 1)
    assert summary.wall_s >= summary.pre_s + summary.network_s + summary.decode_s > 0


def test_people_below_the_score_are_left_out() -> None:
    keypoints = np.zeros((3, 3, 3), np.float32)
    poses = pose_runtime.Poses(keypoints, np.array([0.1, 0.5, 0.9], np.float32), tiny.SKELETON, np.arange(3))
    kept = runner.at_least(poses, 0.5)
    np.testing.assert_array_equal(kept.scores, np.array([0.5, 0.9], np.float32))
    np.testing.assert_array_equal(kept.ids, [1, 2])


def test_progress_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with _progress.bar(3) as on_frame:
        on_frame(runner.Summary(frames=2, people=5, wall_s=1.0))
        print_error(SourceError("a.jpg: bad"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "a.jpg: bad" in err
    assert "5 people, 2.0 frames/s" in err


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams(work: Path, tmp_path: Path, closed: int) -> None:
    """Files opened later would get their numbers, and whatever else prints would land in them."""
    options = ("--bundle", work / "tiny.pose", "--source", work / "in", "--json", tmp_path / "out.jsonl")
    done = command("run", *options, preexec_fn=lambda: os.close(closed))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == ("" if closed == 2 else "pose-run: standard output is closed; send it to /dev/null instead\n")
    assert not (tmp_path / "out.jsonl").exists()


# ---- status lines and windows --------------------------------------------------------------------------------------


def test_a_status_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    status, so_far = _progress.StatusLines(), runner.Summary()
    for i in range(1, 41):
        so_far.frames, so_far.people, so_far.wall_s = i, 2 * i if i <= 20 else 40, i / 16
        so_far.network_s = 0.01 * i if i <= 16 else 0.16 + 0.02 * (i - 16)
        status(so_far)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("16 frames, 16.0 frames/s, 2.0 people per frame, read 0.0 ms, ")
    assert second.startswith("32 frames, 16.0 frames/s, 0.5 people per frame, ")
    assert "network 10.0 ms" in first
    assert "network 20.0 ms" in second


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 frames with one person."""
    pytest.importorskip("av")
    from pose_runtime.video import VideoWriter

    path = tmp_path_factory.mktemp("video") / "in.mp4"
    writer = VideoWriter(path, 30.0)
    for i in range(100):
        writer.write(tiny.frame((20 + i // 2, 40), None, None), i, i / 30)
    writer.close()
    return path


def test_without_a_display_it_says_each_second_how_it_goes(
    work: Path, video: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_progress, "_EVERY_S", 0.01)
    monkeypatch.setenv("DISPLAY", ":4711")  # nobody answers there
    monkeypatch.setattr(sys, "argv", ["pose-run", "--bundle", str(work / "tiny.pose"), "--source", str(video)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (0, "")
    *status, total, _, hint = err.splitlines()
    assert len(status) > 2
    for line in status:
        assert re.match(r"\d+ frames?, [\d.]+ frames/s, 1.0 people per frame, read .* ms, .*write .* ms$", line)
    assert total.startswith("100 frames, 100 people, ")
    assert hint.startswith("nothing was kept")


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    with screen(320, 240) as name:
        yield name


def on_display(display: str, *arguments: object) -> subprocess.Popen[str]:
    code = "import sys; from pose_runtime.cli.run import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": RUNTIME, "DISPLAY": display},
    )


@pytest.mark.parametrize("show", [[], ["--show"]])
def test_a_video_in_a_window_ends_by_itself(display: str, work: Path, video: Path, show: list[str]) -> None:
    with on_display(display, "--bundle", work / "tiny.pose", "--source", video, *show) as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert err.startswith("100 frames, 100 people")
    assert "nothing was kept" not in err


def test_a_picture_in_a_window_stays(display: str, work: Path, tmp_path: Path) -> None:
    results = tmp_path / "out.jsonl"
    options = ("--source", work / "in", "--show", "--json", results)
    with on_display(display, "--bundle", work / "tiny.pose", *options) as run:
        for _ in range(200):
            if results.exists() and results.read_bytes().count(b"\n") == 4:
                break
            time.sleep(0.1)
        time.sleep(0.5)
        assert run.poll() is None
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
