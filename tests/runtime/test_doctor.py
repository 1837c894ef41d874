from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tiny
from machines import H200, MODULES, FakeHost, gpu_pc, meminfo, orin_nano, pc, thor
from pose_runtime.bench.run import Options
from pose_runtime.cli import doctor as cli
from pose_runtime.doctor import gpu as gpu_checks
from pose_runtime.doctor import report as report_module
from pose_runtime.doctor.examine import CHECKS, examine, is_fit
from pose_runtime.doctor.finding import Finding
from pose_runtime.doctor.privacy import scrub
from pose_runtime.gpu.kernels import Image
from pose_runtime.machine.host import Host


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """The kernels of a build; change them at will."""
    cuda = {(8, 7): 12060, (9, 0): 13000, (11, 0): 13000}
    built = [Image(file=f"{sm}.cubin", kind="cubin", sm=sm, cuda=of, sha256="0" * 64) for sm, of in cuda.items()]
    monkeypatch.setattr(gpu_checks, "kernel_images", lambda: tuple(built))
    return built


def findings(host: Host) -> dict[str, Finding]:
    found = examine(host)
    assert len(found) == len(CHECKS) == len({one.check for one in found})
    for one in found:
        assert one.text
        assert "\n" not in one.text
        assert (one.remedy is not None) == (one.status in ("warning", "fault")), one
    return {one.check: one for one in found}


def statuses(found: dict[str, Finding], *wanted: str) -> list[str]:
    return [name for name, one in found.items() if one.status in wanted]


def test_an_orin_as_flashed(tmp_path: Path, images: list[Image]) -> None:
    found = findings(orin_nano(tmp_path))
    assert statuses(found, "fault", "not applicable") == []
    assert statuses(found, "warning") == ["power mode", "clocks", "swap"]
    assert found["JetPack"].text == "6.2 (Jetson Linux 36.4.3) on NVIDIA Jetson Orin Nano Developer Kit"
    assert found["driver"].text == "540.4.0, Orin (SM 8.7, 8 multiprocessors, CUDA 12.6)"
    assert found["CUDA toolkit"].text == "nvcc 12.6 in /usr/local/cuda/bin, not on PATH"
    assert found["TensorRT"].text == "TensorRT 10.3.0"
    assert found["kernels"].text == "sm_87 (CUDA 12.6), sm_90 (CUDA 13.0), sm_110 (CUDA 13.0)"
    assert found["power mode"].remedy == "sudo nvpmodel -m 2"
    assert found["clocks"].remedy == "sudo jetson_clocks"
    assert found["swap"].text.startswith("0.0 GiB beside 7.4 GiB of memory; 3.7 GiB of zram do not count")
    assert "mkswap" in (found["swap"].remedy or "")
    assert is_fit(tuple(found.values()))


def test_a_thor_with_nothing_to_say_about(tmp_path: Path, images: list[Image]) -> None:
    found = findings(thor(tmp_path))
    assert statuses(found, "fault", "warning") == []
    assert found["JetPack"].text == "7.2 (Jetson Linux 39.2.0) on NVIDIA Jetson AGX Thor Developer Kit"
    assert found["power mode"].text == "MAXN"
    assert found["clocks"].text == "held at their highest"
    assert statuses(found, "not applicable") == ["cameras"]


def test_a_pc_without_a_gpu(tmp_path: Path) -> None:
    found = findings(pc(tmp_path))
    assert statuses(found, "fault", "warning") == []
    assert set(statuses(found, "ok")) == {"Python", "build", "ONNX Runtime", "OpenCV", "PyAV", "memory", "disk"}


def test_a_pc_with_a_gpu(tmp_path: Path, images: list[Image]) -> None:
    found = findings(gpu_pc(tmp_path))
    assert statuses(found, "fault", "warning") == []
    assert found["driver"].text == "580.95.05, NVIDIA H200 (SM 9.0, 132 multiprocessors, CUDA 13.0)"
    assert statuses(found, "not applicable") == ["JetPack", "cameras", "power mode", "clocks"]


