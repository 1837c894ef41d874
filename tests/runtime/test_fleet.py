"""What deploy/fleet/ gives to other tools: it parses, names what exists, and does what its page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import pytest

import tiny
from pages import status
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.check import record_frame
from pose_runtime.errors import BundleError
from pose_runtime.manifest import Check
from pose_runtime.pipeline import open_pipeline
from pose_runtime.store import BundleStore, Serving
from pose_runtime.store.archive import pack

FLEET = Path(__file__).parents[2] / "deploy/fleet"
SCRIPTS = [FLEET / "mender-pose-bundle", FLEET / "balena/start.sh"]
TAKES_S = 60  # for a program; far more than it needs


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which `pose-bundle` is this tree's; `pose-run` says how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pose-bundle").write_text(
        f"#!{sys.executable}\nimport pathlib\nfrom pose_runtime import plan_cache\n"
        f"plan_cache.SYSTEM_FOLDER = pathlib.Path({str(tmp_path / 'cache')!r})\n"
        "from pose_runtime.cli.bundle import main\nmain()\n"
    )
    (folder / "pose-run").write_text('#!/bin/sh\necho "pose-run $*"\n')
    for program in folder.iterdir():
        program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_ASYNC_DIR": str(tmp_path / "async"),
    }


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def proven(folder: Path, name: str, min_oks: float) -> Bundle:
    """A bundle that passes its check frames where the bound is at most 1."""
    plain = tiny.write(folder / "plain" / f"{name}.pose")
    with open_pipeline(plain, "cpu") as pipeline:
        image = tiny.frame((40, 40), (80, 60), (100, 20))
        recorded = record_frame(pipeline, image, "check/0.png")
    files = {file: plain.file_bytes(file) for file in plain.manifest.files}
    shown = image if min_oks <= 0.9 else tiny.frame((90, 80), (20, 20), (40, 70))
    files["check/0.png"] = cv2.imencode(".png", shown)[1].tobytes()
    check = Check(min_oks=min_oks, frames=(recorded,))
    return write_bundle(folder / f"{name}.pose", tiny.replaced(plain.manifest, check=check, files={}), files)


def archive(tmp_path: Path, name: str, min_oks: float) -> Path:
    path = tmp_path / f"{name}.tar.gz"
    pack(proven(tmp_path, name, min_oks), path)
    return path


@contextmanager
def service(store: BundleStore, *, healthy: bool = True) -> Iterator[None]:
    """Takes each bundle on trial as a service does on its reload, and confirms it or gives it up."""
    ended = threading.Event()

    def run() -> None:
        held: Serving | None = None
        while not ended.wait(0.05):
            try:
                trial = store.last_switch()
                if trial is None or trial.state != "trial" or trial.begun:
                    continue
                served = store.begin_serving()
            except BundleError:
                continue
            if healthy:
                served.confirm()
            else:
                served.give_up("no result within 30 s")
            if held:
                held.close()
            held = served
        if held:
            held.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Mender:
    """Calls the module as Mender's client does: one state after another, in the folder of its file API."""

    def __init__(self, folder: Path, environment: dict[str, str], store: BundleStore, *payload: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True)
        (folder / "tmp").mkdir()
        for file in payload:
            shutil.copy(file, folder / "files")
        settings = folder.parent / "fleet.conf"
        settings.write_text(f"POSE_STORE={store.root}\nPOSE_DEVICE=cpu\nPOSE_UNITS=\nPOSE_WAIT_S=2\nPOSE_KEEP=0\n")
        self._environment = {**environment, "POSE_FLEET_CONF": str(settings)}

    def __call__(self, state: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FLEET / "mender-pose-bundle", state, self.folder],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TAKES_S,
            check=False,
        )

    def update(self) -> list[str]:
        """The states of an update, as the protocol orders them; those that failed have an exclamation mark."""
        done: list[str] = []

        def went(state: str) -> bool:
            result = self(state)
            done.append(state + "!" * bool(result.returncode))
            return result.returncode == 0

        assert self("SupportsRollback").stdout == "Yes\n"
        assert self("NeedsArtifactReboot").stdout == "No\n"
        if not (went("Download") and went("ArtifactInstall") and went("ArtifactCommit")):
            went("ArtifactRollback")
            went("ArtifactFailure")
        went("Cleanup")
        return done


GOOD = ["Download", "ArtifactInstall", "ArtifactCommit", "Cleanup"]


