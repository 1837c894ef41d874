"""Annotation files of every format, good ones and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_calibration.annotations import read_annotations
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS

scipy_io = pytest.importorskip("scipy.io")


def write(path: Path, tree: Any) -> Path:
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return path


def coco_person(image: int = 1, **changes: Any) -> dict[str, Any]:
    keypoints = [0.0] * 51
    keypoints[15:18], keypoints[36:39] = [10, 20, 2], [40, 60, 1]  # left shoulder, right hip
    return {
        "id": 1, "image_id": image, "category_id": 1, "keypoints": keypoints, "num_keypoints": 2, "area": 900.0,
        "bbox": [5, 15, 50, 60], "iscrowd": 0,
    } | changes  # fmt: skip


def coco(**changes: Any) -> dict[str, Any]:
    images = [{"id": 3, "file_name": "b.png"}, {"id": 1, "file_name": "a.png", "width": 100, "height": 80}]
    return {"images": images, "annotations": [coco_person()], "categories": [{"id": 1}]} | changes


# ---- COCO -------------------------------------------------------------------------------------------------------


def test_coco(tmp_path: Path) -> None:
    crowd, nobody = coco_person(iscrowd=1), coco_person(keypoints=[0.0] * 51, num_keypoints=0)
    got = read_annotations("coco", write(tmp_path / "a.json", coco(annotations=[coco_person(), crowd, nobody])))
    assert [(p.id, p.file, p.size_wh, len(p.people)) for p in got.pictures] == [
        (1, "a.png", (100, 80), 3),
        (3, "b.png", None, 0),
    ]
    people = got.pictures[0].people
    assert people.counts.tolist() == [True, False, False]
    assert people.keypoints[0, 5].tolist() == [10, 20, 1]
    assert np.isnan(people.keypoints[0, 0, :2]).all()
    assert people.torso[0] == 50
    assert people.boxes[0].tolist() == [5, 15, 50, 60]
    assert got.protocol.everybody


def test_other_categories_and_unlisted_images_are_left_out(tmp_path: Path) -> None:
    tree = coco(annotations=[coco_person(category_id=18, keypoints=[]), coco_person(image=77), coco_person()])
    got = read_annotations("coco", write(tmp_path / "a.json", tree))
    assert [len(p.people) for p in got.pictures] == [1, 0]
    assert got.notes == ("1 annotations name images that the file does not list; they are left out",)


BIG = "9" * 400


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ("", "no COCO keypoint annotations"),
        ("{", "truncated"),
        ("[" * 5000, "no COCO keypoint annotations"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `images`"),
        ({"images": [], "annotations": []}, "no annotated pictures"),
        (coco(images=[{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]), "image id 1 is given twice"),
        (coco(images=[{"id": 1, "file_name": "../../etc/passwd"}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": "/etc/passwd"}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": "c:\\x.png"}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": "..\\x.png"}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": "a\0b"}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": ""}]), "inside the images' folder"),
        (coco(images=[{"id": 1, "file_name": "a", "width": -3, "height": 3}]), "width"),
        (coco(annotations=[coco_person(keypoints=[1.0] * 50)]), "got 50 numbers, wanted 51 for coco17"),
        (coco(annotations=[coco_person(keypoints=[1.0, "x", 2] * 17)]), "Expected `float`"),
        (coco(annotations=[coco_person(keypoints=[1e9, 1, 2] * 17)]), "keypoint: got 1e\\+09, wanted pixels"),
        (coco(annotations=[coco_person(bbox=[0, 0, -1, 5])]), "negative"),
        (coco(annotations=[coco_person(bbox=[0, 0, 1])]), "length"),
        (coco(annotations=[coco_person(area=-1.0)]), "negative"),
        (json.dumps(coco()).replace("900.0", BIG), "no COCO keypoint annotations|not finite"),
        (json.dumps(coco()).replace("900.0", "NaN"), "no COCO keypoint annotations"),
    ],
)
def test_a_hostile_coco_file_is_refused_by_name(tmp_path: Path, tree: Any, words: str) -> None:
    with pytest.raises(PoseError, match=f"(?s)a.json: .*({words})"):
        read_annotations("coco", write(tmp_path / "a.json", tree))


def test_no_file_a_folder_and_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="no such file"):
        read_annotations("coco", tmp_path / "a.json")
    with pytest.raises(PoseError, match="no file"):
        read_annotations("coco", tmp_path)
    with pytest.raises(PoseError, match="wanted one of coco, mpii"):
        read_annotations("voc", tmp_path / "a.json")
    with pytest.raises(PoseError, match="one file per split"):
        read_annotations("coco", tmp_path / "a.json", split="test")
    with pytest.raises(PoseError, match="only mpii has them"):
        read_annotations("lsp", tmp_path / "a.mat", head_boxes=tmp_path / "b.mat")


# ---- LSP --------------------------------------------------------------------------------------------------------


def lsp_joints(people: int) -> np.ndarray:
    """(3, 14, N): joint j of person i at (10 i + j + 1, 2 j + 1), one-based; every other joint occluded."""
    table = np.zeros((3, 14, people))
    table[0] = np.arange(14)[:, None] + 10 * np.arange(people) + 1
    table[1] = 2 * np.arange(14)[:, None] + 1
    table[2] = (np.arange(14) % 2)[:, None]
    return table


def test_lsp(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": lsp_joints(2000)})
    got = read_annotations("lsp", tmp_path / "joints.mat")
    assert len(got.pictures) == 1000
    assert got.pictures[0].file == "im1001.jpg"
    first = got.pictures[0].people.keypoints[0]
    assert first[3].tolist() == [10003, 6, 1]  # zero-based, and occluded joints count
    assert len(read_annotations("lsp", tmp_path / "joints.mat", split="all").pictures) == 2000
    train = read_annotations("lsp", tmp_path / "joints.mat", split="train").pictures
    assert (train[0].file, train[-1].file) == ("im0001.jpg", "im1000.jpg")
    assert got.skeleton is SKELETONS["lsp14"]


def test_extended_lsp_leaves_out_what_is_not_annotated(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": lsp_joints(5).transpose(1, 0, 2)})
    got = read_annotations("lsp", tmp_path / "joints.mat")
    assert got.pictures[4].file == "im00005.jpg"
    assert got.pictures[0].people.keypoints[0, :, 2].tolist() == [0, 1] * 7


# ---- FLIC -------------------------------------------------------------------------------------------------------


def flic_example(file: str, *, mirrored: bool, test: bool) -> dict[str, Any]:
    coords = np.full((2, 29), np.nan)
    left, right = (100, 50) if mirrored else (50, 100)
    coords[:, 0], coords[:, 3] = (left + 1, 21), (right + 1, 21)  # shoulders
    coords[:, 6], coords[:, 9] = (left + 1, 91), (right + 1, 91)  # hips
    coords[:, 16] = 76, 11  # nose
    return {"filepath": file, "coords": coords, "istest": int(test), "istrain": int(not test)}


def flic(path: Path, *examples: dict[str, Any]) -> Path:
    scipy_io.savemat(path, {"examples": np.array(examples, dtype=object)})
    return path


def test_flic_with_the_observers_sides(tmp_path: Path) -> None:
    examples = [flic_example(f"{i}.jpg", mirrored=False, test=i > 0) for i in range(3)]
    got = read_annotations("flic", flic(tmp_path / "examples.mat", *examples))
    assert [(p.id, p.file) for p in got.pictures] == [(2, "1.jpg"), (3, "2.jpg")]
    names = got.skeleton.names
    points = got.pictures[0].people.keypoints[0]
    assert points[names.index("right_shoulder")].tolist() == [50, 20, 1]  # the person's right is at the left
    assert points[names.index("nose")].tolist() == [75, 10, 1]
    assert points[:, 2].sum() == 5
    assert got.pictures[0].people.torso[0] == pytest.approx(np.hypot(50, 70))
    assert "exchanged" in got.notes[0]


def test_flic_with_the_persons_sides(tmp_path: Path) -> None:
    path = flic(tmp_path / "examples.mat", flic_example("a.jpg", mirrored=True, test=True))
    got = read_annotations("flic", path, split="all")
    names = got.skeleton.names
    assert got.pictures[0].people.keypoints[0, names.index("left_shoulder")].tolist() == [100, 20, 1]
    assert got.notes == ()


# ---- JHMDB ------------------------------------------------------------------------------------------------------


def test_jhmdb_folder(tmp_path: Path) -> None:
    clip = tmp_path / "wave" / "clip_1"
    clip.mkdir(parents=True)
    table = np.arange(2 * 15 * 3, dtype=float).reshape(2, 15, 3) + 1
    scipy_io.savemat(clip / "joint_positions.mat", {"pos_img": table})
    got = read_annotations("jhmdb", tmp_path)
    assert [p.file for p in got.pictures] == [f"wave/clip_1/0000{i}.png" for i in (1, 2, 3)]
    assert got.pictures[1].people.keypoints[0, 2].tolist() == [7, 52, 1]
    assert got.pictures[0].people.boxes[0].tolist() == [0, 45, 42, 42]
    assert got.protocol.within == "<"


def test_jhmdb_json(tmp_path: Path) -> None:
    person = coco_person(keypoints=[11.0, 21.0, 1.0] * 15, bbox=[1, 1, 30, 60])
    got = read_annotations("jhmdb", write(tmp_path / "a.json", coco(annotations=[person])))
    people = got.pictures[0].people
    assert people.keypoints[0, 4].tolist() == [10, 20, 1]
    assert people.boxes[0].tolist() == [0, 0, 30, 60]
    assert got.coco is None


# ---- MPII -------------------------------------------------------------------------------------------------------


def mpii_person(image: str = "a.jpg") -> dict[str, Any]:
    joints = [[11.0 + j, 21.0 + 2 * j] for j in range(16)]
    visible = [1] * 15 + [0]
    return {"image": image, "joints": joints, "joints_vis": visible, "center": [101.0, 86.0], "scale": 1.0}


def test_mpii_json_with_head_boxes(tmp_path: Path) -> None:
    path = write(tmp_path / "valid.json", [mpii_person(), mpii_person("b.jpg"), mpii_person()])
    boxes = np.zeros((2, 2, 3))
    boxes[1, 0], boxes[1, 1] = [30, 60, 90], [40, 80, 120]
    scipy_io.savemat(tmp_path / "gt_valid.mat", {"headboxes_src": boxes})
    got = read_annotations("mpii", path, head_boxes=tmp_path / "gt_valid.mat")
    assert [(p.file, len(p.people)) for p in got.pictures] == [("a.jpg", 2), ("b.jpg", 1)]
    people = got.pictures[0].people
    assert people.head.tolist() == [30, 90]
    assert people.keypoints[0, 0].tolist() == [10, 20, 1]
    assert np.isnan(people.keypoints[0, 15, 0])
    assert people.boxes[0].tolist() == [0, 0, 200, 200]  # centre 15 pixels down, zero-based
    assert not got.protocol.everybody


def test_mpii_json_without_head_boxes(tmp_path: Path) -> None:
    got = read_annotations("mpii", write(tmp_path / "valid.json", [mpii_person()]))
    assert np.isnan(got.pictures[0].people.head).all()
    assert "--head-boxes" in got.notes[0]


def mpii_published(path: Path, points: list[dict[str, Any]]) -> Path:
    rect = {"x1": 11, "y1": 21, "x2": 41, "y2": 61, "scale": 0.5, "objpos": {"x": 101.0, "y": 100.0}}
    people = np.array([rect | {"annopoints": {"point": np.array(points, object)}}, rect], object)
    annolist = [
        {"image": {"name": "a.jpg"}, "annorect": people},
        {"image": {"name": "test.jpg"}, "annorect": rect},
        {"image": {"name": "nobody.jpg"}, "annorect": np.zeros((0, 0))},
    ]
    scipy_io.savemat(path, {"RELEASE": {"annolist": np.array(annolist, object)}})
    return path


def test_mpii_published(tmp_path: Path) -> None:
    points = [{"x": 11.0, "y": 21.0, "id": 9, "is_visible": 1}, {"x": 12, "y": 31.5, "id": 0, "is_visible": 0}]
    got = read_annotations("mpii", mpii_published(tmp_path / "mpii.mat", points))
    (picture,) = got.pictures
    assert picture.file == "a.jpg"
    people = picture.people
    assert len(people) == 1
    assert people.keypoints[0, 9].tolist() == [10, 20, 1]
    assert people.keypoints[0, 0].tolist() == [11, 30.5, 1]
    assert people.head[0] == pytest.approx(0.6 * 50)
    assert people.boxes[0].tolist() == [50, 56.5, 100, 100]


def test_mpii_published_with_a_joint_that_there_is_not(tmp_path: Path) -> None:
    path = mpii_published(tmp_path / "mpii.mat", [{"x": 1, "y": 2, "id": 16}])
    with pytest.raises(PoseError, match="joint id: got 16, wanted 0 to 15"):
        read_annotations("mpii", path)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ("{}", "Expected `array`"),
        ([{**mpii_person(), "joints": [[1, 2]]}], "length"),
        ([{**mpii_person(), "image": "../a.jpg"}], "inside the images' folder"),
        ([{**mpii_person(), "scale": -1}], "scale|>= 0"),
        ([], "no annotated pictures"),
    ],
)
def test_a_hostile_mpii_list_is_refused(tmp_path: Path, tree: Any, words: str) -> None:
    with pytest.raises(PoseError, match=words):
        read_annotations("mpii", write(tmp_path / "a.json", tree))


# ---- MATLAB files that are none ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lsp", "flic", "mpii", "jhmdb"])
@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\0" * 200, b"\x89HDF\r\n\x1a\n" + b"\0" * 600])
def test_a_broken_matlab_file_is_refused_by_name(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / ("a.mat" if kind != "jhmdb" else "c/d/joint_positions.mat")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(PoseError, match=f"{path.name}: "):
        read_annotations(kind, path if kind != "jhmdb" else tmp_path)


@pytest.mark.parametrize("cut", [150, 200, 400, 900])
def test_a_truncated_matlab_file_is_refused(tmp_path: Path, cut: int) -> None:
    scipy_io.savemat(tmp_path / "a.mat", {"joints": lsp_joints(30)})
    (tmp_path / "a.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:cut])
    with pytest.raises(PoseError, match=r"a\.mat: "):
        read_annotations("lsp", tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"other": np.zeros(3)}, "has no variable 'joints', only other"),
        ({"joints": np.zeros((3, 13, 5))}, "got shape"),
        ({"joints": np.full((3, 14, 5), np.inf)}, "not finite"),
        ({"joints": np.array(["a"])}, "wanted"),
        ({"joints": np.zeros((3, 14, 0))}, "no annotated pictures"),
    ],
)
def test_wrong_variables_are_refused(tmp_path: Path, variables: dict[str, Any], words: str) -> None:
    scipy_io.savemat(tmp_path / "a.mat", variables)
    with pytest.raises(PoseError, match=words):
        read_annotations("lsp", tmp_path / "a.mat")
