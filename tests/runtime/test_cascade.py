"""A cascade gives what its definition gives, whatever goes through the networks together."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cascades
import tiny
from cascades import JOINTS, SIZE_WH, STAGE, make_manifest, make_stage, one_by_one, projection
from pose_runtime import manifest
from pose_runtime.bundle import Bundle, as_part, load_bundle, write_bundle
from pose_runtime.cascade import MAX_CROPS, CascadePipeline, joint_crops, take_joints
from pose_runtime.check import check_bundle
from pose_runtime.cli.info import rows
from pose_runtime.errors import BundleError, EngineError
from pose_runtime.pipeline import Pipeline, open_network, open_pipeline
from pose_runtime.poses import Poses
from pose_runtime.skeletons import BOX2
from pose_runtime.top_down import TopDownPipeline
from shared import shared

NETWORKS = [projection(seed) for seed in (1, 2, 3)]
STAGES = [STAGE, manifest.Stage(torso=(8, 3), sigma=1.5)]
BOXES = [[[20, 10, 60, 90], [80, 30, 100, 40]], [[5, 5, 100, 100]], []]


def cascade(**options: object) -> CascadePipeline:
    stages = [make_stage(network, **options) for network in NETWORKS]  # type: ignore[arg-type]
    return CascadePipeline(make_manifest(STAGES), stages)


def picture(seed: int, size_wh: tuple[int, int] = (200, 120)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def test_equals_the_definition() -> None:
    images = [picture(seed) for seed in range(3)]
    with cascade() as pipeline:
        several = pipeline(images, boxes=BOXES)
        assert [len(poses) for poses in several] == [2, 1, 0]
        for image, poses, boxes in zip(images, several, BOXES, strict=True):
            assert poses.keypoints.dtype == np.float32
            for person, box in zip(poses.keypoints, boxes, strict=True):
                wanted = one_by_one(image, box, NETWORKS, STAGES)
                np.testing.assert_allclose(person[:, :2], wanted, rtol=0, atol=2e-3)
                np.testing.assert_array_equal(person[:, 2], 1)
        whole = pipeline(images[0])
        np.testing.assert_allclose(
            whole.keypoints[0, :, :2], one_by_one(images[0], (0, 0, 200, 120), NETWORKS, STAGES), rtol=0, atol=2e-3
        )


@pytest.mark.parametrize(("batch", "most"), [(0, MAX_CROPS), (0, 5), (1, 1), (4, 4)])
def test_batches_do_not_matter(batch: int, most: int) -> None:
    image = picture(7)
    with cascade(max_batch=MAX_CROPS) as one, cascade(batch=batch, max_batch=most) as other:
        np.testing.assert_array_equal(one(image, boxes=BOXES[0]).keypoints, other(image, boxes=BOXES[0]).keypoints)


def test_all_joints_of_all_people_are_one_batch() -> None:
    runs: list[int] = []
    later = [make_stage(network, runs=runs, max_batch=MAX_CROPS) for network in NETWORKS[1:]]
    with CascadePipeline(make_manifest(STAGES), [make_stage(NETWORKS[0]), *later]) as pipeline:
        pipeline([picture(1), picture(2)], boxes=[BOXES[0], BOXES[1]])
        timings = pipeline.timings
    assert runs == [3 * JOINTS, 3 * JOINTS]
    assert timings.network_s >= pipeline.stages[0].timings.network_s + later[0].timings.network_s
    assert min(timings.pre_s, timings.decode_s) > 0


def test_nobody() -> None:
    with cascade() as pipeline:
        assert pipeline([]) == []
        assert len(pipeline(picture(1), boxes=[])) == 0


def test_golden() -> None:
    """Stages 2 and 3 of the recorded cascade, whose networks give the recorded displacements."""
    with np.load(shared("reference", "losses", "deeppose.npz")) as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    first = np.concatenate([golden["y1"], np.ones((JOINTS, 1))], 1)[None].astype(np.float32)

    def given(name: str) -> cascades.Network:
        return lambda x: np.repeat(golden[name].reshape(1, -1), len(x), 0).astype(np.float32)

    class First(Pipeline):
        def _all(self, frames, boxes):  # type: ignore[no-untyped-def]
            return [Poses(first.copy(), np.ones(1, np.float32), self.manifest.skeleton) for _ in frames]

    stages = [manifest.Stage(torso=(9, 2), sigma=float(golden["sigma"]))] * 2
    engine = make_stage(given("psi0")).engine
    with CascadePipeline(
        make_manifest(stages), [First(make_manifest(), engine), make_stage(given("psi1")), make_stage(given("psi2"))]
    ) as pipeline:
        found = pipeline(picture(0, (440, 420))).keypoints
    np.testing.assert_allclose(found[0, :, :2], golden["y3"], rtol=0, atol=1e-3)


def test_crops() -> None:
    keypoints = np.full((3, JOINTS, 3), (50, 60, 1), np.float32)
    keypoints[0, 9], keypoints[0, 2], keypoints[0, 5] = (100, 40, 1), (70, 80, 1), (np.nan, np.nan, 0)
    keypoints[1, 9] = (np.nan, np.nan, 0)  # no torso; person 2's has no extent
    boxes, who = joint_crops(keypoints, STAGE)
    assert who.tolist() == [[0, joint] for joint in range(JOINTS) if joint != 5]
    np.testing.assert_allclose(boxes[9 - 1], [50, -10, 100, 100])  # 2 x 50 wide
    keypoints[0, :, :2] *= 1e6
    assert len(joint_crops(keypoints, STAGE)[0]) == 0


def test_joints_without_a_crop_stay() -> None:
    keypoints = np.arange(2 * JOINTS * 3, dtype=np.float32).reshape(2, JOINTS, 3)
    before = keypoints.copy()
    seen = -np.ones((2, JOINTS, 3), np.float32)
    take_joints(keypoints, seen, np.array([[0, 3], [1, 0]]))
    assert (keypoints != before).any(2).sum() == 2
    assert (keypoints[0, 3] == -1).all()
    assert (keypoints[1, 0] == -1).all()
    with pytest.raises(EngineError, match="1 of 2 joints"):
        take_joints(keypoints, seen[:1], np.array([[0, 3], [1, 0]]))


def test_closes_every_stage_even_where_one_fails() -> None:
    pipeline = cascade()
    closed = []

    class Broken(Exception):
        pass

    def fail() -> None:
        raise Broken

    pipeline.stages[1].close = fail  # type: ignore[method-assign]
    for stage in (pipeline.stages[0], pipeline.stages[2]):
        stage.close = lambda stage=stage: closed.append(stage)  # type: ignore[method-assign,misc]
    with pytest.raises(Broken):
        pipeline.close()
    assert len(closed) == 2


# ---- bundles -----------------------------------------------------------------------------------------------------


def graph(seed: int) -> bytes:
    """A network of one matrix product; row by row the same in any batch."""
    size = 3 * SIZE_WH[0] * SIZE_WH[1]
    weights = np.random.default_rng(seed).normal(0, 0.2 / size**0.5, (size, 2 * JOINTS)).astype(np.float32)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["values"])],
            "projection",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE_WH[1], SIZE_WH[0]])],
            [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", 2 * JOINTS])],
            [numpy_helper.from_array(weights, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_stage(folder: Path, seed: int, **fields: object) -> Bundle:
    frame = manifest.CheckFrame(file="check/0.png", keypoints=(), scores=(), heads=())
    of = tiny.replaced(make_manifest(), check=manifest.Check(min_oks=0.9, frames=(frame,)), **fields)
    png = cv2.imencode(".png", picture(5))[1].tobytes()
    return write_bundle(folder, of, {"reference.onnx": graph(seed), "check/0.png": png})


def write_cascade(folder: Path, **fields: object) -> Bundle:
    first = write_stage(folder / "first.pose", 1)
    parts: dict[str, bytes] = {}
    for i, seed in enumerate((2, 3)):
        parts |= as_part(write_stage(folder / f"later{i}.pose", seed, **fields), f"stage{i + 2}")
    of = msgspec.structs.replace(first.manifest, stages=tuple(STAGES))
    files = {name: first.file_bytes(name) for name in first.manifest.files}
    return write_bundle(folder / "cascade.pose", of, {**files, **parts})


def test_a_bundle_of_three_networks(tmp_path: Path) -> None:
    bundle = load_bundle(write_cascade(tmp_path).path)
    image = picture(3)
    with open_pipeline(bundle, "cpu", threads=1) as pipeline, open_network(bundle, "cpu", threads=1) as alone:
        assert isinstance(pipeline, CascadePipeline)
        assert [stage.max_batch for stage in pipeline.stages] == [8, MAX_CROPS, MAX_CROPS]
        found = pipeline(image, boxes=BOXES[0]).keypoints
        first = alone(image, boxes=BOXES[0]).keypoints
    with (
        open_network(bundle.part("stage2"), "cpu", threads=1) as second,
        open_network(bundle.part("stage3"), "cpu", threads=1) as third,
    ):
        for stage, later in zip(STAGES, (second, third), strict=True):
            boxes, who = joint_crops(first, stage)
            assert len(who) == 2 * JOINTS
            for box, (person, joint) in zip(boxes, who, strict=True):
                first[person, joint] = later(image, boxes=[box]).keypoints[0, joint]
    np.testing.assert_allclose(found, first, rtol=0, atol=1e-3)


def test_every_stage_proves_itself_alone(tmp_path: Path) -> None:
    bundle = write_cascade(tmp_path)
    for part in (bundle, *bundle.parts.values()):
        (check,) = check_bundle(part)
        assert check.frames[0].people == (1, 0)  # its own network ran, not the cascade


def test_pose_info_names_the_stages(tmp_path: Path) -> None:
    wanted = ("crops of", "stage2", "stage3")
    found = [(name, text) for name, text in rows(write_cascade(tmp_path)) if name in wanted]
    assert [name for name, _ in found] == ["crops of", "crops of", "stage2", "stage3"]
    assert found[0][1] == "stage2 torso=(9,2) sigma=2.0"


def test_a_stage_that_does_not_fit(tmp_path: Path) -> None:
    skeleton = msgspec.structs.replace(cascades.SKELETON, names=cascades.SKELETON.names[::-1])
    with pytest.raises(BundleError, match=r"stage2/manifest.json: \$.skeleton"):
        write_cascade(tmp_path, skeleton=skeleton)


def test_a_detector_in_front_of_a_cascade() -> None:
    """Everybody's joints in all crops that the detector gave are one batch, too."""
    runs: list[int] = []
    boxes = np.array(BOXES[0], np.float32)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).reshape(2, 2, 2)

    class Detecting(Pipeline):
        def _all(self, frames, boxes):  # type: ignore[no-untyped-def]
            keypoints = np.concatenate([corners, np.ones((2, 2, 1))], 2).astype(np.float32)
            return [Poses(keypoints, np.array([0.9, 0.8], np.float32), BOX2) for _ in frames]

    how = manifest.Detector(every=1, min_score=0.0, max_people=9, rescore="keypoints", min_keypoint=0.0, nms_oks=1.0)
    later = [make_stage(network, runs=runs, max_batch=MAX_CROPS) for network in NETWORKS[1:]]
    crops = CascadePipeline(make_manifest(STAGES), [make_stage(NETWORKS[0]), *later])
    detector = Detecting(make_manifest(), make_stage(NETWORKS[0]).engine)
    image = picture(4)
    with TopDownPipeline(how, detector, crops) as pipeline, cascade() as alone:
        found, wanted = pipeline(image), alone(image, boxes=boxes)
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    assert runs == [2 * JOINTS, 2 * JOINTS]
