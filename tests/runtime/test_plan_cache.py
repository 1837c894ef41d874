from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pose_runtime import plan_cache, sealed_file
from pose_runtime.plan_cache import BuildReport, PlanCache, Proof, default_folder
from pose_runtime.plan_key import BuildOptions, PlanKey, ProofKey, TimingKey, digest, plan_key

MACHINE = TimingKey(library="tensorrt", version="10.3.0", gpu="Orin", sm=(8, 7), processors=8, driver=12060)
KEY = plan_key(b"an ONNX file", MACHINE, BuildOptions())
REPORT = BuildReport(seconds=1.5, layers=9, fallbacks=("a layer",))
PLAN = np.random.default_rng(7).bytes(100_000)


def made(plan: bytes = PLAN) -> Callable[[], tuple[bytes, BuildReport]]:
    return lambda: (plan, REPORT)


def never() -> tuple[bytes, BuildReport]:
    raise AssertionError("this was not to be built")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "cache")


def test_a_plan_is_kept(cache: PlanCache) -> None:
    assert cache.find(KEY) is None
    first = cache.get_or_build(KEY, made())
    assert (first.data, first.report, first.is_new) == (PLAN, REPORT, True)
    second = PlanCache(cache.folder.parent).get_or_build(KEY, never)
    assert (second.data, second.report, second.is_new) == (PLAN, REPORT, False)
    assert first.sha256 == second.sha256 != ""
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".lock", ".plan"]


def test_rebuilding_replaces_it(cache: PlanCache) -> None:
    cache.get_or_build(KEY, made())
    assert cache.get_or_build(KEY, made(b"new"), rebuild=True).data == b"new"
    assert cache.get_or_build(KEY, never).data == b"new"


def test_a_build_that_fails_stores_nothing(cache: PlanCache) -> None:
    with pytest.raises(AssertionError, match="not to be built"):
        cache.get_or_build(KEY, never)
    assert cache.find(KEY) is None
    assert cache.get_or_build(KEY, made()).is_new  # the lock is free again


@pytest.mark.parametrize(
    "other",
    [
        plan_key(b"another ONNX file", MACHINE, BuildOptions()),
        plan_key(b"an ONNX file", MACHINE, BuildOptions(max_batch=2)),
        *(
            plan_key(b"an ONNX file", msgspec.structs.replace(MACHINE, **{name: value}), BuildOptions())
            for name, value in {
                "library": "tensorrt_rtx",
                "version": "10.3.1",
                "gpu": "Thor",
                "sm": (8, 6),
                "processors": 16,
                "driver": 13000,
            }.items()
        ),
    ],
)
def test_every_part_of_the_key_counts(cache: PlanCache, other: PlanKey) -> None:
    cache.get_or_build(KEY, made())
    assert cache.find(other) is None
    assert digest(other) != digest(KEY)
    cache.path(KEY).rename(cache.path(other))  # even where a file has the name
    assert cache.find(other) is None
    assert cache.get_or_build(other, made(b"own")).data == b"own"


def test_any_flipped_byte_is_found(cache: PlanCache) -> None:
    cache.get_or_build(KEY, made(PLAN[:300]))
    path, random = cache.path(KEY), np.random.default_rng(3)
    good = path.read_bytes()
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << int(random.integers(8))
        path.write_bytes(bad)
        assert cache.find(KEY) is None, at
    path.write_bytes(good)
    assert cache.find(KEY) is not None


def test_any_other_length_is_found(cache: PlanCache) -> None:
    cache.get_or_build(KEY, made(PLAN[:300]))
    path = cache.path(KEY)
    good = path.read_bytes()
    for bad in (*(good[:size] for size in range(len(good))), good + b"\0", good[:8] + b"\xff" * 40, b"\0" * 10_000):
        path.write_bytes(bad)
        assert cache.find(KEY) is None
    assert cache.get_or_build(KEY, made()).data == PLAN


