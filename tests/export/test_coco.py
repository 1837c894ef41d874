from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from painted import paint
from pose_calibration.accuracy import coco_ap, coco_results
from pose_export.training.coco import open_coco
from pose_export.training.masks import segmentation_mask, unpack_runs
from pose_export.training.source import RecordError, open_data, open_mix
from pose_export.training.to_coco import to_coco
from pose_runtime.errors import ExportError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from shared import shared

Tree = dict[str, Any]


def person(**changes: object) -> Tree:
    keypoints = [float(v) for i in range(17) for v in (10 + i, 20 + i, 2)]
    entry = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 300.0, "bbox": [8, 16, 20, 24]}
    return (
        entry
        | {"keypoints": keypoints, "num_keypoints": 17, "segmentation": [[8, 16, 28, 16, 28, 40, 8, 40]]}
        | changes
    )


def tree(*annotations: Tree, **changes: object) -> Tree:
    category = {"id": 1, "name": "person", "keypoints": list(SKELETONS["coco17"].names)}
    images = [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}]
    return {"images": images, "annotations": list(annotations), "categories": [category]} | changes


def write(folder: Path, content: Tree | bytes, name: str = "a.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def picture(path: Path, size_wh: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))[1].tobytes())
    return path


# ---- what is read --------------------------------------------------------------------------------------------


def test_a_record(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    values = person()["keypoints"]
    values[3:6] = [5, 6, 0]
    second = person(id=2, keypoints=values, num_keypoints=16)
    write(tmp_path, tree(person(), second))
    source = open_data(f"coco:{tmp_path}")
    assert len(source) == 1
    assert "1 pictures" in source.description
    assert "1 of them with 2 people of coco17" in source.description
    record = source[0]
    assert record.image.shape == (48, 64, 3)
    assert record.keypoints.shape == (2, 17, 3)
    assert record.keypoints[0, 4].tolist() == [14, 24, 2]
    assert record.keypoints[1, 1].tolist() == [0, 0, 0]
    assert record.boxes[0].tolist() == [8, 16, 20, 24]
    assert record.areas.tolist() == [300, 300]
    assert record.ids.tolist() == [1, 2]
    assert record.ignored is None
    assert record.name.endswith("a.png")


def test_nobody_is_a_record_too(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path, tree())
    source = open_coco(str(tmp_path))
    assert source[0].keypoints.shape == (0, 17, 3)
    assert source[0].boxes.shape == (0, 4)
    assert len(source.with_people()) == 0
    assert source.image_ids == (7,)


def test_crowds_and_unlabelled_people_are_ignored_but_not_where_somebody_is(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    crowd = np.zeros((48, 64), bool)
    crowd[:20, :40] = True
    runs = {"size": [48, 64], "counts": [0, *([20, 28] * 39), 20, 28 + 24 * 48]}
    nobody = person(id=3, num_keypoints=0, keypoints=[0] * 51, segmentation=[[50, 30, 60, 30, 60, 40, 50, 40], [1, 2]])
    boxed = person(id=4, num_keypoints=0, keypoints=[0] * 51, bbox=[60, 0, 10, 4], segmentation=[])
    write(tmp_path, tree(person(), person(id=2, iscrowd=1, segmentation=runs), nobody, boxed))
    record = open_coco(str(tmp_path))[0]
    assert record.ids.tolist() == [1]
    expected = crowd.copy()
    expected[30:40, 50:60] = True
    expected[:4, 60:] = True
    expected[16:40, 8:28] = False
    np.testing.assert_array_equal(record.ignored, expected)


@pytest.mark.parametrize(
    ("json_at", "image_at", "spec"),
    [
        ("annotations/person_keypoints_val2017.json", "val2017/a.png", ""),
        ("annotations/person_keypoints_val2017.json", "val2017/a.png", ":val2017"),
        ("annotations/person_keypoints_val2017.json", "images/val2017/a.png", ""),
        ("annotations/person_keypoints_val2017.json", "images/a.png", ""),
        ("annotations/person_keypoints_val2017.json", "a.png", "/annotations/person_keypoints_val2017.json"),
        ("annotations/mine.json", "images/a.png", ":mine"),
        ("mine.json", "a.png", ""),
        ("mine.json", "images/a.png", "/mine.json"),
    ],
)
def test_layouts(tmp_path: Path, json_at: str, image_at: str, spec: str) -> None:
    file = write((tmp_path / json_at).parent, tree(person()), Path(json_at).name)
    write(file.parent, b'[{"image_id": 7}]', "results.json")
    image = picture(tmp_path / image_at)
    source = open_coco(f"{tmp_path}{spec}")
    assert source[0].name == str(image)
    assert str(file) in source.description


def test_splits_are_listed_where_none_is_chosen(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        write(tmp_path / "annotations", tree(person()), f"person_keypoints_{split}.json")
        picture(tmp_path / split / "a.png")
    write(tmp_path / "annotations", b"{}", "instances_val2017.json")
    with pytest.raises(ExportError, match=r"choose one .*:train2017 \(train2017, val2017\)"):
        open_coco(str(tmp_path))
    with pytest.raises(ExportError, match="got the split 'test', wanted one of train2017, val2017"):
        open_coco(f"{tmp_path}:test")
    assert "val2017" in open_coco(f"{tmp_path}:val2017")[0].name


@pytest.mark.parametrize("name", ["crowdpose14", "mpii16", "openpose18", "ai_challenger14"])
def test_other_skeletons(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    skeleton = SKELETONS[name]
    count = len(skeleton.names)
    keypoints = [float(v) for i in range(count) for v in (i, i, 1)]
    names = ["top_head" if joint == "head_top" else joint for joint in skeleton.names]
    category = {"id": 5, "name": "person", "keypoints": names}
    other = {"id": 1, "name": "dog", "keypoints": ["nose", "tail"]}
    entry = person(keypoints=keypoints, num_keypoints=count, category_id=5)
    del entry["area"]
    write(tmp_path, tree(entry, person(id=2), categories=[other, category]))
    record = open_coco(str(tmp_path))[0]
    assert record.skeleton == skeleton
    assert record.keypoints[0, :, 0].tolist() == list(range(count))
    assert record.areas[0] == pytest.approx(0.53 * 20 * 24)


def test_keypoints_in_another_order(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    names = list(SKELETONS["coco17"].names)[::-1]
    write(tmp_path, tree(person(), categories=[{"id": 1, "name": "Human", "keypoints": names}]))
    record = open_coco(str(tmp_path))[0]
    assert record.skeleton == SKELETONS["coco17"]
    assert record.keypoints[0, :, 0].tolist() == list(range(26, 9, -1))


def test_cocos_own_pictures() -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    folder = shared("images", "coco")
    source = open_coco(str(folder))
    assert len(source) == 4
    truth = COCO()
    truth.dataset = json.loads((folder / "test_coco.json").read_text())
    truth.createIndex()
    for i, image_id in enumerate(source.image_ids):
        record = source[i]
        listed = [truth.anns[number] for number in truth.getAnnIds(imgIds=image_id)]
        known = [entry for entry in listed if entry["num_keypoints"]]
        assert record.ids.tolist() == [entry["id"] for entry in known]
        np.testing.assert_array_equal(record.keypoints.reshape(len(known), 51), [e["keypoints"] for e in known])
        for entry, box in zip(known, record.boxes, strict=True):
            np.testing.assert_allclose(box, entry["bbox"], rtol=1e-6)
            mask = segmentation_mask(entry["segmentation"], record.image.shape[1::-1])
            assert abs(mask.sum() - entry["area"]) < 0.06 * entry["area"] + 30
        assert (record.ignored is not None) == (len(known) < len(listed))


# ---- what is wrong -------------------------------------------------------------------------------------------

BAD_PEOPLE = [
    (person(keypoints=[1.0] * 50), "got 50 numbers, wanted 51"),
    (person(keypoints=[1e9, 1, 2] * 17), "wanted finite pixels"),
    (person(keypoints=[1, 1, 3] * 17), "wanted v of 0, 1 or 2"),
    (person(keypoints=[1, 1, 0.5] * 17), "wanted v of 0, 1 or 2"),
    (person(keypoints="many"), "Expected `array`"),
    (person(keypoints=[0.0] * 4000), "length"),
    (person(bbox=[1, 2, 3]), "length 4"),
    (person(bbox=[1, 2, -3, 4]), "wanted a positive size"),
    (person(bbox=[1, 2, 1e300, 4]), "wanted finite pixels"),
    (person(area=-1), "wanted square pixels"),
    (person(iscrowd=2), "iscrowd"),
    (person(image_id=8), "image 8 is not listed"),
    (person(image_id=2**70), "image_id"),
    (person(id="x"), "Expected `int`"),
    ({"id": 3}, "missing required field"),
    ([], "Expected `object`"),
]


@pytest.mark.parametrize(("bad", "words"), BAD_PEOPLE)
def test_a_bad_annotation_is_named_and_left_out_or_refused(tmp_path: Path, bad: Tree, words: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path, tree(person(id=40), bad))
    with pytest.raises(RecordError, match=f"a.json: 1 bad annotations, the first: .*{words}"):
        open_coco(str(tmp_path))
    told: list[RecordError] = []
    source = open_coco(str(tmp_path), on_bad=told.append)
    assert len(told) == 1
    assert source[0].ids.tolist() == [40]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file_name": "../a.png"}, "leaves the folder"),
        ({"file_name": "/etc/passwd"}, "leaves the folder"),
        ({"file_name": "b\\..\\a.png"}, "leaves the folder"),
        ({"file_name": "c:a.png"}, "leaves the folder"),
        ({"file_name": "a\0.png"}, "leaves the folder"),
        ({"file_name": ""}, "leaves the folder"),
        ({"file_name": "a" * 5000}, "leaves the folder"),
        ({"width": 0}, "width"),
        ({"height": 1 << 40}, "height"),
        ({"id": 7}, "id 7 is there twice"),
        ({"id": None}, "Expected `int`"),
    ],
)
def test_a_bad_picture_entry_is_named_and_left_out(tmp_path: Path, changes: Tree, words: str) -> None:
    picture(tmp_path / "a.png")
    content = tree(person())
    content["images"].append({"id": 8, "file_name": "b.png", "width": 64, "height": 48} | changes)
    write(tmp_path, content)
    told: list[RecordError] = []
    assert len(open_coco(str(tmp_path), on_bad=told.append)) == 1
    (line,) = [str(error) for error in told]
    assert "a.json: 1 bad images, the first: number 1: " in line
    assert words in line


def test_an_annotation_id_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path, tree(person(), person()))
    told: list[RecordError] = []
    assert len(open_coco(str(tmp_path), on_bad=told.append)[0].ids) == 1
    assert "the id 1 is there twice" in str(told[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "truncated"),
        (b'{"images": 3, "annotations": [], "categories": []}', "Expected `array`"),
        (b"{" + b'"a":{' * 100_000, "no COCO keypoint annotations"),
        (b"\xef\xbb\xbf{}", "no COCO keypoint annotations"),
        (tree(images=[]), "lists no images"),
        (tree(categories=[]), "got the keypoints none; wanted those of one of coco17"),
        (tree(categories=[{"id": 1, "name": "person", "keypoints": ["nose", "tail"]}]), "got the keypoints nose, tail"),
        (tree(images=[{"id": 1, "file_name": "..", "width": 1, "height": 1}]), "leaves the folder"),
        (
            tree(images=[{"id": 1, "file_name": "no.png", "width": 1, "height": 1}]),
            r"none of its pictures \(such as no",
        ),
    ],
)
def test_a_file_that_is_no_keypoint_file_is_refused(tmp_path: Path, content: bytes | Tree, words: str) -> None:
    write(tmp_path, content)
    with pytest.raises(ExportError, match=f"a.json.*{words}"):
        open_coco(str(tmp_path), on_bad=lambda error: None)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no such folder or file"):
        open_coco(str(tmp_path / "none"))
    with pytest.raises(ExportError, match="has no annotations"):
        open_coco(str(tmp_path))
    with pytest.raises(ExportError, match="no such folder or file"):
        open_coco(f"{write(tmp_path, tree())}:val2017")
    with pytest.raises(ExportError, match="coco"):
        open_coco("a\0b")
    with pytest.raises(ExportError, match="coco"):
        open_coco("a" * 5000)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    write(tmp_path, tree(person()))
    source = open_coco(str(tmp_path))
    picture(image, (48, 64))
    with pytest.raises(RecordError, match=r"a\.png: got 48 x 64 pixels, the annotations say 64 x 48"):
        source[0]
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(RecordError, match=r"a\.png: .*truncated"):
        source[0]
    image.unlink()
    with pytest.raises(RecordError, match=r"a\.png: no such file"):
        source[0]


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ({"size": [48, 64], "counts": [1, 2]}, "cover 3 pixels of 3072"),
        ({"size": [48, 64], "counts": [-1, 3073]}, "within the picture"),
        ({"size": [48, 64], "counts": [10**30]}, "within the picture"),
        ({"size": [48, 64], "counts": [True] * 3072}, "within the picture"),
        ({"size": [48, 64], "counts": "oooooooooooo"}, "damaged"),
        ({"size": [48, 64], "counts": "P"}, "cut off"),
        ({"size": [48, 64], "counts": "\xff"}, "damaged"),
        ({"size": [48, 64]}, "wanted run lengths"),
        ({"size": [64, 48], "counts": [3072]}, "got the size"),
        ("polygon", "wanted run lengths or"),
        ([[1, 2, 3]], "pairs of numbers"),
        ([["a", "b"]], "polygons of numbers"),
        ([[1, 2], 5], "pairs of numbers"),
        ([[]] * 2000, "at most 1000 polygons"),
    ],
)
def test_hostile_outlines_are_refused_with_their_picture(tmp_path: Path, segmentation: object, words: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path, tree(person(id=5, iscrowd=1, segmentation=segmentation)))
    source = open_coco(str(tmp_path))
    with pytest.raises(RecordError, match=rf"a\.png: annotation 5: segmentation: .*{words}"):
        source[0]


