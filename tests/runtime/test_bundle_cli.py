"""pose-bundle: install, activate, roll back, list, remove, keys and archives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny
from fakes import cuda as fake_cuda
from fakes import tensorrt as fake_tensorrt
from pose_runtime.bundle import Bundle, load_bundle, write_bundle
from pose_runtime.check import record_frame
from pose_runtime.cli import bundle as cli
from pose_runtime.engines._tensorrt_library import find_library
from pose_runtime.errors import EngineError
from pose_runtime.manifest import Check
from pose_runtime.pipeline import open_pipeline
from pose_runtime.store import BundleStore, signature
from pose_runtime.store.proof import prove_bundle

Run = Callable[..., tuple[int, str, str]]
RIGHT, WRONG = tiny.frame((40, 40), (80, 60), (100, 20)), tiny.frame((90, 80), (20, 20), (40, 70))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A command on the store `root`: exit status, standard output, standard error."""
    monkeypatch.setattr(signature, "SYSTEM_KEY", tmp_path / "no-key.pub")

    def call(command: str, *args: object) -> tuple[int, str, str]:
        store = [] if command in ("keygen", "sign", "pack") else ["--store", str(tmp_path / "root")]
        monkeypatch.setattr(sys, "argv", ["pose-bundle", command, *map(str, args), *store])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


def bundle_of(folder: Path, name: str, frame: np.ndarray = RIGHT, min_oks: float = 0.9) -> Bundle:
    """A bundle whose poses are those of `RIGHT`, and whose check frame is another one if it shall fail."""
    plain = tiny.write(folder / "plain" / f"{name}.pose")
    with open_pipeline(plain, "cpu") as pipeline:
        recorded = record_frame(pipeline, RIGHT, "check/0.png")
    files = {file: plain.file_bytes(file) for file in plain.manifest.files}
    files["check/0.png"] = cv2.imencode(".png", frame)[1].tobytes()
    check = Check(min_oks=min_oks, frames=(recorded,))
    return write_bundle(folder / f"{name}.pose", tiny.replaced(plain.manifest, check=check, files={}), files)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Bundle, Bundle]:
    return bundle_of(tmp_path, "one"), bundle_of(tmp_path, "two", min_oks=0.8)


def test_an_update_and_the_way_back(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    one, other = (f"{bundle.path.stem}-{bundle.digest[:12]}" for bundle in two)
    assert run("list") == (0, "", f"no bundle in {tmp_path}/root\n")
    assert run("install", two[0].path) == (0, f"{one}\n", "")
    assert run("install", two[1].path) == (0, f"{other}\n", "")
    status, out, err = run("activate", "one", "--device", "cpu")
    assert status == 0
    assert out.splitlines() == [
        "reference check/0.png  OKS 1.0000  people 1 of 1  heads maps 0.0e+00",
        "reference on onnxruntime: passed, worst OKS 1.0000, bound 0.9",
        f"{one} is current",
    ]
    assert err.startswith("a running service takes it by: systemctl reload UNIT; it goes back by itself if")
    with BundleStore(tmp_path / "root").begin_serving() as serving:
        assert serving.confirm()
    assert run("activate", "two", "--device", "cpu")[1].splitlines()[-1] == f"{other} is current, was {one}"
    status, out, err = run("list")
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["bundle", "network", "state", "signature"],
        [one, "tiny", "previous", "none"],
        [other, "tiny", "current,", "on", "trial", "none"],
    ]
    assert run("activate", "two", "--device", "cpu")[1].splitlines()[-1] == f"{other} is current already"
    assert run("rollback")[1] == f"{one} is current, was {other}\n"
    assert run("list")[1].splitlines()[-1] == f"{other} failed its trial: rolled back by hand"
    tree = json.loads(run("list", "--json")[1])
    assert tree["root"] == str(tmp_path / "root")
    assert tree["last_switch"]["state"] == "failed"
    assert [(entry["name"], entry["is_current"], entry["sha256"]) for entry in tree["bundles"]] == [
        (one, True, two[0].digest),
        (other, False, two[1].digest),
    ]
    assert run("remove", one)[0] == 1
    assert run("remove", other) == (0, f"removed {other}\n", "")
    status, out, err = run("rollback")
    assert (status, out) == (1, "")
    assert err == f"pose-bundle: {tmp_path}/root: there is no bundle to go back to\n"


def test_what_fails_its_check_frames_never_serves(run: Run, tmp_path: Path) -> None:
    run("install", bundle_of(tmp_path, "bad", WRONG).path)
    status, out, err = run("activate", "bad", "--device", "cpu")
    assert (status, out) == (1, "")
    assert "the engine of reference is refused: OKS 0.0000 on a check frame, the bundle wants 0.9; pose-build" in err
    assert err.count("\n") == 1
    assert run("list")[1].splitlines()[1].split()[2] == "-"


