"""The pipeline: every way in gives the right people in source pixels; what does not fit is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from onnx import TensorProto

import tiny
from pose_runtime import geometry, manifest
from pose_runtime.bundle import load_bundle
from pose_runtime.decode import COCO18_LIMBS, HeatmapDecoder, PafDecoder
from pose_runtime.engines import open_engine
from pose_runtime.errors import BundleError, EngineError, FrameError
from pose_runtime.frame import Frame
from pose_runtime.pipeline import Pipeline, open_pipeline
from pose_runtime.skeletons import skeleton
from shared import shared


def make(dtype: int = TensorProto.FLOAT, **options: Any) -> Pipeline:
    of = tiny.make_manifest(**options)
    return Pipeline(of, open_engine("onnxruntime", tiny.make_graph(of, dtype), threads=1))


def assert_dots(keypoints: np.ndarray, *dots: tuple[int, int] | None, within: float = 8) -> None:
    for point, dot in zip(keypoints, dots, strict=True):
        if dot is None:
            assert point[2] == 0
            assert np.isnan(point[:2]).all()
        else:
            assert np.abs(point[:2] - dot).max() <= within


def test_one_frame() -> None:
    with make() as pipeline:
        poses = pipeline(tiny.frame((20, 30), (90, 60), None))
        assert_dots(poses.keypoints[0], (20, 30), (90, 60), None)
        assert poses.scores.shape == (1,)
        assert poses.skeleton is pipeline.manifest.skeleton
        assert pipeline.outputs["maps"].shape == (1, 3, 12, 16)
        timings = pipeline.timings
        assert min(timings.pre_s, timings.network_s, timings.decode_s) > 0
        assert timings.total_s == pytest.approx(timings.pre_s + timings.network_s + timings.decode_s)


def test_nobody() -> None:
    with make() as pipeline:
        poses = pipeline(tiny.frame())
        assert poses.keypoints.shape == (0, 3, 3)
        assert len(poses) == 0
        assert pipeline([]) == []


def test_kinds_of_frames() -> None:
    image = tiny.frame((40, 40), (80, 40), (60, 60))
    with make() as pipeline:
        expected = pipeline(image).keypoints
        for same in (
            Frame.from_image(image),
            Frame.from_image(np.ascontiguousarray(image[..., ::-1]), "rgb8"),
            np.asfortranarray(image),
            np.concatenate([image, image], axis=1)[:, :128],
        ):
            np.testing.assert_array_equal(pipeline(same).keypoints, expected)
        grey = pipeline(image.max(axis=2))
        assert grey.keypoints.shape == (1, 3, 3)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 96), (3, 2), (65, 49), (7680, 4320)])
def test_sizes(size_wh: tuple[int, int]) -> None:
    white = np.full((size_wh[1], size_wh[0], 3), 255, np.uint8)
    with make() as pipeline:
        keypoints = pipeline(white).keypoints
        assert keypoints.shape == (1, 3, 3)
        assert (keypoints[..., 2] > 0.99).all()
        assert len(pipeline(np.zeros_like(white))) == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros(5, np.uint8),
        np.zeros((1, 20000, 3), np.uint8),
        "image.jpg",
        None,
    ],
)
def test_refuses_frames(image: Any) -> None:
    with make() as pipeline, pytest.raises(FrameError) as raised:
        pipeline(image)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_several_frames(batch: int, dtype: int) -> None:
    rng = np.random.default_rng(batch)
    dots = [[tuple(map(int, rng.integers(10, 85, 2))) for _ in range(3)] for _ in range(11)]
    frames = [tiny.frame(*d) for d in dots]
    frames[4] = tiny.frame(*dots[4], size_wh=(90, 90))
    with make(batch=batch, dtype=dtype) as pipeline, make() as single:
        several = pipeline(frames)
        assert len(several) == len(frames)
        for frame, poses, d in zip(frames, several, dots, strict=True):
            assert_dots(poses.keypoints[0], *d)
            np.testing.assert_allclose(poses.keypoints, single(frame).keypoints, atol=1e-3)


def test_boxes() -> None:
    image = tiny.frame((40, 40), (60, 20), (20, 60))
    image[:, 200:] = 0
    wide = np.concatenate([image, tiny.frame((70, 50), (30, 30), None)], axis=1)
    for batch in (0, 1, 2):
        with make(resize=tiny.CROP, batch=batch) as pipeline:
            people = pipeline(wide, boxes=[[0, 0, 128, 96], [128, 0, 128, 96], [300, 300, 10, 10]])
            assert people.keypoints.shape == (2, 3, 3)  # black outside the frame has nobody
            assert_dots(people.keypoints[0], (40, 40), (60, 20), (20, 60))
            assert_dots(people.keypoints[1], (198, 50), (158, 30), None)
            whole = pipeline(wide)
            assert_dots(whole.keypoints[0][[0]], (40, 40), within=130)
            assert len(pipeline(wide, boxes=[])) == 0
            assert len(pipeline(wide, boxes=np.zeros((0, 4)))) == 0
            both = pipeline([wide, wide, image], boxes=[[[0, 0, 128, 96]], [], None])
            assert [len(poses) for poses in both] == [1, 0, 1]
            np.testing.assert_array_equal(both[0].keypoints[0], people.keypoints[0])


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([1, 2, 3, 4], "wanted (N, 4)"),
        ([[1, 2, 3]], "wanted (N, 4)"),
        ([[1, 2, 3, 4], [1]], "wanted (N, 4)"),
        ([[0, 0, 0, 4]], "box"),
        ([[0, 0, np.nan, 4]], "box"),
        ([[0, 0, 10, -4]], "box"),
    ],
)
def test_refuses_boxes(boxes: Any, words: str) -> None:
    with make(resize=tiny.CROP) as pipeline:
        with pytest.raises(FrameError) as raised:
            pipeline(tiny.frame(), boxes=boxes)
        assert words in str(raised.value)
        with pytest.raises(FrameError, match="1 sets for 2 frames"):
            pipeline([tiny.frame(), tiny.frame()], boxes=[None])
    with make() as pipeline, pytest.raises(FrameError, match="takes whole frames"):
        pipeline(tiny.frame(), boxes=[[0, 0, 1, 1]])


def test_any_size_of_input() -> None:
    with make(resize=tiny.SHORT_SIDE, batch=0) as pipeline:
        frames = [
            tiny.frame((30, 30), None, (60, 60), size_wh=wh) for wh in ((128, 96), (96, 200), (128, 96), (300, 100))
        ]
        for poses in pipeline(frames):
            assert_dots(poses.keypoints[0], (30, 30), None, (60, 60))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_outputs_that_are_not_finite(value: float) -> None:
    maps = np.zeros((1, 3, 12, 16), np.float32)
    maps[0, 2, 5, 5] = value
    of = tiny.make_manifest()
    with Pipeline(of, tiny.fake_engine(of, lambda _: {"maps": maps})) as pipeline:
        with pytest.raises(EngineError, match="'maps' has values that are not finite"):
            pipeline(tiny.frame())
        maps[...] = np.finfo(np.float32).max / 4  # finite, though their sum is not
        assert len(pipeline(tiny.frame())) == 1


def test_unused_rows_of_a_batch_do_not_matter() -> None:
    maps = np.zeros((4, 3, 12, 16), np.float32)
    maps[1:] = np.nan
    of = tiny.make_manifest(batch=4)
    with Pipeline(of, tiny.fake_engine(of, lambda _: {"maps": maps})) as pipeline:
        assert len(pipeline(tiny.frame())) == 0


def test_allocates_nothing_large() -> None:
    of = tiny.make_manifest(size_wh=(512, 512))
    with Pipeline(of, open_engine("onnxruntime", tiny.make_graph(of), threads=1)) as pipeline:
        image = tiny.frame((100, 100), (300, 300), None, size_wh=(640, 480))
        pipeline(image), pipeline(image)
        tracemalloc.start()
        pipeline(image)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 << 10  # the input alone has 3 MB


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tensor": "picture"}, "wants only 'picture'"),
        ({"size_wh": (64, 64)}, "the manifest wants floats (1, 3, 64, 64)"),
        ({"batch": 2}, "the manifest wants floats (2, 3, 48, 64)"),
        ({"batch": 0}, "any batch size"),
        ({"colour": "gray"}, "(1, 1, 48, 64)"),
    ],
)
def test_refuses_a_graph_that_does_not_fit(change: dict[str, Any], words: str) -> None:
    of = tiny.make_manifest()

    wrong = tiny.replaced(of, input=msgspec.structs.replace(of.input, **change))
    with open_engine("onnxruntime", tiny.make_graph(of)) as engine, pytest.raises(BundleError) as raised:
        Pipeline(wrong, engine)
    assert words in str(raised.value)


@pytest.mark.parametrize(("tensor", "channels", "words"), [("mops", (0, 3), "'mops'"), ("maps", (0, 4), "0 to 4")])
def test_refuses_outputs_that_do_not_fit(tensor: str, channels: tuple[int, int], words: str) -> None:
    of = tiny.make_manifest()
    outputs = (manifest.Output(tensor=tensor, role="heatmaps", channels=channels, stride=4.0),)
    with open_engine("onnxruntime", tiny.make_graph(of)) as engine, pytest.raises(BundleError, match=words):
        Pipeline(tiny.replaced(of, outputs=outputs), engine)


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (2, 2, 12, 16), (4, 3, 12, 16), (6,), ()])
def test_refuses_outputs_that_are_too_small(shape: tuple[int, ...]) -> None:
    """A graph may leave its outputs' shapes open; here for two frames at once."""
    of = tiny.make_manifest(batch=0)
    engine = tiny.fake_engine(of, lambda _: {"maps": np.ones(shape, np.float32)})
    with Pipeline(of, engine) as pipeline, pytest.raises(EngineError, match="at least 3 channels"):
        pipeline([tiny.frame(), tiny.frame()])


