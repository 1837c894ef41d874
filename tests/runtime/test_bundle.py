from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import toy
from pose_runtime import bundle as bundle_module
from pose_runtime.bundle import MAX_FILE_BYTES, load_bundle, write_bundle
from pose_runtime.errors import BundleError
from pose_runtime.manifest import Manifest
from pose_runtime.manifest_check import parse_manifest

Tree = dict[str, Any]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return toy.toy_bundle(tmp_path / "toy.pose").path


def manifest() -> Manifest:
    return msgspec.convert(toy.manifest_dict(), Manifest)


def change(folder: Path, path: str, value: Any) -> None:
    """Set (or with `...` delete) the value at a dotted path of the manifest."""
    file = folder / "manifest.json"
    tree = json.loads(file.read_text())
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("|"))
    at = tree
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    file.write_text(json.dumps(tree))


def refuses(folder: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + len(str(folder))
    for word in words:
        assert word in message


def test_a_bundle_comes_back_as_it_was_written(good: Path) -> None:
    bundle = load_bundle(good)
    assert bundle.manifest.network.name == "toy"
    assert bundle.digest == hashlib.sha256((good / "manifest.json").read_bytes()).hexdigest()
    assert bundle.graph_bytes("reference") == toy.FILES["reference.onnx"]
    assert bundle.graph_path("reference") == good / "reference.onnx"
    assert bundle.file_bytes("check/0.png") == toy.FILES["check/0.png"]
    assert load_bundle(str(good)) == bundle
    with pytest.raises(AttributeError):
        bundle.digest = "other"  # type: ignore[misc]


def test_a_link_to_a_bundle_may_be_opened(good: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(good)
    assert load_bundle(tmp_path / "current").manifest.network.name == "toy"


# path in the manifest, new value (... deletes), words of the message
FIELDS: list[tuple[str, Any, str]] = [
    ("version", 2, "$.version: got 2, wanted 1; install a newer jetpose"),
    ("version", 0, "$.version: got 0, wanted 1"),
    ("version", "1", "$.version: expected 'int'"),
    ("version", ..., "version"),
    ("surprise", 1, "surprise"),
    ("input|surprise", 1, "$.input: object contains unknown field 'surprise'"),
    ("input|size_wh|0", -3, "$.input.size_wh[0]: expected 'int' >= 0, got '-3'"),
    ("input|size_wh|0", 0, "$.input.size_wh: got (0, 16)"),
    ("input|size_wh", [0, 0], "$.input.size_wh: got (0, 0) with rule stretch"),
    ("input|size_wh|1", 1 << 40, "$.input.size_wh[1]: expected 'int' <= 8192"),
    ("input|size_wh", [1], "$.input.size_wh"),
    ("input|std|1", 0, "$.input.std[1]: expected 'float' >= 1e-06, got '0'"),
    ("input|std|1", None, "$.input.std[1]: expected 'float'"),
    ("input|mean|2", 1e300, "$.input.mean[2]"),
    ("input|colour", "cmyk", "$.input.colour: invalid enum value 'cmyk'"),
    ("input|resize|rule", "magic", "$.input.resize.rule: invalid value 'magic'"),
    ("input|resize|round_pixels", ..., "$.input.resize: object missing required field 'round_pixels'"),
    ("input|batch", -1, "$.input.batch"),
    ("outputs", [], "$.outputs"),
    ("outputs|0|role", "dreams", "$.outputs[0].role"),
    ("outputs|0|role", "tags", "$.outputs: none has role heatmaps, which decoder heatmap needs"),
    ("outputs|0|channels", [0, 2], "$.outputs[0].channels: got 2 of heatmaps, wanted 3 for 3 keypoints"),
    ("outputs|0|channels", [3, 0], "$.outputs[0].channels: got (3, 0), wanted first below last"),
    ("outputs|0|channels", [-1, 2], "$.outputs[0].channels[0]"),
    ("outputs|0|stride", 0, "$.outputs[0].stride"),
    ("skeleton|names|1", "nose", "$.skeleton.names: a name stands twice"),
    ("skeleton|names", [], "$.skeleton.names"),
    ("skeleton|limbs|0", [0, 3], "$.skeleton.limbs[0]: got (0, 3), wanted two keypoints from 0 to 2"),
    ("skeleton|limbs|1", [-1, 0], "$.skeleton.limbs[1]"),
    ("skeleton|flip_pairs|0", [1, 1], "$.skeleton.flip_pairs[0]"),
    ("skeleton|flip_pairs", [[0, 1], [1, 2]], "$.skeleton.flip_pairs: a keypoint stands in two pairs"),
    ("skeleton|sigmas", [0.1], "$.skeleton.sigmas: got 1, wanted one for each of the 3 keypoints"),
    ("skeleton|sigmas|2", 0, "$.skeleton.sigmas[2]: got 0"),
    ("decoder|family", "tarot", "$.decoder.family: invalid value 'tarot'"),
    ("decoder|kernel", 4, "$.decoder"),
    ("decoder|kernel", 1001, "$.decoder"),
    ("decoder|min_score", 1e300, "$.decoder: beta and min_score"),
    ("decoder|beta", -1e300, "$.decoder: beta and min_score"),
    ("decoder|refine", "best", "$.decoder.refine"),
    ("graphs|reference", ..., "$.graphs: reference is missing"),
    ("graphs|other", {}, "$.graphs"),
    ("graphs|reference|file", "../secret", "$.graphs.reference.file"),
    ("graphs|reference|file", "/etc/passwd", "$.graphs.reference.file"),
    ("graphs|reference|file", "other.onnx", "$.graphs.reference.file: other.onnx is not in $.files"),
    ("graphs|reference|precision", "int8", "$.graphs.reference.precision: wanted fp32"),
    ("graphs|reference|int8_mac_share", 1.5, "$.graphs.reference.int8_mac_share"),
    ("check|frames", [], "$.check.frames"),
    ("check|min_oks", 2, "$.check.min_oks"),
    ("check|frames|0|file", "check/1.png", "$.check.frames[0].file: check/1.png is not in $.files"),
    ("check|frames|0|scores", [], "$.check.frames[0].scores: got 0, wanted one for each of 1 people"),
    ("check|frames|0|keypoints|0", [None], "$.check.frames[0].keypoints[0]: got 1, wanted 3"),
    ("check|frames|0|heads|0|tensor", "x", "$.check.frames[0].heads[0].tensor: x is none of the outputs"),
    ("network|weights|sha256", "abc", "$.network.weights.sha256"),
    ("network|weights|sha256", "0" * 64 + "\n", "$.network.weights.sha256"),
    ("network|name", "", "$.network.name"),
    ("network|name", "\x1b[31mred", "$.network.name"),
    ("network|name", "x" * 1001, "$.network.name"),
    ("network|macs", -1, "$.network.macs"),
    ("files|../outside", "0" * 64, "$.files"),
    ("files|sub/../outside", "0" * 64, "$.files"),
    ("files|a/b/c", "0" * 64, "$.files"),
    ("files|.hidden", "0" * 64, "$.files"),
    ("files|gone.onnx", "0" * 64, "gone.onnx: No such file"),
    ("files|manifest.json", "0" * 64, "$.files: lists manifest.json itself"),
    ("files|reference.onnx", "0" * 64, "reference.onnx: changed or damaged"),
    ("files|reference.onnx", ..., "$.graphs.reference.file: reference.onnx is not in $.files"),
]


@pytest.mark.parametrize(("path", "value", "message"), FIELDS, ids=[f"{p}={str(v)[:20]}" for p, v, _ in FIELDS])
def test_a_wrong_value_is_named(good: Path, path: str, value: Any, message: str) -> None:
    change(good, path, value)
    refuses(good, str(good), message)


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        text = (folder / "manifest.json").read_text()
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new, 1))

    return act