def test_outlines_far_outside_cost_nothing() -> None:
    mask = segmentation_mask([[-1e15, -1e15, 1e15, -1e15, 1e15, 1e15, -1e15, 1e15]], (64, 48))
    assert mask.shape == (48, 64)
    assert mask.all()


def test_packed_run_lengths_are_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = cv2.resize(rng.integers(0, 2, (6, 7), dtype=np.uint8), (53, 41), interpolation=cv2.INTER_NEAREST)
        runs = coco_mask.encode(np.asfortranarray(mask))
        text = runs["counts"].decode()
        assert sum(unpack_runs(text, mask.size)) == mask.size
        np.testing.assert_array_equal(segmentation_mask({"size": [41, 53], "counts": text}, (53, 41)), mask == 1)


# ---- and back ------------------------------------------------------------------------------------------------


def test_records_become_coco_and_records_again(tmp_path: Path) -> None:
    records = [paint((96, 64), i, seed=i, ignored=i == 1) for i in range(3)]
    content = to_coco(records)
    for i, record in enumerate(records):
        cv2.imwrite(str(tmp_path / f"{i}.png"), record.image)
        content["images"][i]["file_name"] = f"{i}.png"
    write(tmp_path, content)
    source = open_coco(str(tmp_path))
    for i, record in enumerate(records):
        read = source[i]
        np.testing.assert_array_equal(read.image, record.image)
        np.testing.assert_allclose(read.keypoints, record.keypoints, atol=1e-3)
        np.testing.assert_allclose(read.boxes, record.boxes, atol=1e-2)
        np.testing.assert_allclose(read.areas, record.areas, atol=1e-2)
        assert (read.ignored is None) == (record.ignored is None)
        if record.ignored is not None:
            np.testing.assert_array_equal(read.ignored, record.ignored)


