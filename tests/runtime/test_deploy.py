"""What deploy/ puts on a machine: units, install.sh in a root of its own, Dockerfiles' promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))

# Directive -> the version of systemd that knows it first, as systemd's NEWS and manual say; JetPack 6 has 249.
SINCE = {
    name: version
    for version, names in {
        208: "Description After Wants PartOf AssertPathExists StopWhenUnneeded Type ExecStart ExecStartPre ExecReload"
        " Restart RestartSec TimeoutStartSec TimeoutStopSec Environment LimitCORE User Group SupplementaryGroups"
        " WorkingDirectory UMask Nice DevicePolicy DeviceAllow RemainAfterExit WantedBy CapabilityBoundingSet"
        " PrivateTmp WatchdogSec NoNewPrivileges SystemCallFilter SystemCallErrorNumber PrivateNetwork",
        209: "SystemCallArchitectures",
        211: "RestrictAddressFamilies",
        214: "ProtectSystem ProtectHome",
        229: "AmbientCapabilities",
        230: "StartLimitIntervalSec",
        231: "RestrictRealtime",
        232: "ProtectControlGroups ProtectKernelModules ProtectKernelTunables RemoveIPC",
        233: "RestrictNamespaces BindPaths",
        235: "StateDirectory StateDirectoryMode KeyringMode LockPersonality IPAddressDeny",
        239: "PrivateMounts",
        242: "ProtectHostname RestrictSUIDSGID",
        243: "TimeoutAbortSec",
        244: "ProtectKernelLogs",
        245: "ProtectClock",
        247: "ProtectProc",
    }.items()
    for name in names.split()
}


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_directives_of_systemd_249(unit: Path) -> None:
    used = set(re.findall(r"^([A-Za-z]+)=", unit.read_text(), re.MULTILINE))
    assert len(used) > 20
    assert {name: SINCE.get(name) for name in used if SINCE.get(name, 999) > 249} == {}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_closed(unit: Path, tmp_path: Path) -> None:
    needs("systemd-analyze")
    run = ("systemd-analyze", "security", "--offline=yes", "--threshold=20")
    if "--offline" not in subprocess.run([run[0], "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this systemd-analyze is older than 250: it knows no --offline")
    assert subprocess.run([*run, unit], capture_output=True).returncode == 0
    opened = tmp_path / unit.name
    opened.write_text(unit.read_text().replace("SystemCallFilter", "#").replace("CapabilityBoundingSet", "#"))
    assert subprocess.run([*run, opened], capture_output=True).returncode == 1  # the bound can fail


def test_units_are_valid(tmp_path: Path) -> None:
    needs("systemd-analyze")
    for unit in UNITS:
        there = tmp_path / unit.name
        there.write_text(unit.read_text().replace("ExecStart=/opt/jetpose/bin/pose-", "ExecStart=/bin/echo pose-"))
    for unit in UNITS:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", tmp_path / unit.name.replace("@", "@x")],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_restarts_for_ever_and_ends_soon() -> None:
    run = (DEPLOY / "pose-run@.service").read_text().splitlines()
    wanted = {"Type=notify", "Restart=always", "RestartSec=5", "StartLimitIntervalSec=0", "TimeoutStopSec=5"}
    assert wanted <= set(run)
    assert "TimeoutStartSec=infinity" in (DEPLOY / "pose-build@.service").read_text()


def test_scripts_are_clean() -> None:
    needs("shellcheck")
    scripts = [*DEPLOY.glob("*.sh"), *(DEPLOY / "deb").iterdir()]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# ---- install.sh ----------------------------------------------------------------------------------------------------


def install(root: Path, *options: str, ok: bool = True) -> str:
    args = [DEPLOY / "install.sh", *options]
    done = subprocess.run(args, env={**os.environ, "DESTDIR": str(root)}, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stdout + done.stderr


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


BARE = ("--skip", "environment", "--skip", "accounts")
PLACED = {
    "etc/jetpose/camera.toml",
    "usr/lib/systemd/system/pose-build@.service",
    "usr/lib/systemd/system/pose-run@.service",
    "usr/lib/sysusers.d/jetpose.conf",
    "usr/lib/udev/rules.d/60-jetpose.rules",
}


def test_installs_upgrades_and_uninstalls(tmp_path: Path) -> None:
    install(tmp_path, *BARE)
    assert files(tmp_path) == PLACED
    assert (tmp_path / "etc/jetpose").stat().st_mode & 0o777 == 0o750
    edited = tmp_path / "etc/jetpose/camera.toml"
    edited.write_text("# mine\n")
    (tmp_path / "usr/lib/systemd/system/pose-run@.service").write_text("an older one")
    enabled = tmp_path / "etc/systemd/system/multi-user.target.wants/pose-run@camera.service"
    enabled.parent.mkdir(parents=True)
    enabled.symlink_to("/usr/lib/systemd/system/pose-run@.service")
    install(tmp_path, *BARE)
    assert edited.read_text() == "# mine\n"
    placed = (tmp_path / "usr/lib/systemd/system/pose-run@.service").read_text()
    assert placed == (DEPLOY / "pose-run@.service").read_text()
    (tmp_path / "opt/jetpose/bin").mkdir(parents=True)
    (tmp_path / "var/lib/jetpose").mkdir(parents=True)
    (tmp_path / "var/lib/jetpose/plan").write_text("")
    install(tmp_path, "--uninstall")
    assert files(tmp_path) == {"etc/jetpose/camera.toml", "var/lib/jetpose/plan"}
    assert not (tmp_path / "opt/jetpose").exists()
    install(tmp_path, "--uninstall", "--purge")
    install(tmp_path, "--uninstall", "--purge")  # nothing is left to do, and that is no error
    assert files(tmp_path) == set()


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    said = install(tmp_path, "--dry-run")
    assert f"-m venv --system-site-packages {tmp_path}/opt/jetpose" in said
    assert f"{tmp_path}/usr/lib/systemd/system/pose-run@.service" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--what"], ["--wheel"], ["--skip", "all"], ["--purge"]])
def test_wrong_usage_of_install(options: list[str], tmp_path: Path) -> None:
    assert install(tmp_path, *options, ok=False).startswith("install.sh: ")
    assert list(tmp_path.iterdir()) == []


def test_the_user_is_made_once(tmp_path: Path) -> None:
    needs("systemd-sysusers")
    if os.geteuid() != 0:
        pytest.skip("making users needs root")
    for _ in range(2):
        install(tmp_path, "--skip", "environment")
    assert len(re.findall(r"^jetpose:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)) == 1
    groups = (tmp_path / "etc/group").read_text()
    assert re.search(r"^video:.*jetpose$", groups, re.MULTILINE)
    assert re.search(r"^render:.*jetpose$", groups, re.MULTILINE)
    own = re.search(r"^jetpose:x:(\d+):", groups, re.MULTILINE)
    assert own is not None
    assert (tmp_path / "etc/jetpose").stat().st_gid == int(own[1])


def test_the_example_is_taken(tmp_path: Path) -> None:
    from pose_runtime.config import load_config

    config = load_config(DEPLOY / "example.toml", {})
    assert config.source[0].address == "camera:0"
    assert config.serve is not None


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("Dockerfile.*")), ids=lambda file: file.name)
def test_images_are_pinned_and_not_root(file: Path) -> None:
    text = file.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert all(re.search(r":[^:]*\d", base) and "latest" not in base for base in bases)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "jetpose"
    assert "NOT BUILT YET" in text