def test_refuses_doubles_beyond_float32() -> None:
    of = tiny.make_manifest()
    engine = tiny.fake_engine(of, lambda _: {"maps": np.full((1, 3, 12, 16), 1e300)})
    with Pipeline(of, engine) as pipeline, pytest.raises(EngineError, match="not finite"):
        pipeline(tiny.frame())


def test_refuses_an_absurd_batch() -> None:
    of = tiny.make_manifest(size_wh=(8192, 8192), batch=1024)
    with Pipeline(of, tiny.fake_engine(of, dict)) as pipeline, pytest.raises(FrameError, match="1024, 3, 8192, 8192"):
        pipeline(tiny.frame())


def test_from_a_folder(tmp_path: Path) -> None:
    tiny.write(tmp_path / "tiny.pose")
    image = tiny.frame((20, 30), None, None)
    with open_pipeline(tmp_path / "tiny.pose") as a, open_pipeline(load_bundle(tmp_path / "tiny.pose"), "cpu") as b:
        np.testing.assert_array_equal(a(image).keypoints, b(image).keypoints)
    with pytest.raises(EngineError, match="closed"):
        a(image)
    with pytest.raises(EngineError, match="CUDA driver"):
        open_pipeline(tmp_path / "tiny.pose", "cuda:99")
    with pytest.raises(BundleError, match="no such folder"):
        open_pipeline(tmp_path / "other.pose")


