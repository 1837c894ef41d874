"""make deb: a package that installs, keeps an edited configuration when it is upgraded, and goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peers.nspawn import DEPLOY, copy_root

pytestmark = pytest.mark.slow


def wheel() -> Path:
    """A wheel of jetpose, which nothing here compiles."""
    given = os.environ.get("JETPOSE_WHEEL")
    found = [Path(given)] if given else sorted((DEPLOY.parent / "dist").glob("jetpose-*.whl"))
    own = [path for path in found if f"-cp{sys.version_info[0]}{sys.version_info[1]}-" in path.name]
    if not own:
        pytest.skip("no wheel for this Python: JETPOSE_WHEEL=FILE or make wheel")
    return own[0]


def in_root(root: Path, *command: str, check: bool = True) -> str:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(["chroot", root, *command], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_root(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def package(root: Path) -> Path:
    """Made by the system's Python, which is what it will run on."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    minor = subprocess.run(
        ["/usr/bin/python3", "-c", "import ensurepip, sys; print(sys.version_info[1])"], capture_output=True, text=True
    )
    if minor.stdout.strip() != str(sys.version_info[1]):
        pytest.skip("the system's python3 is another than the one that the wheel is for, or has no venv")
    args = [DEPLOY / "deb.sh", "--wheel", wheel(), "--extras", "cpu,live"]
    done = subprocess.run(args, env={**os.environ, "OUT": str(root.parent)}, capture_output=True, text=True)
    if "Could not find a version" in done.stderr or "ConnectionError" in done.stderr:
        pytest.skip("the packages that jetpose needs cannot be had here")
    assert done.returncode == 0, done.stderr
    return next(root.parent.glob("jetpose_*.deb"))


def newer(package: Path) -> Path:
    """Another version, with another example."""
    tree = package.parent / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: ", "Version: 99"))
    example = tree / "etc/jetpose/camera.toml"
    example.write_text(example.read_text() + "# news\n")
    subprocess.run(
        ["dpkg-deb", "-Znone", "--build", tree, package.parent / "newer.deb"], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return package.parent / "newer.deb"


def test_installs_runs_upgrades_and_goes(root: Path, package: Path) -> None:
    shutil.copy2(package, root / "old.deb")
    in_root(root, "dpkg", "--install", "/old.deb")
    assert "jetpose" in in_root(root, "pose-info", "--version")
    assert "passed" in in_root(root, "pose-check", "lightweight-tiny", "--engine", "onnxruntime")
    assert "jetpose" in in_root(root, "id", "jetpose")
    assert in_root(root, "stat", "--format=%a %U %G", "/etc/jetpose").strip() == "750 root jetpose"
    traces = in_root(
        root, "grep", "-rlI", "--include=pyvenv.cfg", "--include=pose-*", "/tmp/tmp.", "/opt/jetpose", check=False
    )
    assert traces == ""
    config = root / "etc/jetpose/camera.toml"
    config.write_text("# mine\n")
    shutil.copy2(newer(package), root / "new.deb")
    in_root(root, "dpkg", "--force-confdef", "--install", "/new.deb")
    assert config.read_text() == "# mine\n"
    assert "Version: 99" in in_root(root, "dpkg", "--status", "jetpose")
    (root / "var/lib/jetpose").mkdir(exist_ok=True)
    (root / "var/lib/jetpose/plan").write_text("")
    in_root(root, "dpkg", "--remove", "jetpose")
    assert config.exists()
    assert (root / "var/lib/jetpose/plan").exists()
    assert not (root / "opt/jetpose").exists()
    assert not (root / "usr/lib/systemd/system/pose-run@.service").exists()
    in_root(root, "dpkg", "--purge", "jetpose")
    assert not (root / "etc/jetpose").exists()
    assert not (root / "var/lib/jetpose").exists()
