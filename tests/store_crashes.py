"""Kills processes that change a bundle store, and looks at what they leave. A script, for it forks: see test_store.py.

    store_crashes.py steps   a kill before each step of each change
    store_crashes.py random  kills at random times, of two processes at work on one store

Prints JSON; a broken promise is a traceback.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toy
from pose_runtime.bundle import write_bundle
from pose_runtime.errors import BundleError
from pose_runtime.store import BundleStore

_EVENTS = {"open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "ctypes.dlsym"}
A, B, C = "a", "b", "c"


def write(folder: Path, name: str) -> Path:
    """A small bundle whose graph's bytes, and so whose digest, are its own."""
    manifest = toy.manifest_dict()
    manifest["network"]["name"] = name
    files = {**toy.FILES, "reference.onnx": name.encode() * 5000}
    return write_bundle(folder / f"{name}.pose", toy.msgspec.convert(manifest, toy.Manifest), files).path


def activate(root: Path, name: str) -> None:
    store = BundleStore(root)
    store.activate(store.find(name), prove=lambda bundle: None)


def begin(root: Path) -> str:
    with BundleStore(root).begin_serving() as serving:
        assert serving.bundle.file_bytes("reference.onnx")
        return serving.bundle.manifest.network.name


def confirm(root: Path) -> None:
    with BundleStore(root).begin_serving() as serving:
        assert serving.confirm()


def give_up(root: Path) -> None:
    with BundleStore(root).begin_serving() as serving:
        assert serving.give_up("no results")


def names(root: Path) -> tuple[str | None, str | None]:
    """Networks of the present and of the previous bundle."""
    store = BundleStore(root)
    present, previous = (
        one and store.load(one).manifest.network.name for one in (store.current(), store.previous())
    )  # fmt: skip
    return present, previous