def put(name: str, data: bytes) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data)

    return act


def link_file(folder: Path) -> None:
    (folder / "reference.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "reference.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def link_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "elsewhere.json")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere.json")


def link_folder(folder: Path) -> None:
    (folder / "check").rename(folder.parent / "elsewhere")
    (folder / "check").symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    (folder / "reference.onnx").unlink()
    os.mkfifo(folder / "reference.onnx")


def cut_model(folder: Path) -> None:
    with (folder / "reference.onnx").open("r+b") as file:
        file.truncate(3)


def sparse_giant(folder: Path) -> None:
    with (folder / "reference.onnx").open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)


def giant_manifest(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)


CONTENTS: list[tuple[str, Callable[[Path], None], str]] = [
    ("no manifest", lambda f: (f / "manifest.json").unlink(), "manifest.json: No such file"),
    ("empty manifest", put("manifest.json", b""), "manifest.json: no valid JSON"),
    ("truncated manifest", put("manifest.json", b'{"version": 1, "net'), "manifest.json: no valid JSON"),
    ("no object", put("manifest.json", b"[]"), "manifest.json: $: Expected `object`"),
    ("binary", put("manifest.json", bytes(range(256))), "manifest.json: no valid JSON"),
    ("bad UTF-8", put("manifest.json", b'{"version": 1, "jetpose": "\xff"}'), "manifest.json: no valid JSON"),
    ("lone surrogate", rewrite('"unknown"', '"\\ud800"'), "manifest.json: no valid JSON"),
    ("deep", put("manifest.json", b'{"version":1,"x":' + b"[" * 100000), "manifest.json: no valid JSON"),
    ("NaN", rewrite("255.0", "NaN"), "manifest.json: no valid JSON"),
    ("Infinity", rewrite("255.0", "-Infinity"), "manifest.json: no valid JSON"),
    ("number out of range", rewrite("255.0", "1e999"), "$.input.std[0]"),
    ("key twice", rewrite('"jetpose"', '"version":1,"jetpose"'), "key 'version' stands twice"),
    ("file twice", rewrite('"files": {', '"files": {"check/0.png": "' + "0" * 64 + '",'), "'check/0.png' stands twice"),
    ("giant manifest", giant_manifest, "manifest.json: got 1099511627776 bytes, wanted at most"),
    ("unlisted file", put("extra.bin", b""), "extra.bin: is not listed"),
    ("unlisted check frame", put("check/9.png", b""), "check/9.png: is not listed"),
    ("unlisted folder", lambda f: (f / "more").mkdir(), "more: is not listed"),
    ("deeper folder", put("check/very/deep/x", b""), "check/very/deep: is not listed"),
    ("deep folder", put("check/deep/x", b""), "check/deep/x: is not listed"),
    ("missing graph", lambda f: (f / "reference.onnx").unlink(), "reference.onnx: No such file"),
    ("changed graph", put("reference.onnx", b"no real grapf"), "reference.onnx: changed or damaged"),
    ("changed frame", put("check/0.png", b"x"), "check/0.png: changed or damaged"),
    ("truncated graph", cut_model, "reference.onnx: changed or damaged"),
    ("giant graph", sparse_giant, "reference.onnx: got 2147483649 bytes, wanted at most"),
    ("graph is a link", link_file, "reference.onnx: is a link"),
    ("manifest is a link", link_manifest, "manifest.json: is or goes through a link"),
    ("folder is a link", link_folder, "check: is a link"),
    ("pipe", pipe, "reference.onnx: no regular file"),
]