def test_keep(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    run("install", two[0].path)
    status, out, err = run("install", two[1].path, "--keep", 1)
    assert (status, out) == (0, f"two-{two[1].digest[:12]}\n")
    assert err == f"removed one-{two[0].digest[:12]}\n"


def test_signed_from_the_workstation_to_the_device(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key, public, archive = tmp_path / "release", tmp_path / "release.pub", tmp_path / "one.tar.gz"
    status, out, err = run("keygen", key)
    assert (status, err) == (0, "")
    assert "PRIVATE" in key.read_text()
    assert "PRIVATE" not in out
    assert key.read_text().splitlines()[1] not in out
    assert run("sign", two[0].path, "--key", key)[1] == f"{two[0].path}.sig\n"
    assert run("pack", two[0].path, "--out", archive)[1] == f"{archive}\n"
    run("pack", two[1].path, "--out", tmp_path / "two.tar")
    assert run("install", archive, "--key", public)[0] == 0
    status, out, err = run("install", tmp_path / "two.tar", "--key", public)
    assert (status, out) == (1, "")
    assert "two.pose: is not signed; " in err
    assert err.count("\n") == 1
    assert run("activate", "one", "--key", public, "--device", "cpu")[0] == 0
    assert run("list", "--key", public)[1].splitlines()[1].split()[-1] == "verified"
    assert run("list")[1].splitlines()[1].split()[-2:] == ["not", "checked"]
    run("install", tmp_path / "two.tar")
    status, out, err = run("list", "--key", public)
    assert status == 1
    assert out.splitlines()[2].split()[-1] == "?"
    assert "is not signed" in out.splitlines()[3]
    assert run("install", "lightweight-tiny", "--key", tmp_path / "none.pub")[2].endswith("No such file or directory\n")


def test_a_damaged_bundle_is_listed(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    run("install", two[0].path)
    (file,) = tmp_path.glob("root/one-*.pose/reference.onnx")
    file.write_bytes(b"")
    status, out, _ = run("list")
    assert status == 1
    assert "reference.onnx: changed or damaged" in out.splitlines()[2]
    (tmp_path / "root" / file.parent.name / "manifest.json").write_bytes(b"")
    status, out, _ = run("list", "--json")
    assert status == 1
    assert json.loads(out)["bundles"][0]["network"] is None


def test_wrong_usage(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for args, message in (
        (("install", tmp_path / "nowhere.pose"), "no such folder; a bundle is NAME.pose/"),
        (("install", tmp_path / "nowhere.tar"), "nowhere.tar: No such file or directory"),
        (("install", tmp_path / "file"), "file: no folder; a bundle is NAME.pose/"),
        (("activate", "one"), "one: is not installed in"),
        (("activate", "one", "--device", "tpu"), "tpu"),
        (("remove", "x\ny"), "x y: is not installed in"),
        (("rollback",), "there is no bundle to go back to"),
        (("keygen", tmp_path / "no" / "key"), "cannot write it: No such file"),
        (("sign", two[0].path, "--key", tmp_path / "none"), "none: No such file or directory"),
        (("pack", two[0].path, "--out", tmp_path / "no" / "a.tar"), "a.tar: cannot write it: No such file"),
    ):
        status, out, err = run(*args)
        assert (status, out) == (1, ""), args
        assert message in err
        assert err.startswith("pose-bundle: ")
        assert err.count("\n") == 1
    status, _, err = run("pack", two[0].path, "--out", tmp_path / "a.zip")
    assert status == 2
    assert "wanted NAME.tar or NAME.tar.gz" in err


def test_reload(run: Run, two: tuple[Bundle, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemctl is a real program here, but not systemd's; no shell reads the units' names."""
    tools = tmp_path / "tools"
    tools.mkdir()
    fake = tools / "systemctl"
    fake.write_text(f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$3" in bad*) echo "Unit $3 not found." >&2; exit 5;; silent*) exit 3;; esac
""")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    run("install", two[0].path)
    run("install", two[1].path)
    run("activate", "one", "--device", "cpu")
    names = ("pose-run@a", "bad; touch x", "silent", "--now", "pose-run@b")
    units = [f"--reload={name}" for name in names]
    status, out, err = run("activate", "two", "--device", "cpu", *units)
    assert status == 1  # it is current all the same
    assert out.splitlines()[-3:] == ["reloaded pose-run@a", "reloaded --now", "reloaded pose-run@b"]
    assert err.splitlines() == [
        "pose-bundle: bad; touch x: cannot be reloaded: Unit bad; touch x not found.",
        "pose-bundle: silent: cannot be reloaded: exit status 3",
    ]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "reload -- pose-run@a", "reload -- bad; touch x", "reload -- silent", "reload -- --now", "reload -- pose-run@b",
    ]  # fmt: skip
    assert run("rollback", "--reload", "pose-run@a")[1].endswith("reloaded pose-run@a\n")
    fake.unlink()
    monkeypatch.setenv("PATH", str(tools))
    assert run("rollback", "--reload", "u")[0] == 1
    assert "there is no systemctl here" in run("activate", "two", "--device", "cpu", "--reload", "u")[2]


ROOT = """
import os, sys
from pathlib import Path
import onnxruntime
from pose_runtime.cli import bundle
from pose_runtime.store import BundleStore
from pose_runtime.check import check_bundle
BundleStore(sys.argv[2]).install(sys.argv[3])  # imports all that it takes, perhaps from where only root may read
check_bundle(BundleStore(sys.argv[2]).load(BundleStore(sys.argv[2]).installed()[0]))
store = ["--store", sys.argv[1]]
for command in (["install", sys.argv[3]], ["activate", "one", "--device", "cpu"], ["install", sys.argv[4]]):
    try:
        sys.argv = ["pose-bundle", *command, *store]
        bundle.main()
    except SystemExit as end:
        print(end.code, os.geteuid(), os.getegid())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_works_as_the_stores_owner(two: tuple[Bundle, Bundle]) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        public, private, state = (Path(folder) / name for name in ("public", "private", "state"))
        Path(folder).chmod(0o755)
        shutil.copytree(two[0].path, public / "one.pose")
        shutil.copytree(two[1].path, private / "two.pose")
        private.chmod(0o700)
        state.mkdir()
        os.chown(state, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", ROOT, state / "bundles", public / "warm", public / "one.pose", private / "two.pose"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert [line for line in done.stdout.splitlines() if line.endswith(" 0 0")] == ["0 0 0", "0 0 0", "1 0 0"], done
        assert "Permission denied" in done.stderr
        made = list((state / "bundles").rglob("*"))
        assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made} == {(65534, 65534)}
        assert (state / "bundles" / "current").is_symlink()


def test_where_bundles_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pose_runtime.store import store

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(store, "SYSTEM_FOLDER", tmp_path / "var" / "jetpose")
    assert BundleStore().root == tmp_path / "data" / "jetpose" / "bundles"
    (tmp_path / "var" / "jetpose").mkdir(parents=True)
    assert BundleStore().root == tmp_path / "var" / "jetpose" / "bundles"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert BundleStore().root == tmp_path / "data" / "jetpose" / "bundles"
    (tmp_path / "var" / "jetpose" / "bundles").mkdir()  # a device with a service: not quietly another store
    assert BundleStore().root == tmp_path / "var" / "jetpose" / "bundles"


# ---- on a GPU ------------------------------------------------------------------------------------------------------


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A board with JetPack: the fake TensorRT, whose runs wait on the fake GPU's streams."""
    trt = fake_tensorrt.install(monkeypatch, "10.3.0")
    with fake_cuda.installed(fake_cuda.ORIN) as cuda:
        trt.push = lambda stream, run: cuda._live_stream(stream).push("network", run)
        trt.memory_at = lambda address, size: cuda.memory_at(address, size, ("device",))
        monkeypatch.setattr("pose_runtime.engines.tensorrt.find_gpu", lambda ordinal: fake_cuda.ORIN)
        yield trt
    find_library.cache_clear()
    assert trt.violations == []


def test_the_engine_is_built_before_the_bundle_serves(
    run: Run, board: Any, two: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    run("install", two[0].path)
    status, out, _ = run("activate", "one", "--device", "cuda:0", "--cache", cache)
    assert status == 0
    assert "reference on tensorrt: passed, worst OKS 1.0000, bound 0.9" in out
    with (
        BundleStore(tmp_path / "root").begin_serving() as serving,
        open_pipeline(serving.bundle, "cuda:0", cache=cache) as pipeline,
    ):
        assert len(pipeline(RIGHT)) == 1
    assert board.stats["builds"] == 1  # the service found the engine


def test_an_engine_that_fails_or_cannot_be_kept(board: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"the engine of reference is refused: OKS 0\.0.*pose-build"):
        prove_bundle(bundle_of(tmp_path, "bad", WRONG), "cuda:0", cache=tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="the plan could not be kept, so the service would build it again"):
        prove_bundle(bundle_of(tmp_path, "good"), "cuda:0", cache=tmp_path / "file")


def test_a_gpu_that_fails_is_no_reason_for_the_cpu(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(tmp_path, "bad", WRONG)
    monkeypatch.setattr("pose_runtime.gpu.open.missing", lambda: None)
    with pytest.raises(EngineError, match="is refused"):
        prove_bundle(bundle, cache=tmp_path / "cache")
    monkeypatch.setattr("pose_runtime.gpu.open.missing", lambda: "no pycuda")
    assert [check.engine for check in prove_bundle(bundle_of(tmp_path, "good"))] == ["onnxruntime"]


def test_the_graph_that_the_service_is_told_to_run(tmp_path: Path) -> None:
    bundle = load_bundle("lightweight-tiny")
    assert [check.role for check in prove_bundle(bundle, "cpu", graph="reference")] == ["reference"]