# ---- real networks ---------------------------------------------------------------------------------------------


def single_person(name: str) -> Pipeline:
    path = shared("models", f"{name}.onnx")
    of = tiny.make_manifest()
    engine = open_engine("onnxruntime", path.read_bytes(), threads=2)
    of = tiny.replaced(
        of,
        input=manifest.Input(
            tensor="image", size_wh=(192, 192), batch=1, colour="bgr", mean=(0.0,) * 3, std=(1.0,) * 3,
            resize=geometry.Stretch(interpolation="bilinear", round_pixels=True),
        ),
        outputs=(manifest.Output(tensor="heatmaps", role="heatmaps", channels=(0, 14), stride=2.0),),
        skeleton=skeleton("ai_challenger14"),
        decoder=HeatmapDecoder(refine="none", kernel=11, beta=10.0, blur_sigma=5.0, min_score=0.0, grid="corner"),
    )  # fmt: skip
    return Pipeline(of, engine)


@pytest.mark.parametrize("name", ["mv2_cpm_192", "mv2_hourglass_192"])
def test_single_person_networks(name: str) -> None:

    expected = msgspec.json.decode(shared("models", "expected", "single_person_192.json").read_bytes())["models"][name]
    with single_person(name) as pipeline:
        for photo, of_photo in expected.items():
            poses = pipeline(cv2.imread(str(shared("images", "photos", photo))))
            width, height = of_photo["map"]
            step = np.array([of_photo["width"] / width, of_photo["height"] / height])
            found = poses.keypoints[0, :, :2] / step
            for joint, place in zip(of_photo["joints"], found, strict=True):
                assert np.abs(place - joint["argmax_gauss5_yx"][::-1]).max() <= 1.01, (photo, joint)