def only(name: str, **options: Any) -> dict[str, Any]:
    """All modules but one, which fails to load."""
    return {
        "modules": {**MODULES, "tensorrt": "TensorRT 10.3.0", "pycuda": "2026.1", name: "!ImportError: no " + name},
        **options,
    }


OLD_DRIVER = msgspec.structs.replace(H200, driver=12080)
OLD = "# R36 (release), REVISION: 3.0, GCID: 1\n"
CASES = [
    # check, board, what is wrong, status, words of the text, words of the remedy
    ("JetPack", orin_nano, {"files": {"/etc/nv_tegra_release": OLD}}, "fault", "older than 10.3", "flash JetPack 6.1"),
    ("JetPack", orin_nano, {"files": {"/etc/nv_tegra_release": "# R99 (release), REVISION: 1"}}, "ok", "unknown", ""),
    ("Python", orin_nano, {"python": (3, 12)}, "fault", "JetPack 6.2 is for 3.10", "--system-site-packages"),
    ("Python", pc, {"python": (3, 9)}, "fault", "wanted 3.10 or newer", "python3 -m venv"),
    ("ONNX Runtime", pc, only("onnxruntime"), "fault", "ImportError: no onnxruntime", "jetpose[cpu]"),
    ("ONNX Runtime", gpu_pc, only("onnxruntime"), "warning", "no onnxruntime", "jetpose[cpu]"),
    ("OpenCV", pc, only("cv2"), "fault", "no cv2", "libgl1"),
    ("OpenCV", orin_nano, {"gstreamer": False}, "warning", "without GStreamer: no CSI", "python3-opencv"),
    ("PyAV", pc, only("av"), "warning", "no videos", "jetpose[live]"),
    ("driver", orin_nano, {"cuda": "CUDA driver: cannot load libcuda.so.1"}, "fault", "cannot load", "nvidia-jetpack"),
    ("driver", gpu_pc, {"cuda": "!it was ended by signal 11"}, "warning", "failed: it was ended", "ubuntu-drivers"),
    ("driver", gpu_pc, {"cuda": "CUDA driver: cuInit gave error 803 (x); y"}, "warning", "error 803", "sudo reboot"),
    ("driver", gpu_pc, {"cuda": "CUDA driver: cuInit gave error 100 (x); y"}, "warning", "100", "CUDA_VISIBLE_DEVICES"),
    (
        "driver",
        gpu_pc,
        {"cuda": "CUDA driver: cuInit gave error 100 (x); y", "closed": ("/dev/nvidia0",)},
        "warning",
        "/dev/nvidia0 may not be opened",
        "usermod -aG video",
    ),
    ("CUDA toolkit", orin_nano, {"programs": {}}, "warning", "no nvcc", "nvidia-jetpack"),
    ("CUDA toolkit", gpu_pc, {"programs": {}}, "warning", "no nvcc", "nvidia-cuda-toolkit"),
    ("TensorRT", orin_nano, only("tensorrt"), "fault", "no tensorrt", "nvidia-jetpack"),
    (
        "TensorRT",
        orin_nano,
        only("tensorrt", files={"/usr/lib/python3.10/dist-packages/tensorrt/__init__.py": ""}),
        "fault",
        "this virtual environment does not see it",
        "--system-site-packages",
    ),
    ("TensorRT", gpu_pc, only("tensorrt"), "warning", "no tensorrt", "pip install 'tensorrt>=10.3,<12'"),
    ("TensorRT", gpu_pc, {"modules": {**MODULES, "tensorrt": "TensorRT for RTX 1.7"}}, "ok", "TensorRT for RTX", ""),
    ("TensorRT", orin_nano, {"modules": {**MODULES, "tensorrt": "got 8.6, wanted 10.3"}}, "fault", "8.6", "jetpack"),
    ("pycuda", orin_nano, only("pycuda"), "fault", "no pycuda", "jetpose[gpu]"),
    ("pycuda", gpu_pc, only("pycuda"), "warning", "no pycuda", "jetpose[gpu]"),
    ("kernels", gpu_pc, {"cuda": [OLD_DRIVER]}, "warning", "none for NVIDIA H200", "in a checkout"),
    ("cameras", orin_nano, {"closed": ("/dev/video0",)}, "warning", "/dev/video0 may not be", "usermod -aG video"),
    ("cameras", orin_nano, {}, "ok", "/dev/video0", ""),
    ("power mode", orin_nano, {"files": {"/var/lib/nvpmodel/status": "pmode:0002"}}, "ok", "MAXN_SUPER", ""),
    ("power mode", orin_nano, {"files": {"/var/lib/nvpmodel/status": "pmode:0007"}}, "warning", "7: the board", "-m 2"),
    ("power mode", orin_nano, {"files": {"/var/lib/nvpmodel/status": "?"}}, "warning", "nothing tells", "nvpmodel -q"),
    ("memory", orin_nano, {"files": {"/proc/meminfo": meminfo(7.4, 0.5)}}, "warning", "0.5 of 7.4", "multi-user"),
    ("memory", pc, {"files": {"/proc/meminfo": meminfo(31, 0.1)}}, "warning", "wanted 1 GiB", "ps aux"),
    ("memory", pc, {"files": {"/proc/meminfo": ""}}, "warning", "nothing tells", "free -h"),
    (
        "swap",
        orin_nano,
        {"files": {"/proc/swaps": "Filename\n/dev/zram0 partition 100 0\n/swapfile file 8388604 0 -2\nodd\n"}},
        "ok",
        "8.0 GiB beside 7.4 GiB",
        "",
    ),
    ("disk", pc, {"free": 1 << 20}, "warning", "0.0 GiB free", "apt-get clean"),
    ("disk", pc, {"free": None}, "warning", "nothing tells", "df -h"),
    ("cache", orin_nano, {"closed": ("/var/lib/jetpose",)}, "warning", "not writable", "install -d"),
]