# ---- one kill before each step -----------------------------------------------------------------------------------


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run in a process of its own that is killed before this step of its changes; False if it ended before."""
    child = os.fork()
    if child == 0:
        left = step

        def count() -> None:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        def fsync(descriptor: int) -> None:
            count()
            real(descriptor)

        real, os.fsync = os.fsync, fsync
        sys.addaudithook(lambda event, _: count() if event in _EVENTS else None)
        try:
            act()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    return status != 0


def settled(root: Path, sources: dict[str, Path]) -> tuple[str, tuple[str | None, str | None]]:
    """What serves at the next start, and at the ones after that: a bundle that is tried once only, if at all."""
    store = BundleStore(root)
    for one in store.installed():
        store.load(one)
    at_once = names(root)
    first = begin(root)
    begun = store.last_switch()
    if begun and begun.state == "trial" and begun.to == store.current().name:  # type: ignore[union-attr]
        assert begin(root) == store.load(store.current()).manifest.network.name != first  # type: ignore[arg-type]
    last = begin(root)
    assert begin(root) == last
    for source in sources.values():
        BundleStore(root).install(source)
    assert not leftovers(root)
    return first, at_once


def leftovers(root: Path) -> list[Path]:
    """Folders that the next change of the files must remove."""
    return [path for path in root.glob(".*.tmp") if path.is_dir() and not path.is_symlink()]


def steps(folder: Path) -> dict[str, Any]:
    sources = {name: write(folder / "sources", name) for name in (A, B, C)}
    ready = folder / "ready"  # c was the bundle before a, which serves; b is installed
    for name in (C, A, B):
        BundleStore(ready).install(sources[name])
    for name in (C, A):
        activate(ready, name)
        confirm(ready)
    assert names(ready) == (A, C)
    on_trial = copied(ready, folder / "on_trial", lambda root: activate(root, B))
    begun = copied(on_trial, folder / "begun", begin)
    damaged = copied(ready, folder / "damaged", damage)
    lone = copied(ready, folder / "lone", lambda root: BundleStore(root).remove(BundleStore(root).find(B)))
    # name, where it starts, what it does, (serves at the next start, (serves, previous)) that it may leave
    cases: list[tuple[str, Path, Callable[[Path], object], set[Any]]] = [
        ("install", lone, lambda root: BundleStore(root).install(sources[B]), {(A, (A, C))}),
        ("remove", ready, lambda root: BundleStore(root).remove(BundleStore(root).find(B)), {(A, (A, C))}),
        ("activate", ready, lambda root: activate(root, B), {(A, (A, C)), (B, (B, A))}),
        ("begin", on_trial, begin, {(B, (B, A)), (A, (B, A))}),
        ("confirm", on_trial, confirm, {(B, (B, A)), (A, (B, A))}),
        ("give up", on_trial, give_up, {(B, (B, A)), (A, (B, A)), (A, (A, C))}),
        ("start after death", begun, begin, {(A, (B, A)), (A, (A, C))}),
        ("activate in a trial", begun, lambda root: activate(root, C), {(A, (B, A)), (A, (A, C)), (C, (C, A))}),
        ("rollback", ready, lambda root: BundleStore(root).rollback(), {(A, (A, C)), (C, (C, A))}),
        ("rollback in a trial", begun, lambda root: BundleStore(root).rollback(), {(A, (B, A)), (A, (A, C))}),
    ]
    counts = {}
    for case, start, act, allowed in cases:
        seen, step = set(), 0
        while True:
            root = copied(start, folder / "now")
            was_killed = killed_at(step, lambda act=act, root=root: act(root))  # type: ignore[misc]
            found = settled(root, sources)
            assert found in allowed, (case, step, found)
            seen.add(found)
            step += 1
            if not was_killed:
                break
        assert seen == allowed, (case, allowed - seen)
        counts[case] = step - 1
    counts["repair"] = repairs(damaged, folder / "now", sources[A])
    return counts


def repairs(start: Path, root: Path, source: Path) -> int:
    """The bundle that serves is damaged, and installed again: it is the damaged or the good one, and then good."""
    step = 0
    while True:
        current = BundleStore(copied(start, root)).current()
        assert current
        was_killed = killed_at(step, lambda: BundleStore(root).install(source))
        found = (root / "current" / "reference.onnx").read_bytes()
        assert found == b"a" * 5000 or (was_killed and found == b"x" + b"a" * 4999)
        BundleStore(root).install(source)
        BundleStore(root).load(current)
        if not was_killed:
            return step
        step += 1


def damage(root: Path) -> None:
    with (root / "current" / "reference.onnx").open("r+b") as file:
        file.write(b"x")


def copied(start: Path, root: Path, act: Callable[[Path], object] = lambda root: None) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(start, root, symlinks=True)
    act(root)
    return root


# ---- kills at random times ---------------------------------------------------------------------------------------


def work(root: Path, sources: dict[str, Path], seed: int) -> None:
    """Change the store for ever."""
    rng = random.Random(seed)
    while True:
        try:
            act = rng.choice([install_one, activate_one, activate_one, confirm_one, give_up_one, roll_back, remove_one])
            act(root, sources, rng)
        except (BundleError, AssertionError):
            pass  # such as: it serves, so it is not removed; the other process was faster


def install_one(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    BundleStore(root).install(rng.choice(list(sources.values())))


def activate_one(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    activate(root, rng.choice(list(sources)))


def confirm_one(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    confirm(root)


def give_up_one(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    give_up(root)


def roll_back(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    BundleStore(root).rollback()


def remove_one(root: Path, sources: dict[str, Path], rng: random.Random) -> None:
    BundleStore(root).remove(BundleStore(root).find(rng.choice(list(sources))))


def kills(folder: Path) -> dict[str, Any]:
    sources = {name: write(folder / "sources", name) for name in (A, B, C)}
    root = folder / "store"
    BundleStore(root).install(sources[A])
    activate(root, A)
    rng, seen = random.Random(1), []
    for round_number in range(50):
        children = []
        for seed in range(2):
            child = os.fork()
            if child == 0:
                try:
                    work(root, sources, 2 * round_number + seed)
                finally:
                    os._exit(1)
            children.append(child)
        time.sleep(rng.uniform(0.002, 0.08))
        for child in children:
            os.kill(child, signal.SIGKILL)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        present, _ = names(root)
        for one in BundleStore(root).installed():
            BundleStore(root).load(one)
        begin(root)
        seen.append(present)
    BundleStore(root).install(sources[B])
    assert not leftovers(root)
    return {name: seen.count(name) for name in sources}


if __name__ == "__main__":
    do, where = {"steps": steps, "random": kills}[sys.argv[1]], Path(sys.argv[2])
    print(json.dumps(do(where)))