@pytest.mark.parametrize("name", ["coco17", "openpose18", "crowdpose14"])
def test_predictions_are_scored_on_records(name: str) -> None:
    skeleton = SKELETONS[name]
    record = paint((400, 400), 2, ignored=True, skeleton=skeleton)
    record.keypoints[0, 0] = 0
    content = to_coco([record])
    people = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    assert all(e["num_keypoints"] == sum(v > 0 for v in e["keypoints"][2::3]) > 0 for e in people)
    found = record.keypoints.copy()
    found[0, 0] = (np.nan, np.nan, 0)
    poses = Poses(found, np.array([0.9, 0.8], np.float32), skeleton)
    assert coco_ap(content, coco_results(1, poses)).ap == pytest.approx(100)
    assert coco_ap(content, coco_results(1, Poses(found[:1], poses.scores[:1], skeleton))).ap < 60


def test_a_prediction_where_all_is_ignored_is_not_held_against_anybody() -> None:
    record = paint((400, 400), 1, ignored=True)
    assert record.ignored is not None
    record.ignored[:] = False
    record.ignored[300:, 300:] = True
    ghost = record.keypoints[0].copy()
    ghost[:, :2] = 350 + ghost[:, :2] / 20
    found = np.stack([record.keypoints[0], ghost])
    poses = Poses(found, np.array([0.5, 0.9], np.float32), record.skeleton)
    assert coco_ap(to_coco([record]), coco_results(1, poses)).ap == pytest.approx(100)
    record.ignored[:] = False
    assert coco_ap(to_coco([record]), coco_results(1, poses)).ap == pytest.approx(50, abs=1)


def test_mixes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path, tree(person()))
    two = open_mix([f"coco:{tmp_path}@0.8", f"coco:{tmp_path}"])
    assert [share.weight for share in two] == [0.8, 1.0]
    with pytest.raises(ExportError, match="share 0, wanted a positive"):
        open_mix([f"coco:{tmp_path}@0"])
    with pytest.raises(ExportError, match="share nan, wanted a positive"):
        open_mix([f"coco:{tmp_path}@nan"])
    other = deepcopy(tree(person(keypoints=[0.0] * 42, num_keypoints=0)))
    other["categories"][0]["keypoints"] = list(SKELETONS["lsp14"].names)
    write(tmp_path / "other", other)
    picture(tmp_path / "other" / "a.png")
    with pytest.raises(ExportError, match="got skeletons coco17 and lsp14"):
        open_mix([f"coco:{tmp_path}", f"coco:{tmp_path / 'other'}"])