@pytest.mark.parametrize(("check", "board", "wrong", "status", "text", "remedy"), CASES)
def test_each_fault_has_its_remedy(
    tmp_path: Path,
    images: list[Image],
    check: str,
    board: Any,
    wrong: dict[str, Any],
    status: str,
    text: str,
    remedy: str,
) -> None:
    found = findings(board(tmp_path, **wrong))
    assert found[check].status == status, found[check]
    assert text in found[check].text
    assert remedy in (found[check].remedy or "")


def test_power_mode_from_the_program_where_the_file_is_missing(tmp_path: Path, images: list[Image]) -> None:
    host = orin_nano(tmp_path, programs={"nvpmodel -q": "NV Power Mode: MAXN_SUPER\n2\n"})
    host.path("/var/lib/nvpmodel/status").unlink()
    assert findings(host)["power mode"].text == "MAXN_SUPER"


def test_a_jetson_in_a_container(tmp_path: Path, images: list[Image]) -> None:
    host = orin_nano(tmp_path, files={"/proc/device-tree/compatible": "nvidia,p3767-0005\0nvidia,tegra234\0"})
    host.path("/etc/nv_tegra_release").unlink()
    found = findings(host)
    assert found["JetPack"].status == "warning"
    assert "container" in found["JetPack"].text
    assert (found["Python"].status, found["driver"].status) == ("ok", "ok")


def test_a_build_without_kernels(tmp_path: Path, images: list[Image]) -> None:
    images.clear()
    assert findings(orin_nano(tmp_path))["kernels"].status == "fault"
    assert findings(gpu_pc(tmp_path / "pc"))["kernels"].status == "warning"