def test_what_others_may_write_is_not_trusted(cache: PlanCache, tmp_path: Path) -> None:
    cache.get_or_build(KEY, made())
    path = cache.path(KEY)
    for mode in (0o666, 0o664, 0o622):
        path.chmod(mode)
        assert cache.find(KEY) is None
    path.chmod(0o444)
    assert cache.find(KEY) is not None
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.find(KEY) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.find(KEY) is None  # and does not wait for a writer
    path.unlink()
    path.mkdir()
    assert cache.find(KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_not_trusted(cache: PlanCache) -> None:
    cache.get_or_build(KEY, made())
    os.chown(cache.path(KEY), 12345, 12345)
    assert cache.find(KEY) is None


def test_files_are_for_all_to_read_and_the_owner_to_write(cache: PlanCache) -> None:
    before = os.umask(0o002)
    try:
        cache.get_or_build(KEY, made())
    finally:
        os.umask(before)
    assert cache.path(KEY).stat().st_mode & 0o777 == 0o644


def test_what_a_killed_writer_left_is_in_nobodys_way(cache: PlanCache) -> None:
    cache.get_or_build(KEY, made(b"old"))
    left = cache.folder / f".{cache.path(KEY).name}.tmp"
    left.write_bytes(b"half")
    assert cache.get_or_build(KEY, made(), rebuild=True).sha256 != ""
    assert not left.exists()
    assert cache.get_or_build(KEY, never).data == PLAN


def test_timing_and_proof(cache: PlanCache) -> None:
    assert cache.timing(MACHINE) == b""
    cache.store_timing(MACHINE, b"timings")
    assert cache.timing(MACHINE) == b"timings"
    key = ProofKey(plan="a" * 64, bundle="b" * 64)
    assert cache.proof(key) is None
    cache.store_proof(key, Proof(worst_oks=0.4, min_oks=0.5))
    proof = cache.proof(key)
    assert proof is not None
    assert not proof.passed
    assert cache.proof(ProofKey(plan="c" * 64, bundle="b" * 64)) is None


def test_chosen_options(cache: PlanCache) -> None:
    other = plan_key(b"an ONNX file", MACHINE, BuildOptions(level=1))
    assert cache.with_chosen_options(KEY) == KEY
    cache.choose_options(other)
    assert cache.with_chosen_options(KEY) == other
    elsewhere = msgspec.structs.replace(KEY, machine=msgspec.structs.replace(MACHINE, gpu="Thor"))
    assert cache.with_chosen_options(elsewhere) == elsewhere


# A full disk, and folders that cannot be written.


def test_a_full_disk_costs_only_the_next_start(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.get_or_build(KEY, made(b"old"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealed_file.os, "fsync", full)
    plan = cache.get_or_build(KEY, made(), rebuild=True)
    assert (plan.data, plan.sha256) == (PLAN, "")
    assert (
        "cannot be stored (No space left on device), so the next start makes it again; free some space" in caplog.text
    )
    monkeypatch.undo()
    assert [path.name for path in cache.folder.iterdir() if path.name.startswith(".")] == []
    assert cache.get_or_build(KEY, never).data == b"old"


FULL_DISK = """
import logging, os, sys
sys.path.insert(0, {tests!r})
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from test_plan_cache import *
cache = PlanCache("/mnt")
first = cache.get_or_build(KEY, made(PLAN[:9000]))
print("first", bool(first.sha256))
plan = cache.get_or_build(KEY, made(PLAN), rebuild=True)
print("second", plan.data == PLAN, plan.sha256 == "")
print(sorted(path.suffix for path in cache.folder.iterdir()), cache.find(KEY).data == PLAN[:9000])
"""


def test_a_disk_that_is_really_full() -> None:
    """A file system of 64 KiB, in a name space of its own."""
    script = FULL_DISK.format(tests=str(Path(__file__).parent))
    command = 'mount -t tmpfs -o size=64k none /mnt && exec "$0" -c "$1"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*unshare, "mount -t tmpfs -o size=64k none /mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no name spaces here: {error}")
    done = subprocess.run(
        [*unshare, command, sys.executable, script], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "first True"
    assert "cannot be stored (No space left on device)" in lines[1]
    assert lines[2:] == ["second True True", "['.lock', '.plan'] True"]


def environment() -> dict[str, str]:
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    plan = PlanCache(tmp_path / "file").get_or_build(KEY, made())
    assert plan.data == PLAN
    assert "cannot be stored" in caplog.text
    assert "--cache" in caplog.text


def test_a_plan_that_is_too_large(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plan_cache, "MAX_BYTES", 1000)
    assert cache.get_or_build(KEY, made()).sha256 == ""
    assert "not stored: 100000 bytes" in caplog.text


def test_default_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_cache, "SYSTEM_FOLDER", tmp_path / "var" / "jetpose")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "jetpose"  # there is no /var/lib
    (tmp_path / "var").mkdir()
    assert default_folder() == tmp_path / "var" / "jetpose"
    monkeypatch.setattr(plan_cache.os, "access", lambda *_: False)
    assert default_folder() == tmp_path / "xdg" / "jetpose"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder() == Path("/home/someone/.cache/jetpose")


# Several processes.

BUILDER = """
import sys, time
sys.path.insert(0, {tests!r})
from test_plan_cache import *
def build():
    with open({log!r}, "a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    return PLAN, REPORT
print(PlanCache({folder!r}).get_or_build(KEY, build).data == PLAN)
"""


def test_of_several_builders_one_builds(cache: PlanCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = BUILDER.format(tests=str(Path(__file__).parent), log=str(log), folder=str(cache.folder.parent))
    command = [sys.executable, "-c", script]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=60) for process in running]
    assert [out for out, _ in ended] == ["True\n"] * 3, ended
    assert log.read_text() == "built\n"
    assert sum("another process works on" in err for _, err in ended) <= 2


def test_the_second_builder_says_that_it_waits(cache: PlanCache, caplog: pytest.LogCaptureFixture) -> None:
    started, go = threading.Event(), threading.Event()

    def slow() -> tuple[bytes, BuildReport]:
        started.set()
        assert go.wait(20)
        return PLAN, REPORT

    first = threading.Thread(target=cache.get_or_build, args=(KEY, slow))
    first.start()
    assert started.wait(20)
    with caplog.at_level(logging.WARNING):
        second = threading.Thread(target=cache.get_or_build, args=(KEY, never))
        second.start()
        until = time.monotonic() + 20
        while "waiting for it" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)
        assert "another process works on" in caplog.text
        go.set()
        second.join()
    first.join()
    assert cache.find(KEY) is not None


KILLS = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from test_plan_cache import *

cache = PlanCache({folder!r})
chance = random.Random(5)
plans = [bytes([i]) * 400_000 for i in range(4)]

def write(n):
    cache.get_or_build(KEY, lambda: (plans[n % 4], REPORT), rebuild=True)

start = time.perf_counter()
for n in range(5):
    write(n)
longest = min(3 * (time.perf_counter() - start) / 5 + 0.01, 0.15)  # so that kills hit all of a write, on any disk
known = {{cache.path(KEY).name, cache.path(KEY).with_suffix(".lock").name}}
halves = changes = 0
last = plans[4 % 4]
for turn in range(100):
    child = os.fork()
    if child == 0:
        try:
            n = turn
            while True:
                n += 1
                write(n)
        finally:
            os._exit(1)
    time.sleep(chance.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    rest = {{path.name for path in cache.folder.iterdir()}} - known
    assert rest <= {{"." + cache.path(KEY).name + ".tmp"}}, rest
    halves += bool(rest)
    plan = cache.find(KEY)
    assert plan is not None, "a plan was lost or is damaged"
    assert plan.data in plans, "a plan is mixed"
    changes += plan.data != last
    last = plan.data
write(0)
assert cache.find(KEY).data == plans[0]
assert {{path.name for path in cache.folder.iterdir()}} == known
print(halves, changes)
"""


def test_kill_9_at_100_moments(cache: PlanCache) -> None:
    script = KILLS.format(tests=str(Path(__file__).parent), folder=str(cache.folder.parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), timeout=120
    )
    assert done.returncode == 0, done.stderr
    halves, changes = map(int, done.stdout.split())
    assert halves > 0  # so kills did hit writers, before and after the moment that counts
    assert changes > 0
