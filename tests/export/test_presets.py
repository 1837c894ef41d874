from __future__ import annotations

from pathlib import Path

import pytest

from pose_export.presets import load_preset, parse_tree, preset_names, read_tree
from pose_runtime.decode import (
    BoxesDecoder,
    EmbeddingDecoder,
    HeatmapDecoder,
    OffsetDecoder,
    PafDecoder,
    SimccDecoder,
    VectorDecoder,
    WindowDecoder,
    YoloPoseDecoder,
)
from pose_runtime.errors import ExportError
from pose_runtime.geometry import plan
from pose_runtime.skeletons import SKELETONS

FAMILIES = {
    "rtmpose": SimccDecoder,
    "yolo-pose": YoloPoseDecoder,
    "yolox-person": BoxesDecoder,
    "rtmdet-person": BoxesDecoder,
    "openpose-coco": PafDecoder,
    "openpose-mpi": PafDecoder,
    "openpose-body25": PafDecoder,
    "tf-pose": PafDecoder,
    "lightweight-openpose": PafDecoder,
    "lightweight-tiny": PafDecoder,
    "person-tiny": BoxesDecoder,
    "trt-pose": PafDecoder,
    "higherhrnet": EmbeddingDecoder,
    "higherhrnet-tiny": EmbeddingDecoder,
    "hrnet": HeatmapDecoder,
    "hourglass": HeatmapDecoder,
    "hourglass-flat": HeatmapDecoder,
    "embedding-hourglass": EmbeddingDecoder,
    "cpm": HeatmapDecoder,
    "cpm-mobile": HeatmapDecoder,
    "hourglass-mobile": HeatmapDecoder,
    "deeppose": VectorDecoder,
    "deeppose-mmpose": VectorDecoder,
    "grmi": OffsetDecoder,
    "tompson": WindowDecoder,
}


def test_all_are_shipped() -> None:
    assert preset_names() == sorted(FAMILIES)


@pytest.mark.parametrize("name", preset_names())
def test_shipped_preset_fits_together(name: str) -> None:
    preset = load_preset(name)
    assert isinstance(preset.decoder, FAMILIES[name])
    assert isinstance(preset.skeleton, str)
    k = len(SKELETONS[preset.skeleton].names)
    for output in preset.outputs:
        if output.role == "boxes" or isinstance(preset.decoder, BoxesDecoder):
            continue  # a box's corners are its keypoints: no maps of them
        assert output.channels is not None
        count = (output.channels[1] - output.channels[0]) * (k if output.per_keypoint else 1)
        if isinstance(preset.decoder, PafDecoder) and output.role == "pafs":
            used = {channel for limb in preset.decoder.limbs for channel in limb[2:]}
            assert used == set(range(count))
        else:
            assert count == (2 * k if output.role in ("vector", "windows", "offsets") else k)
    if isinstance(preset.decoder, PafDecoder):
        assert preset.decoder.parts == k
        drawn = {frozenset(limb) for limb in SKELETONS[preset.skeleton].limbs}
        matching = {frozenset(limb[:2]) for i, limb in enumerate(preset.decoder.limbs)}
        assert drawn <= matching
    if isinstance(preset.decoder, EmbeddingDecoder):
        assert sorted(preset.decoder.joint_order) == list(range(k))


@pytest.mark.parametrize("box", [(10, 20, 50, 200), (10, 20, 300, 90), (-5.5, 3.25, 77.5, 77.5)])
def test_grmis_crop_distorts_nothing(box: tuple[float, float, float, float]) -> None:
    """Section 3.2: the box is extended in height or in width to the crop's aspect, then enlarged by 1.25."""
    rule = load_preset("grmi").input.resize
    way = plan(rule, (640, 480), (257, 353), box)
    (step, skew, left), (tilt, step_y, top) = way.inverse
    assert step == step_y
    assert skew == tilt == 0
    shown = (257 * step / 1.25, 353 * step / 1.25)
    assert shown == pytest.approx((max(box[2], box[3] * 257 / 353), max(box[3], box[2] * 353 / 257)))
    middle = (left + step * 257 / 2, top + step * 353 / 2)
    assert middle == pytest.approx((box[0] + box[2] / 2, box[1] + box[3] / 2))


def test_the_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('network = "mine"\n')
    with pytest.raises(ExportError, match=r"mine\.toml: \$: Object missing required field `skeleton`"):
        load_preset(str(path))
    path.write_text("= nonsense")
    with pytest.raises(ExportError, match=r"mine\.toml: no valid TOML"):
        load_preset(str(path))
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ExportError, match="that is no preset"):
        load_preset(str(path))


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ExportError, match=r"did you mean 'tf-pose'\?"):
        load_preset("tfpose")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("surprise", 1, "unknown field `surprise`"),
        ("input.surprise", 1, r"\$\.input: Object contains unknown field"),
        ("input.colour", "cmyk", r"\$\.input\.colour: Invalid enum value 'cmyk'"),
        ("input.std", [0, 1, 1], r"\$\.input\.std\[0\]"),
        ("decoder.kernel", 4, r"\$\.decoder: blur kernel: got 4 taps"),
        ("outputs", [{"role": "heatmaps"}], r"\$\.outputs\[0\]: wanted either tensor or position"),
        ("outputs", [{"role": "heatmaps", "position": 0, "channels": [3, 3]}], "wanted first below last"),
        ("outputs", [], r"\$\.outputs"),
    ],
)
def test_wrong_values_are_named(path: str, value: object, message: str) -> None:
    tree = read_tree("hrnet")
    *parents, last = path.split(".")
    at = tree
    for parent in parents:
        at = at[parent]
    at[last] = value
    with pytest.raises(ExportError, match=message):
        parse_tree(tree, "mine")