def test_without_any_engine_a_gpu_that_does_not_work_is_a_fault(tmp_path: Path, images: list[Image]) -> None:
    found = findings(gpu_pc(tmp_path, modules={"cv2": "4", "av": "17"}))
    assert set(statuses(found, "fault")) == {"TensorRT", "pycuda"}
    assert not is_fit(tuple(found.values()))


def test_a_gpu_without_a_driver_is_seen_on_pci(tmp_path: Path, images: list[Image]) -> None:
    host = gpu_pc(tmp_path, cuda="no driver")
    host.path("/proc/driver/nvidia/version").unlink()
    assert findings(host)["driver"].remedy == "sudo ubuntu-drivers install && sudo reboot"


# ---- this machine -------------------------------------------------------------------------------------------------


def test_probes_survive_what_they_ask(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.python("print('{\"a\": 1}')").facts == {"a": 1}
    assert host.python("import os; os.kill(os.getpid(), 11)").problem == "it was ended by signal 11"
    assert host.python("import nothing_of_this_name").problem.startswith("ModuleNotFoundError")
    assert host.python("print('[]')").problem == "it printed no object"
    assert host.python("pass").problem == "it said nothing"
    assert host.python("import time; time.sleep(9)", timeout_s=0.1).problem == "no answer within 0 s"
    assert host.run("no-such-program-anywhere") is None
    assert host.run(sys.executable, "-c", "raise SystemExit(3)") is None
    assert host.run(sys.executable, "-c", "print(5)") == "5\n"
    (tmp_path / "locked").mkdir()
    assert host.read("/locked") is None
    assert host.number("/locked") is None
    assert host.free_bytes("/not/there/yet") == pytest.approx(Host(tmp_path).free_bytes("/"), rel=0.01)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pose-doctor", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def on(monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> None:
    """Let the command look at another machine."""
    monkeypatch.setattr(cli, "Host", lambda: host)


def test_the_command_prints_and_exits(
    tmp_path: Path, images: list[Image], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, orin_nano(tmp_path))
    assert run(monkeypatch) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split(maxsplit=2)[:2] == ["ok", "JetPack"]
    power = next(i for i, line in enumerate(out) if line.startswith("warning  power mode"))
    assert out[power + 1].split() == ["->", "sudo", "nvpmodel", "-m", "2"]
    assert out[-1] == "0 faults, 3 warnings"
    on(monkeypatch, orin_nano(tmp_path, cuda="no driver"))
    assert run(monkeypatch) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 fault, 3 warnings"
    assert run(monkeypatch, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in told if one["status"] == "fault"] == ["driver"]
    assert set(told[0]) == {"check", "status", "text", "remedy"}


def test_options_of_the_report_want_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (("--runs", 3), ("--bundle", "lightweight-tiny"), ("--soak", 0)):
        assert run(monkeypatch, *options) == 2
        assert "comes with --report only" in capsys.readouterr().err


# ---- the report ----------------------------------------------------------------------------------------------------


def test_the_report_has_all_and_tells_nobodys_name(
    tmp_path: Path, images: list[Image], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USER", "mirabelle")
    monkeypatch.setattr(report_module.socket, "gethostname", lambda: "kellerkiste")
    problem = "!OSError: /home/mirabelle/venv/lib/x.so and /data/mirabelle/y of kellerkiste: no such file"
    modules = {**MODULES, "tensorrt": "TensorRT 10.3.0", "pycuda": "2026.1", "av": problem}
    on(monkeypatch, orin_nano(tmp_path / "root", modules=modules))
    bundle = tiny.write(tmp_path / "tiny.pose")
    file = tmp_path / "report.json"
    status = run(monkeypatch, "--report", file, "--bundle", bundle.path, "--runs", 2, "--soak", 0.05)
    text = file.read_text()
    assert "mirabelle" not in text
    assert "kellerkiste" not in text
    assert str(tmp_path) not in text
    report = json.loads(text)
    assert report["version"] == 1
    assert report["network"] == "tiny"
    assert [one["graph"] for one in report["build"]] == ["reference"]
    assert report["check"][0]["engine"].startswith("onnxruntime ")
    assert report["bench"]["graphs"]["reference"]["frame"]["p50_ms"] > 0
    assert report["bench"]["sensed"]["watts"]["VDD_IN"]["mean"] == 7.464
    assert report["machine"]["board"] == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.2",
        "power_mode": "25W",
        "clocks_fixed": False,
    }
    assert report["thermals"][0]["sensors"]["celsius"] == {"cpu-thermal": 48.0}
    assert report["problems"] == {}
    av = next(one for one in report["findings"] if one["check"] == "PyAV")
    assert av["text"].endswith("OSError: ~/venv/lib/x.so and (path) of (private): no such file")
    # tiny's check frame promises a pose that the network does not give: the report says so, and so does the status
    assert (status, report["check"][0]["passed"]) == (1, False)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert "thermals" in capsys.readouterr().err


def test_names_that_every_image_has_are_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "nvidia")
    monkeypatch.setenv("SUDO_USER", "mirabelle")
    monkeypatch.setattr(report_module.getpass, "getuser", lambda: "root")
    monkeypatch.setattr(report_module.socket, "gethostname", lambda: "tegra-ubuntu")
    assert report_module._names() == ("mirabelle",)