def current(store: BundleStore) -> str | None:
    one = store.current()
    return one.name.rpartition("-")[0] if one else None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean_and_may_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_mender_updates_and_goes_back(tmp_path: Path, programs: dict[str, str], store: BundleStore) -> None:
    def update(name: str, *payload: Path) -> list[str]:
        return Mender(tmp_path / name, programs, store, *payload).update()

    with service(store):
        assert update("first", archive(tmp_path, "one", 0.9)) == GOOD
        assert current(store) == "one"
        assert update("second", archive(tmp_path, "two", 0.8)) == GOOD
        assert current(store) == "two"
        failed = ["Download", "ArtifactInstall!", "ArtifactRollback", "ArtifactFailure", "Cleanup"]
        assert update("fails its check frames", archive(tmp_path, "bad", 0.95)) == failed
        assert update("no bundle at all") == failed
        assert update("two at once", tmp_path / "one.tar.gz", tmp_path / "two.tar.gz") == failed
        assert current(store) == "two"
    uncommitted = ["Download", "ArtifactInstall", "ArtifactCommit!", "ArtifactRollback", "ArtifactFailure", "Cleanup"]
    with service(store, healthy=False):
        assert update("serves badly", archive(tmp_path, "poor", 0.7)) == uncommitted
        assert current(store) == "two"
    assert update("nobody serves", archive(tmp_path, "alone", 0.6)) == uncommitted
    assert current(store) == "two"
    names = {one.name.rpartition("-")[0] for one in store.installed()}
    assert names == {"one", "two"}  # the rest was cleaned up; one is the way back


@pytest.mark.slow
def test_mender_may_repeat_a_state(tmp_path: Path, programs: dict[str, str], store: BundleStore) -> None:
    """As it does after a power cut."""
    with service(store):
        assert Mender(tmp_path / "a", programs, store, archive(tmp_path, "one", 0.9)).update() == GOOD
        mender = Mender(tmp_path / "b", programs, store, archive(tmp_path, "two", 0.8))
        for state in ("ArtifactInstall", "ArtifactInstall", "ArtifactCommit", "ArtifactCommit"):
            done = mender(state)
            assert done.returncode == 0, done.stderr
        assert current(store) == "two"
        for _ in range(2):
            assert mender("ArtifactRollback").returncode == 0
            assert current(store) == "one"
    first = Mender(tmp_path / "c", programs, BundleStore(tmp_path / "other"), archive(tmp_path, "three", 0.7))
    assert first("ArtifactInstall").returncode == 0
    done = first("ArtifactRollback")
    assert done.returncode == 1
    assert "there is none to go back to" in done.stderr
    assert first("AStateOfTheFuture").returncode == 0


def test_waiting_for_a_verdict(tmp_path: Path, store: BundleStore) -> None:
    one, two = (store.install(tiny.write(tmp_path / f"{name}.pose", roles).path) for name, roles in
                (("one", ("reference",)), ("two", ("reference", "cpu_int8"))))  # fmt: skip
    with pytest.raises(BundleError, match="no bundle is current"):
        store.wait_for_verdict(one, 0)
    store.activate(one, prove=lambda _: None)
    with store.begin_serving() as serving:
        serving.confirm()
    store.wait_for_verdict(one, 0)
    store.activate(two, prove=lambda _: None)
    start_s = time.monotonic()
    with pytest.raises(BundleError, match=r"no service has confirmed it within 1 s"):
        store.wait_for_verdict(two, 1)
    assert time.monotonic() - start_s >= 1
    with pytest.raises(BundleError, match=f"{two.name} is current"):
        store.wait_for_verdict(one, 0)
    with store.begin_serving() as serving:
        serving.give_up("it hangs")
    with pytest.raises(BundleError, match="does not serve: it hangs"):
        store.wait_for_verdict(two, 5)


