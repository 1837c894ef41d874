from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny
from pose_export import cli
from pose_export.check_images import check_images
from pose_export.drawn import drawn_frames
from pose_runtime.bundle import load_bundle
from pose_runtime.check import check_bundle
from pose_runtime.decode import PafDecoder
from pose_runtime.errors import ExportError
from pose_runtime.geometry import Letterbox, ShortSide
from pose_runtime.pipeline import open_pipeline
from shared import shared
from tiny_onnx import heatmap_net, maps_net, save

SAID = (  # everything that a preset would say
    "--skeleton=flic11", "--colour=rgb", "--mean=0", "--std=255", "--resize=stretch", "--output=heatmaps=maps0:0-10",
    "--decoder=family=heatmap", "--decoder=refine=quarter", "--decoder=kernel=11", "--decoder=beta=10",
    "--decoder=blur_sigma=0", "--decoder=min_score=0", "--decoder=grid=corner",
)  # fmt: skip


def run(*args: object) -> int:
    old = sys.argv
    sys.argv = ["pose-export", *map(str, args)]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = old
    return int(ended.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert run(*args) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("pose-export: ")
    return err


FRAMES = drawn_frames()


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "drawn_frames", lambda: FRAMES)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return save(heatmap_net(channels=11), tmp_path / "net.onnx")


LIGHTWEIGHT = {  # outputs of the published ONNX, in its order
    "stage_0_output_1_heatmaps": 19, "stage_0_output_0_pafs": 38,
    "stage_1_output_1_heatmaps": 19, "stage_1_output_0_pafs": 38,
}  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "net", "wanted"),
    [
        (
            "lightweight-openpose",
            maps_net("data", (256, 456), 8, LIGHTWEIGHT),
            [("stage_1_output_1_heatmaps", "heatmaps", (0, 18)), ("stage_1_output_0_pafs", "pafs", (0, 38))],
        ),
        (
            "trt-pose",
            maps_net("input_0", (224, 224), 4, {"cmap": 18, "paf": 42}),
            [("cmap", "heatmaps", (0, 18)), ("paf", "pafs", (0, 42))],
        ),
    ],
)
def test_presets_take_graphs_as_published(preset: str, net: onnx.ModelProto, wanted: list, tmp_path: Path) -> None:
    assert run("--onnx", save(net, tmp_path / "net.onnx"), "--preset", preset, "--out", tmp_path / "a.pose") == 0
    bundle = load_bundle(tmp_path / "a.pose")
    assert [(o.tensor, o.role, o.channels) for o in bundle.manifest.outputs] == wanted
    with open_pipeline(bundle) as pipeline:
        assert pipeline(np.zeros((480, 640, 3), np.uint8)).skeleton.name == bundle.manifest.skeleton.name