@pytest.mark.parametrize(("act", "message"), [(a, m) for _, a, m in CONTENTS], ids=[name for name, _, _ in CONTENTS])
def test_wrong_content_is_named(good: Path, act: Callable[[Path], None], message: str) -> None:
    act(good)
    refuses(good, str(good), message)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "gone.pose", "no such folder")
    (tmp_path / "file.pose").write_bytes(b"")
    refuses(tmp_path / "file.pose", "no folder")
    refuses(tmp_path, "manifest.json: No such file")


def test_every_truncation_of_the_manifest_is_refused(good: Path) -> None:
    data = (good / "manifest.json").read_bytes()
    for length in range(0, len(data) - 1, 37):
        (good / "manifest.json").write_bytes(data[:length])
        refuses(good, "manifest.json")


def test_a_file_changed_after_loading_is_refused_when_used(good: Path) -> None:
    bundle = load_bundle(good)
    (good / "reference.onnx").write_bytes(b"other")
    for use in (bundle.graph_bytes, bundle.graph_path):
        with pytest.raises(BundleError, match=r"reference\.onnx: changed or damaged"):
            use("reference")
    link_file(good)
    with pytest.raises(BundleError, match="link"):
        bundle.graph_bytes("reference")
    with pytest.raises(BundleError, match="has no graph tensorrt, only reference"):
        bundle.graph_bytes("tensorrt")
    with pytest.raises(BundleError, match="has no file manifest"):
        bundle.file_bytes("manifest.json")