def test_int8_is_left_out_where_its_poses_would_be_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny.write(tmp_path / "two.pose", ("reference", "cpu_int8"))
    for has_dot, wanted in ((True, ["reference", "cpu_int8"]), (False, ["reference"])):
        monkeypatch.setattr("pose_runtime.check.has_int8_dot", lambda has_dot=has_dot: has_dot)
        report = report_module.make_report(bundle, (), Options(runs=1, quick=True), 0, pc(tmp_path / "root"))
        assert [one.graph for one in report.build] == [one.graph for one in report.check] == wanted
        assert report.bench is not None
        assert list(report.bench.graphs) == wanted


def test_a_step_that_fails_is_named_and_the_others_run(
    tmp_path: Path, images: list[Image], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise report_module.PoseError("it burns")

    monkeypatch.setattr(report_module, "bench_bundle", fail)
    on(monkeypatch, pc(tmp_path / "root"))
    bundle, file = tiny.write(tmp_path / "tiny.pose"), tmp_path / "report.json"
    assert run(monkeypatch, "--report", file, "--bundle", bundle.path, "--runs", 1, "--soak", 0) == 1
    report = json.loads(file.read_text())
    assert report["problems"] == {"bench": "it burns"}
    assert (report["bench"], report["thermals"]) == (None, [])
    assert len(report["check"]) == 1
    assert "bench: it burns" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none" / "report.json"
    assert run(monkeypatch, "--report", file) == 1
    said = capsys.readouterr()
    assert said.err == f"pose-doctor: {file}: cannot write it: no folder {file.parent}\n"
    assert said.out == ""  # not even the machine was looked at


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/home/ann/x/y.so: no", "~/x/y.so: no"),
        ("/Users/ann", "~"),
        ("/root/.cache", "~/.cache"),
        ("/usr/lib/x /proc/a /dev/video0", "/usr/lib/x /proc/a /dev/video0"),
        ("in '/mnt/disk of ann'", "in '(path) of ann'"),
        ("(/srv/a/b)", "((path))"),
        ("/scratch", "(path)"),
        ("/userdata/secret", "(path)"),
        ("1/2 and 30/s, or/and", "1/2 and 30/s, or/and"),
        ("box7 but not box70", "(private) but not box70"),
    ],
)
def test_what_is_private(text: str, wanted: str) -> None:
    assert scrub({"a": [text, 1, None]}, ("box7",)) == {"a": [wanted, 1, None]}


def test_short_names_would_spoil_words() -> None:
    assert scrub("a pi is a pi", ("pi",)) == "a pi is a pi"