def test_balena_offers_a_bundle_once(tmp_path: Path, programs: dict[str, str], store: BundleStore) -> None:
    home, bundles = tmp_path / "home", tmp_path / "bundles"
    home.mkdir()
    bundles.mkdir()
    opened = BundleStore(home / "bundles")

    def start() -> subprocess.CompletedProcess[str]:
        environment = {**programs, "POSE_HOME": str(home), "POSE_BUNDLES": str(bundles), "POSE_DEVICE": "cpu"}
        command = [FLEET / "balena/start.sh", "--track"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TAKES_S, check=False
        )  # fmt: skip

    shutil.copy(archive(tmp_path, "one", 0.9), bundles / "bundle.tar.gz")
    done = start()
    assert done.stdout.splitlines()[-1] == "pose-run --config /etc/jetpose/camera.toml --track"
    assert current(opened) == "one"
    with opened.begin_serving() as serving:
        serving.confirm()
    shutil.copy(archive(tmp_path, "poor", 0.8), bundles / "bundle.tar.gz")
    start()
    assert current(opened) == "poor"
    opened.begin_serving().give_up("no result")
    for _ in range(2):  # the container restarts: what failed is not offered again
        assert start().returncode == 0
        assert current(opened) == "one"
    shutil.copy(archive(tmp_path, "bad", 0.95), bundles / "bundle.tar.gz")
    done = start()
    assert "is refused; the bundle before goes on" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("pose-run")
    assert current(opened) == "one"


def load_yaml(path: Path) -> Any:
    return pytest.importorskip("yaml").safe_load(path.read_text())


def test_the_playbook_and_the_release_parse() -> None:
    (play,) = load_yaml(FLEET / "update-bundle.yml")
    assert play["serial"][0] == "1"  # one device first
    words = [task for task in play["tasks"][1]["block"] if "ansible.builtin.command" in task]
    used = [str(task["ansible.builtin.command"]["argv"]) for task in words]
    assert [any(command in one for one in used) for command in ("install", "activate", "wait", "prune")] == [True] * 4
    compose = load_yaml(FLEET / "balena/docker-compose.yml")
    assert compose["version"] < "3"
    for volume in compose["services"]["pose"]["volumes"]:
        assert volume.partition(":")[0] in compose["volumes"]  # a name: balena binds no folders


@pytest.mark.slow
def test_the_playbook_updates_this_machine(tmp_path: Path, programs: dict[str, str], store: BundleStore) -> None:
    if shutil.which("ansible-playbook", path=programs["PATH"]) is None:
        pytest.skip("no ansible-playbook here")

    def play(file: Path) -> subprocess.CompletedProcess[str]:
        extra = {
            "archive": str(file),
            "store": str(store.root),
            "device": "cpu",
            "units": [],
            "within_s": 5,
            "keep": 0,
            "devices": "all",
            "as_root": False,
            "ansible_python_interpreter": sys.executable,
        }
        command = ["ansible-playbook", "-c", "local", "-i", "localhost,", FLEET / "update-bundle.yml"]
        return subprocess.run(
            [*command, "-e", json.dumps(extra)],
            env={**programs, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    with service(store):
        done = play(archive(tmp_path, "one", 0.9))
        assert done.returncode == 0, done.stdout + done.stderr
        assert current(store) == "one"
        again = play(tmp_path / "one.tar.gz")
        assert re.search(r"changed=0 .*failed=0", again.stdout), again.stdout
    with service(store, healthy=False):
        done = play(archive(tmp_path, "poor", 0.8))
        assert done.returncode != 0
        assert "no result within 30 s" in done.stdout
    assert current(store) == "one"


# ---- the dashboard -----------------------------------------------------------------------------------------------


def test_the_dashboard_names_what_is_exported() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    from pose_runtime.sinks.page.metrics import Metrics

    text = Metrics(status, lambda: 0).text().decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    labels = {sample.name: set(sample.labels) | {"job", "instance"} for sample in samples}
    board = json.loads((FLEET / "grafana-fleet.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries = [variable["query"]["query"] for variable in board["templating"]["list"][1:]]
    named = set(re.findall(r"\bjetpose_\w+", " ".join(expressions + queries)))
    assert named - set(labels) == set()
    assert named >= {"jetpose_check_passed", "jetpose_latency_seconds", "jetpose_power_watts", "jetpose_throttled"}
    for panel in board["panels"]:
        for target in panel["targets"]:
            (metric,) = set(re.findall(r"\b(?:jetpose_\w+|up)\b", target["expr"]))
            known = labels.get(metric, {"job", "instance"})
            selected = re.findall(r"(\w+)=~?\"", target["expr"])
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            grouped = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            assert {*selected, *shown, *(name for group in grouped for name in group.split(", "))} <= known, panel[
                "title"
            ]


def test_the_dashboards_panels_lie_side_by_side() -> None:
    panels = json.loads((FLEET / "grafana-fleet.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y