def tf_pose(source: str) -> Pipeline:
    size_wh = (656, 368)
    of = tiny.replaced(
        tiny.make_manifest(),
        input=manifest.Input(
            tensor="image", size_wh=size_wh, batch=1, colour="bgr", mean=(0.0,) * 3, std=(1.0,) * 3,
            resize=geometry.Stretch(interpolation="bicubic", round_pixels=True),
        ),
        outputs=(
            manifest.Output(tensor="heat_paf", role="heatmaps", channels=(0, 18), stride=8.0),
            manifest.Output(tensor="heat_paf", role="pafs", channels=(19, 57), stride=8.0),
        ),
        skeleton=skeleton("openpose18"),
        decoder=PafDecoder(
            profile="tf_pose", limbs=COCO18_LIMBS, matching_only=(17, 18), parts=18, upsample=4, peak_threshold=0.05,
            limb_threshold=0.05, samples=10, min_hits=7, min_distance=0.0, window=1, min_parts=4, min_score=0.3,
            max_peaks=128, max_people=128, grid="corner",
        ),
    )  # fmt: skip
    return Pipeline(of, open_engine("onnxruntime", shared("models", source).read_bytes(), threads=2))


def parts_within(found: np.ndarray, expected: list[Any], pixels: float) -> float:
    """Share of the expected parts that a person has within `pixels`, of all that either has."""
    hits = sum(
        want is not None and got[2] > 0 and np.abs(got[:2] - want[:2]).max() <= pixels
        for got, want in zip(found, expected, strict=True)
    )
    return hits / sum(want is not None or got[2] > 0 for got, want in zip(found, expected, strict=True))


def test_tf_pose() -> None:
    """The people that TensorFlow and the authors' decoder found, 95 % of their parts within 2 map pixels."""
    reference = msgspec.json.decode(shared("models", "expected", "tfpose_mv2s_656x368_r4.json").read_bytes())
    total = good = 0
    with tf_pose(reference["model"]) as pipeline:
        for photo, of_photo in reference["images"].items():
            poses = pipeline(cv2.imread(str(shared("images", photo))))
            assert len(poses) == of_photo["num_people"], photo
            step = np.array([of_photo["width"] / of_photo["map_w"], of_photo["height"] / of_photo["map_h"], 1])
            for person in of_photo["people"]:
                shares = [parts_within(found / step, person["map_xy_score"], 2) for found in poses.keypoints]
                best = int(np.argmax(shares))
                assert poses.scores[best] == pytest.approx(person["score"], abs=0.05)
                total, good = total + person["num_parts"], good + shares[best] * person["num_parts"]
    assert good > 0.95 * total