def test_options_alone_make_a_bundle(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--onnx", net, *SAID, "--out", tmp_path / "a.pose", "--min-oks", 0.5) == 0
    out = capsys.readouterr().out
    assert "drawn figures" in out
    assert "licence unknown" in out
    bundle = load_bundle(tmp_path / "a.pose")
    manifest = bundle.manifest
    assert manifest.network.name == "net"
    assert manifest.network.weights.source == "net.onnx"
    assert manifest.network.parameters == 11 * 3 * 64
    assert manifest.network.macs == 11 * 3 * 64 * 8 * 12
    assert manifest.input.size_wh == (48, 32)
    assert manifest.input.batch == 1
    assert manifest.outputs[0].channels == (0, 11)
    assert manifest.outputs[0].stride == 4
    assert manifest.check.min_oks == 0.5
    assert len(manifest.check.frames) == 8
    (check,) = check_bundle(bundle)
    assert check.passed
    assert check.worst_oks > 0.999
    assert max(max(frame.heads.values()) for frame in check.frames) < 1e-4


def test_a_detector_goes_into_the_bundle(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = tiny.write_detector(tmp_path / "boxes.pose")
    common = ("--onnx", net, *SAID, "--min-oks", 0.5, "--out", tmp_path / "a.pose")
    assert run(*common, "--resize=crop", "--detector", f"{detector.path},every=3,rescore=mean") == 0
    bundle = load_bundle(tmp_path / "a.pose")
    assert bundle.part("detector").manifest == detector.manifest
    how = bundle.manifest.detector
    assert how
    assert (how.every, how.rescore, how.max_people) == (3, "mean", 20)
    with open_pipeline(bundle, "cpu") as pipeline:
        assert pipeline(tiny.frame((30, 20), (90, 80))).skeleton == bundle.manifest.skeleton
    capsys.readouterr()
    whole = refused(capsys, *common, "--overwrite", "--resize=stretch", "--detector", detector.path)
    assert "takes whole frames" in whole
    wrong = refused(capsys, *common, "--overwrite", "--resize=crop", "--detector", f"{detector.path},often=3")
    assert "--detector: Object contains unknown field `often`" in wrong
    other = refused(capsys, *common, "--overwrite", "--resize=crop", "--detector", "lightweight-tiny")
    assert "--detector: lightweight-tiny finds openpose18; wanted a bundle of skeleton box2" in other


def test_the_same_input_gives_the_same_bundle(net: Path, tmp_path: Path) -> None:
    for name in "ab":
        assert run("--onnx", net, *SAID, "--out", tmp_path / name) == 0
    assert load_bundle(tmp_path / "a").digest == load_bundle(tmp_path / "b").digest


def test_default_folder_and_overwriting(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--onnx", net, *SAID) == 0
    first = load_bundle("net.pose").digest
    assert "exists already" in refused(capsys, "--onnx", net, *SAID)
    assert run("--onnx", net, *SAID, "--overwrite", "--licence", "MIT", "--weights-source", "me") == 0
    second = load_bundle("net.pose")
    assert second.digest != first
    assert second.manifest.network.weights.licence == "MIT"
    assert second.manifest.network.weights.source == "me"


def test_check_images_are_picked_evenly_and_shrunk(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full((400, 800, 3), i * 10, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    frames = check_images(folder)
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 20, 50, 70, 100, 120, 150, 170]
    assert frames[0].shape == (160, 320, 3)
    assert run("--onnx", net, *SAID, "--out", tmp_path / "a.pose", "--check-images", folder / "03.png") == 0
    assert "drawn" not in capsys.readouterr().out
    assert len(load_bundle(tmp_path / "a.pose").manifest.check.frames) == 1
    (folder / "00.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ExportError, match=r"00\.png: cannot be decoded"):
        check_images(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="has no pictures"):
        check_images(tmp_path / "empty")
    with pytest.raises(ExportError, match="No such file"):
        check_images(tmp_path / "gone")


def test_drawn_frames_are_always_the_same() -> None:
    first, second = FRAMES, drawn_frames()
    assert len(first) == 8
    for a, b in zip(first, second, strict=True):
        assert a.shape == (240, 320, 3)
        assert np.array_equal(a, b)
        assert a.std() > 20


def test_open_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(heatmap_net(channels=11, dims=["n", 3, "h", "w"]), tmp_path / "open.onnx")
    assert "give --size" in refused(capsys, "--onnx", path, *SAID, "--out", tmp_path / "x")
    assert run("--onnx", path, *SAID, "--out", tmp_path / "a", "--size", "64x32", "--batch", 2) == 0
    spec = load_bundle(tmp_path / "a").manifest.input
    assert (spec.size_wh, spec.batch) == ((64, 32), 2)
    assert run("--onnx", path, *SAID, "--out", tmp_path / "b", "--resize", "short_side,base=64", "--size=dynamic") == 0
    manifest = load_bundle(tmp_path / "b").manifest
    assert (manifest.input.size_wh, manifest.input.batch) == ((0, 0), 0)
    assert manifest.input.resize == ShortSide(base=64, round_pixels=True)
    with open_pipeline(tmp_path / "b", "cpu") as pipeline:
        assert len(pipeline([np.full((100, 200, 3), 100, np.uint8)] * 3)) == 3


def test_letterbox_with_padding(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resize = "--resize=letterbox,anchor=top_left"
    assert run("--onnx", net, *SAID, resize, "--pad=128", "--out", tmp_path / "a") == 0
    rule = load_bundle(tmp_path / "a").manifest.input.resize
    assert isinstance(rule, Letterbox)
    assert (rule.pad, rule.anchor) == (128, "top_left")
    assert "letterbox only" in refused(capsys, "--onnx", net, *SAID, "--pad=128", "--out", tmp_path / "b")


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--skeleton=spider",), "skeleton: got 'spider'"),
    (("--skeleton=coco17",), "got 11 of heatmaps, wanted 17 for 17 keypoints"),
    (("--colour=gray",), "wanted floats (batch, 1, height, width)"),
    (("--colour=pink",), "$.input.colour"),
    (("--mean=1,2",), "--mean: got 2 numbers"),
    (("--std=a",), "--std: got 'a'"),
    (("--std=0",), "$.input.std[0]"),
    (("--resize=magic",), "--resize: got 'magic'"),
    (("--resize=stretch,interpolation",), "wanted KEY=VALUE"),
    (("--resize=stretch,speed=9",), "unknown field `speed`"),
    (("--resize=short_side",), "give another --resize"),
    (("--decoder=kernel=4",), "blur kernel: got 4 taps"),
    (("--decoder=kernel",), "--decoder: got 'kernel', wanted KEY=VALUE"),
    (("--decoder=family=vector", "--decoder=origin=corner"), "$.decoder"),
    (("--output=heatmaps",), "--output: got 'heatmaps'"),
    (("--output=heatmaps=other",), "has no output 'other' for heatmaps, only maps0"),
    (("--output=heatmaps=maps0:0-11",), "has 11 channels, heatmaps want channels 0 to 11"),
    (("--output=heatmaps=maps0:4-2",), "wanted first below last"),
    (("--output=dreams=maps0",), "$.outputs[0].role"),
    (("--output=tags=maps0",), "none has role heatmaps"),
    (("--input=other",), "its input is 'image', the preset says 'other'"),
    (("--size=64x64",), "its height is fixed at 32, cannot become 64"),
    (("--size=dynamic",), "cannot become dynamic"),
    (("--size=big",), "--size: got 'big'"),
    (("--size=0x9",), "wanted 1 to 8192 pixels"),
    (("--batch=2",), "its batch is fixed at 1, cannot become 2"),
    (("--batch=many",), "--batch: got 'many'"),
    (("--preset=unknown",), "no such file; shipped"),
    (("--licence=a\x07b",), "wanted 1 to 1000 printable characters"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[" ".join(o).replace("\x07", "^G") for o, _ in REFUSED])
def test_wrong_options_are_one_line(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    outputs = any(option.startswith("--output") for option in options)
    said = [option for option in SAID if not (outputs and option.startswith("--output"))]
    assert message in refused(capsys, "--onnx", net, *said, *options, "--out", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_missing_parts_are_named(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for left_out, field in (("--skeleton", "skeleton"), ("--colour", "colour"), ("--output", "outputs")):
        said = [option for option in SAID if not option.startswith(left_out)]
        message = refused(capsys, "--onnx", net, *said, "--out", tmp_path / "x")
        assert f"missing required field `{field}`" in message
        assert "options without --preset" in message


def test_wrong_usage(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert run("--onnx", net, "--model", "hrnet") == 2
    assert run("--onnx", net, "--checkpoint", net) == 2
    assert run("--onnx", net, "--min-oks", "7") == 2
    assert run("--nonsense") == 2


def test_unknown_network(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert "no network is called" in refused(capsys, "--model", "nonsense")


def test_names_that_the_system_refuses(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a" * 5000
    assert "File name too long" in refused(capsys, "--onnx", net, "--preset", long, "--out", tmp_path / "x")
    assert "File name too long" in refused(capsys, "--onnx", net, *SAID, "--check-images", long)


@pytest.mark.parametrize(("library", "option"), [("torch", "--model"), ("onnx", "--onnx")])
def test_a_missing_library_is_one_line(
    library: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("pose_export.") and name != "pose_export.cli"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert f"{library} is missing; pip install 'jetpose[export]'" in refused(capsys, option, "hrnet")


def external(model: onnx.ModelProto) -> onnx.ModelProto:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    tensor.ClearField("raw_data")
    return model


def two_inputs() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", values[:2], values[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def channels_last() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 8, 3]) for name in ("image", "maps0")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["maps0"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def not_finite() -> onnx.ModelProto:
    model = heatmap_net(channels=11)
    weight = np.full((11, 3, 8, 8), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
    return model


def unknown_operator() -> onnx.ModelProto:
    model = heatmap_net(channels=11)
    model.graph.node[1].domain = "nobody.knows"
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    return model


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"no model at all, just text", "not an ONNX model, or truncated"),
        (heatmap_net(channels=11).SerializeToString()[:-300], "net.onnx"),
        (external(heatmap_net(channels=11)).SerializeToString(), "lies in another file"),
        (two_inputs().SerializeToString(), "got 2 inputs (a, b), wanted one image"),
        (channels_last().SerializeToString(), "channels last"),
        (not_finite().SerializeToString(), "not finite"),
        (unknown_operator().SerializeToString(), "graph"),
    ],
    ids=["empty", "text", "truncated", "external", "two inputs", "channels last", "NaN", "unknown operator"],
)
def test_hostile_models_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert message in refused(capsys, "--onnx", path, *SAID, "--out", tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_a_simplifier_that_changes_the_network_is_refused(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        weight = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.01)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
        return model, True

    monkeypatch.setattr("onnxsim.simplify", wrong)
    message = refused(capsys, "--onnx", net, *SAID, "--out", tmp_path / "x")
    assert "output 'maps0' differs by" in message
    assert "try --no-simplify" in message
    assert run("--onnx", net, *SAID, "--no-simplify", "--out", tmp_path / "x") == 0


def test_exporting_onnx_needs_no_torch(net: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv[0] = 'pose-export'\nfrom pose_export.cli import main; main()"
    )
    search = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", code, "--onnx", net, *SAID, "--out", tmp_path / "a"]
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stderr


@pytest.mark.parametrize(
    ("file", "preset", "family"),
    [
        ("tfpose_mobilenet_v2_small_368x432.onnx", "tf-pose", "paf"),
        ("mv2_cpm_192.onnx", "cpm-mobile", "heatmap"),
        ("mv2_hourglass_192.onnx", "hourglass-mobile", "heatmap"),
    ],
)
def test_real_networks(tmp_path: Path, file: str, preset: str, family: str) -> None:
    model, photos = shared("models", file), shared("images", "photos")
    assert run("--onnx", model, "--preset", preset, "--out", tmp_path / "a", "--check-images", photos) == 0
    bundle = load_bundle(tmp_path / "a")
    assert bundle.manifest.decoder.__struct_config__.tag == family
    assert sum(len(frame.scores) for frame in bundle.manifest.check.frames) >= 8
    (check,) = check_bundle(bundle)
    assert check.worst_oks > 0.999
    if isinstance(bundle.manifest.decoder, PafDecoder):
        with open_pipeline(bundle, "cpu") as pipeline:
            assert len(pipeline(cv2.imread(str(photos / "tfpose_p2.jpg")))) >= 2
