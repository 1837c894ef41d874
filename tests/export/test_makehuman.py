import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from pose_export.synthetic import body, dress, makehuman
from pose_export.synthetic.mesh import clip, normals_of, read_obj
from pose_export.synthetic.rig import BONES
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS

RIG = sorted({name for bone in BONES for name in (bone.name, bone.towards) if name})
HANGING = {"finger3-1.L": "wrist.L", "finger3-1.R": "wrist.R"}
GARMENT = """# a comment
name hat
obj_file hat.obj
x_scale 0 3 2.0
y_scale 0 3 2.0
z_scale 0 3 2.0
verts 0
material hat.mhmat
0 1 2 0.5 0.25 0.25 0.0 1.0 0.0
4
5   0 1   -0.5 1.0 0.5   0 0 0
delete_verts
3 - 5 7
9
"""
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole assets folder of 81 vertices: a triangle for every bone, and one each for tights and skirt."""
    rng = np.random.default_rng(0)
    places = rng.uniform(-5, 5, (len(RIG) + 2, 3))
    corners = places[:, None] + np.array([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]])
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in corners.reshape(-1, 3)]
    lines += ["vt 0 0", "vt 1 0", "vt 0 1"]
    for row in range(len(places)):
        lines += ["g body"] if row == 0 else []
        lines += [f"g helper-{'tights' if row == len(RIG) else 'skirt'}"] if row >= len(RIG) else []
        lines.append(f"f {3 * row + 1}/1 {3 * row + 2}/2 {3 * row + 3}/3")
    write(tmp_path / "base.obj", "\n".join(lines))
    parents = {bone.name: bone.parent for bone in BONES} | HANGING
    joints = {name: [3 * row, 3 * row + 1, 3 * row + 2] for row, name in enumerate(RIG)}
    bones = {name: {"head": name, "parent": parents[name], "extra": 1} for name in RIG}
    write(tmp_path / "rigs/default.mhskel", json.dumps({"joints": joints, "bones": bones, "version": 1}))
    weights = {name: [[vertex, 0.7] for vertex in vertices] for name, vertices in joints.items()}
    weights["root"] = weights["root"] + [[vertex, 3.0] for vertex in range(3 * len(RIG), 3 * len(places))]
    write(tmp_path / "rigs/default_weights.mhw", json.dumps({"weights": weights}))
    count = 3 * len(RIG) - 1
    write(tmp_path / "groups.json", json.dumps({"vertex_ranges": {"body": [[0, count]]}}))
    names = SKELETONS["coco17"].names
    points = [{"name": name, "vertices": [row, row + 1], "bone": "head"} for row, name in enumerate(names)]
    write(tmp_path / "coco17.json", json.dumps({"keypoints": points}))
    regions = [*makehuman.REGIONS, "toenails"]
    np.savez(tmp_path / "regions.npz", **{name: np.array([row]) for row, name in enumerate(regions)})
    moved = {"macrodetails/african-male-young#i": np.array([1], np.int32)}
    moved["macrodetails/african-male-young#d"] = np.ones((1, 3), np.float32)
    np.savez(tmp_path / "targets_macro.npz", **moved)
    np.savez(tmp_path / "targets_detail.npz", **{"nose/x#i": np.zeros(0, np.int32), "nose/x#d": np.zeros((0, 3))})
    write(tmp_path / "clothes/hat/hat.obj", TRIANGLE)
    write(tmp_path / "clothes/hat/hat.mhclo", GARMENT)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_obj_faces_become_triangles_and_seams_split(tmp_path):
    write(
        tmp_path / "a.obj",
        "g one\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt .5 .5\n"
        "f 1/1 2/2 3/3 4/4\ng two\nf 1/1 3/5 2/2\n",
    )
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.corners.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 1]]
    assert mesh.group_names == ("one", "two")
    assert mesh.groups.tolist() == [0, 0, 1]
    assert len(mesh.source) == 5  # corner 3 is drawn with two texture coordinates
    np.testing.assert_array_equal(mesh.source[mesh.triangles], mesh.corners)
    assert mesh.uv[mesh.triangles[2, 1]].tolist() == [0.5, 0.5]
    one = mesh.keep(mesh.groups == 0)
    assert len(one.source) == 4
    np.testing.assert_array_equal(normals_of(one.points, one.corners), [[0, 0, 1]] * 4)


def test_clip_cuts_along_the_line(tmp_path):
    write(tmp_path / "a.obj", TRIANGLE)
    mesh = read_obj(tmp_path / "a.obj")
    piece, ends, share = clip(mesh, np.array([0]), np.array([-1, 1, -3], np.float32))
    got = {tuple(point) for point in piece.points.round(3).tolist()}
    assert got == {(1, 0, 0), (0.5, 0, 0), (0.75, 0.25, 0)}
    between = mesh.points[ends[:, 0]] * (1 - share[:, None]) + mesh.points[ends[:, 1]] * share[:, None]
    np.testing.assert_allclose(between, piece.points)
    np.testing.assert_allclose(piece.uv, piece.points[piece.source][:, :2])
    rest, _, _ = clip(mesh, np.array([0]), np.array([1, -1, 3], np.float32))
    assert area(piece) + area(rest) == pytest.approx(0.5)
    assert (normals_of(rest.points, rest.corners)[:, 2] > 0.99).all()
    assert clip(mesh, np.array([0]), np.full(3, -1, np.float32)) is None


def area(mesh):
    a, b, c = (mesh.points[mesh.corners[:, i]] for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def test_assets_open(folder):
    assets = makehuman.open_assets(folder)
    np.testing.assert_allclose(assets.shares.sum(axis=1), 1, rtol=1e-5)
    row = RIG.index("finger3-1.L")
    assert assets.skinning.bones[3 * row, 0] == [bone.name for bone in BONES].index("wrist.L")
    hat = assets.garments["hat/top"]
    assert hat.hides.tolist() == [3, 4, 5, 7, 9]
    points = assets.base.points
    scale = abs(points[0] - points[3]) / 2
    first = points[0] * 0.5 + points[1] * 0.25 + points[2] * 0.25 + [0, scale[1], 0]
    np.testing.assert_allclose(hat.fit(points)[0], first, rtol=1e-5)
    np.testing.assert_allclose(hat.fit(points)[1], points[4])
    np.testing.assert_allclose(hat.fit(points)[2], points[5] * -0.5 + points[0] + points[1] * 0.5, atol=1e-5)
    character = body.build(assets, plain_shape(), dress.Outfit(garments=(hat,)))
    assert [surface.kind for surface in character.surfaces] == ["skin", "cloth"]


def plain_shape(**changes):
    values = {
        "male": 1.0, "age": 0.5, "african": 1.0, "asian": 0.0, "caucasian": 0.0, "muscle": 0.5, "weight": 0.5,
        "height": 0.5, "proportions": 0.5, "details": {},
    }  # fmt: skip
    return body.Shape(**(values | changes))


def test_target_weights_are_products(folder):
    weights = dict(body.target_weights(plain_shape(male=0.25, asian=0.5, african=0.5, age=0.75, muscle=0.75)))
    assert weights["macrodetails/african-female-old"] == pytest.approx(0.5 * 0.75 * 0.5)
    assert weights["macrodetails/universal-male-young-maxmuscle-averageweight"] == pytest.approx(0.25 * 0.5 * 0.5)
    races = sum(
        v for k, v in weights.items() if k.startswith(tuple(f"macrodetails/{r}-" for r in ("african", "asian")))
    )
    assert races == pytest.approx(1)
    child = dict(body.target_weights(plain_shape(age=body.CHILD)))
    assert child["macrodetails/african-male-child"] == pytest.approx(1, abs=1e-3)
    moved = body.morph(makehuman.open_assets(folder), plain_shape()) - read_obj(folder / "base.obj").points
    np.testing.assert_allclose(moved[1], 1)
    assert np.abs(moved).sum() == pytest.approx(3)


HOSTILE = [
    ("base.obj", "f 1/1 2/2 3/3", "f 1/1 2/2 999/3", "not there"),
    ("base.obj", "f 1/1 2/2 3/3", "f 1/1 2/2 0/3", "not there"),
    ("base.obj", "f 1/1 2/2 3/3", "f 1 2 3", "vertex/texture"),
    ("base.obj", "f 1/1 2/2 3/3", "f 1/1 2/2", "3 or 4 corners"),
    ("base.obj", "vt 0 0", "vt 0 nan", "sensible"),
    ("base.obj", "vt 0 0", "vt 0 1e30", "sensible"),
    ("base.obj", "vt 0 0", "vt 0 x", "vertex"),
    ("base.obj", "g helper-skirt", "g other", "helper-skirt"),
    ("groups.json", "[0, ", "[0, 9", "ranges"),
    ("groups.json", "body", "nobody", "no group body"),
    ("rigs/default.mhskel", '"root": {', '"toor": {', "root"),
    ("rigs/default.mhskel", '"parent": null', '"parent": 7', "parent"),
    ("rigs/default.mhskel", "[0, 1, 2]", "[0, 1, -2]", "joints"),
    ("rigs/default.mhskel", "[0, 1, 2]", "[0, 1, 2000]", "vertices"),
    ("rigs/default_weights.mhw", '{"weights": {', '{"weights": {"tail": [], ', "tail"),
    ("rigs/default_weights.mhw", "0.7", "-0.7", "weights"),
    ("coco17.json", "nose", "noes", "COCO"),
    ("coco17.json", '"bone": "head"', '"bone": "tail"', "tail"),
    ("clothes/hat/hat.mhclo", "obj_file hat.obj", "obj_file ../../hat.obj", "same folder"),
    ("clothes/hat/hat.mhclo", "obj_file hat.obj", "obj_file cap.obj", "no such file"),
    ("clothes/hat/hat.mhclo", "\n4\n", "\n", "2 vertices, but 3"),
    ("clothes/hat/hat.mhclo", "\n4\n", "\n4000\n", "vertices from 0"),
    ("clothes/hat/hat.mhclo", "\n4\n", "\n4 5\n", "1 or 9"),
    ("clothes/hat/hat.mhclo", "y_scale 0 3 2.0", "y_scale 0 3 0", "scale"),
    ("clothes/hat/hat.mhclo", "y_scale 0 3 2.0", "", "y_scale"),
    ("clothes/hat/hat.mhclo", "3 - 5 7", "3 - 5000 7", "delete_verts"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), HOSTILE)
def test_damaged_files_are_refused_by_name(folder, name, old, new, message):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ExportError, match=message) as error:
        makehuman.open_assets(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["base.obj", "groups.json", "regions.npz", "targets_macro.npz", "coco17.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ExportError, match=f"{name}: no such file"):
        makehuman.open_assets(folder)


def test_a_rig_in_a_circle_is_refused(folder):
    path = folder / "rigs/default.mhskel"
    rig = json.loads(path.read_text())
    for name, parent in (("a", "b"), ("b", "a")):
        rig["bones"][name] = {"head": "root", "parent": parent}
    path.write_text(json.dumps(rig))
    with pytest.raises(ExportError, match="does not hang on the root"):
        makehuman.open_assets(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a#i": np.array([0, 1]), "a#d": np.zeros((1, 3))},
        {"a#i": np.array([0, 99999]), "a#d": np.zeros((2, 3))},
        {"a#i": np.array([0]), "a#d": np.full((1, 3), np.inf)},
        {"a#i": np.array([0])},
        {"a#i": np.array([{}], dtype=object)},
    ],
)
def test_damaged_targets_are_refused(folder, arrays):
    np.savez(folder / "targets_detail.npz", **arrays)
    with pytest.raises(ExportError, match="targets_detail"):
        makehuman.open_assets(folder)


def test_damaged_bytes_are_refused(folder):
    """Wherever a byte is wrong: an error of ours, or arrays as good as before; never anything else."""
    path = folder / "regions.npz"
    whole = path.read_bytes()
    refused = []
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ExportError):
            makehuman.read_arrays(path)
            continue
        refused.append(place)
    assert len(refused) > 5
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match="cannot be read"):
        makehuman.read_arrays(path)