def test_writing_refuses_what_stands_there(good: Path, tmp_path: Path) -> None:
    before = (good / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(good, manifest(), toy.FILES)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis").write_bytes(b"x")
    (tmp_path / "link.pose").symlink_to(good)
    for path in ("precious", "link.pose"):
        with pytest.raises(BundleError, match="is no bundle; not overwritten"):
            write_bundle(tmp_path / path, manifest(), toy.FILES, overwrite=True)
    assert (good / "manifest.json").read_bytes() == before
    assert (tmp_path / "precious" / "thesis").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"toy.pose", "precious", "link.pose"}


@pytest.mark.parametrize("exchange", [True, False])
def test_overwriting_replaces_the_whole_bundle(
    good: Path, tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:  # as on a C library without renameat2
        monkeypatch.setattr("ctypes.CDLL", lambda *a, **k: object())
    new = msgspec.structs.replace(manifest(), jetpose="9.9.9")
    assert write_bundle(good, new, {**toy.FILES, "notes.txt": b"n"}, overwrite=True).manifest.jetpose == "9.9.9"
    assert load_bundle(good).manifest.jetpose == "9.9.9"
    assert [p.name for p in tmp_path.iterdir()] == ["toy.pose"]


def test_a_reader_meets_the_old_or_the_new_bundle(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwritten while it is read, here after the manifest, its other files are gone or others."""
    parse, times = bundle_module.parse_manifest, []

    def overwrite_first(data: bytes, name: str) -> Manifest:
        read = parse(data, name)
        if not times:
            times.append(name)
            write_bundle(good, manifest(), {**toy.FILES, "reference.onnx": b"new"}, overwrite=True)
        return read

    monkeypatch.setattr(bundle_module, "parse_manifest", overwrite_first)
    assert load_bundle(good).graph_bytes("reference") == b"new"


def test_a_bad_manifest_writes_nothing(tmp_path: Path) -> None:
    bad = msgspec.structs.replace(manifest(), graphs={})
    with pytest.raises(BundleError, match=r"\$\.graphs: reference is missing"):
        write_bundle(tmp_path / "deep" / "bad.pose", bad, toy.FILES)
    with pytest.raises(BundleError, match=r"reference\.onnx is not in"):
        write_bundle(tmp_path / "bad.pose", manifest(), {"check/0.png": b""})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fsync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BundleError if isinstance(error, OSError) else type(error)):
        write_bundle(tmp_path / "toy.pose", manifest(), toy.FILES)
    assert not list(tmp_path.iterdir())


def test_a_kill_in_the_middle_leaves_no_bundle(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib, toy, msgspec\n"
        "from pose_runtime import bundle, manifest\n"
        "bundle.load_bundle = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"  # all written, not yet renamed
        "toy.toy_bundle(pathlib.Path(sys.argv[1]))\n"
    )
    search = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "toy.pose"], env={**os.environ, "PYTHONPATH": search})
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "toy.pose").exists()
    assert toy.toy_bundle(tmp_path / "toy.pose").path.exists()


def test_unwritable_places_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="file"):
        write_bundle(tmp_path / "file" / "toy.pose", manifest(), toy.FILES)
    with pytest.raises(BundleError, match="File name too long"):
        write_bundle(tmp_path / ("x" * 300), manifest(), toy.FILES)


def test_a_new_bundle_obeys_the_umask(good: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert good.stat().st_mode & 0o777 == 0o777 & ~mask


def test_the_bundle_module_loads_no_heavy_library() -> None:
    code = (
        "import sys, pose_runtime.bundle\n"
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime', 'tensorrt', 'pycuda'} & set(sys.modules)))"
    )
    search = os.pathsep.join(p for p in sys.path if p)
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": search}).returncode == 0


def test_deep_nesting_is_one_line_at_every_depth(good: Path) -> None:
    """Also where the reading that finds the error just fits on the stack and the one that explains it does not."""
    for depth in (*range(900, 1010), 100_000):
        data = b'{"version":1,"jetpose":5,"x":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(BundleError):
            parse_manifest(data, "manifest.json")


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(BundleError, match="File name too long"):
        load_bundle("a" * 5000)


# ---- bundles of several networks ---------------------------------------------------------------------------------


def test_a_part_is_a_bundle(tmp_path: Path) -> None:
    bundle = toy.write_with_detector(tmp_path / "two.pose")
    assert bundle.manifest.parts == ("detector",)
    part = bundle.part("detector")
    assert part.path == tmp_path / "two.pose/detector"
    assert part.digest == bundle.manifest.files["detector/manifest.json"]
    assert part.graph_bytes("reference") == toy.FILES["reference.onnx"]
    assert load_bundle(part.path) == part
    assert bundle.parts == {"detector": part}
    with pytest.raises(BundleError, match="has no part stage2"):
        bundle.part("stage2")


def test_a_bundle_of_one_network_says_nothing_of_parts(tmp_path: Path) -> None:
    toy.write(tmp_path / "one.pose")
    assert not {"detector", "stages"} & set(json.loads((tmp_path / "one.pose/manifest.json").read_text()))


@pytest.mark.parametrize(
    ("part", "files", "message"),
    [
        (
            {"skeleton": toy.manifest_dict()["skeleton"]},
            {},
            "detector/manifest.json: $.skeleton: got toy3, wanted box2",
        ),
        ({}, {"detector/more.bin": b"x"}, "detector/manifest.json: $.files: the whole bundle's manifest.json lists"),
        ({}, {"other/more.bin": b"x"}, "lists files in other/, which is no part"),
        ({"detector": toy.DETECTOR, "input": toy.CROPS}, {}, "$.files: lists no detector/manifest.json"),
    ],
    ids=["skeleton", "another file", "another folder", "a part within a part"],
)
def test_parts_that_do_not_fit(tmp_path: Path, part: dict[str, Any], files: dict[str, bytes], message: str) -> None:
    with pytest.raises(BundleError) as caught:
        toy.write_with_detector(tmp_path / "two.pose", part, files)
    assert message in str(caught.value)
    assert not (tmp_path / "two.pose").exists()


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    wanted = {"detector": toy.DETECTOR, "input": toy.CROPS}
    with pytest.raises(BundleError, match=r"lists no detector/manifest.json, which \$.detector needs"):
        toy.write(tmp_path / "two.pose", wanted)
    with pytest.raises(BundleError, match=r"\$.input.resize: got a rule for whole frames"):
        toy.write(tmp_path / "two.pose", {"detector": toy.DETECTOR}, {"detector/manifest.json": b""})
    stage = {"torso": [0, 1], "sigma": 1.0}
    with pytest.raises(BundleError, match=r"\$.stages: wanted none; a cascade refines vectors"):
        toy.write(tmp_path / "two.pose", {"stages": [stage], "input": toy.CROPS}, {"stage2/manifest.json": b""})


def _behind_a_link(path: Path) -> None:
    """The same content elsewhere, and a link to it."""
    elsewhere = path.parents[1 + path.is_file()] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "detector/reference.onnx").write_bytes(b"x"), "detector/reference.onnx: changed or damaged"),
        (lambda f: (f / "detector/more.bin").write_bytes(b"x"), "detector/more.bin: is not listed"),
        (lambda f: (f / "detector/reference.onnx").unlink(), "detector/reference.onnx: No such file"),
        (lambda f: (f / "detector/manifest.json").write_bytes(b"{}"), "detector/manifest.json: changed or damaged"),
        (lambda f: shutil.rmtree(f / "detector"), "detector"),
        (lambda f: _behind_a_link(f / "detector/reference.onnx"), "is a link"),
        (lambda f: _behind_a_link(f / "detector"), "is a link"),
    ],
)
def test_a_damaged_part(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    toy.write_with_detector(tmp_path / "two.pose")
    spoil(tmp_path / "two.pose")
    refuses(tmp_path / "two.pose", message)
