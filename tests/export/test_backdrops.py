from __future__ import annotations

import logging
import pickle
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_export.synthetic.backdrop import DRAWN, ONLY_HELD_OUT, Backdrops
from pose_export.synthetic.backdrops import panorama
from pose_export.synthetic.backdrops.folder import Pictures
from pose_export.synthetic.backdrops.painter import Painter, _level
from pose_export.synthetic.backdrops.panorama import Panoramas, read_radiance
from pose_export.synthetic.backdrops.textures import _MAKERS, ramp, texture
from pose_export.synthetic.light import basis
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError, SourceError
from shared import shared

VIEW = View((96, 80), 80.0, -0.1, 1.5)
KINDS = [*DRAWN, *ONLY_HELD_OUT]
WHITE = (np.full((64, 64), 255, np.uint8),)
PLAIN = ramp((0, 0, 0), (255, 255, 255))


@pytest.fixture(scope="module")
def backdrops() -> Backdrops:
    return Backdrops(held_out=True)


@pytest.fixture
def panoramas(tmp_path) -> Path:
    """Nine panoramas: white sky, black ground, a red and bright spot ahead of column 3/4, 30 degrees up."""
    picture = np.zeros((256, 512, 3), np.uint8)
    picture[:128] = 200
    cv2.circle(picture, (384, 85), 6, (0, 0, 255), -1)
    radiance = np.full((9, 32, 64, 3), 0.05, np.float32)
    radiance[:, :16] = 0.5
    radiance[:, 10:11, 47:49] = 300.0
    for i in range(9):
        cv2.imwrite(str(tmp_path / f"p{i}.jpg"), picture)
    np.savez(tmp_path / "env_radiance.npz", names=np.array([f"p{i}" for i in range(9)]), radiance_rgb=radiance)
    return tmp_path


def edge_row(column: np.ndarray) -> float:
    """Where a column goes from bright to dark or back, with a part of a pixel."""
    values = column.astype(np.float64)
    middle = (values.max() + values.min()) / 2
    i = int(np.flatnonzero(np.diff(np.sign(values - middle)))[0])
    return i + (middle - values[i]) / (values[i + 1] - values[i])


# ---- camera


@pytest.mark.parametrize(("pitch", "size"), [(-0.3, (96, 80)), (0.0, (97, 81)), (0.2, (64, 128))])
def test_the_horizon_is_where_far_floor_is(pitch, size):
    view = View(size, 90.0, pitch, 1.7)
    pixels, depth = view.project(np.array([[0.0, 0.0, -1e7]]))
    assert depth[0] > 0
    assert pixels[0, 1] == pytest.approx(view.horizon, abs=1e-3)
    assert pixels[0, 0] == pytest.approx((size[0] - 1) / 2)


def test_rays_and_projection_agree():
    rays = VIEW.rays()
    for row, column in ((0, 0), (40, 50), (79, 95)):
        point = rays[row, column].astype(np.float64) * 3.7 + (0, VIEW.height, 0)
        pixels, _ = VIEW.project(point[None])
        np.testing.assert_allclose(pixels[0], (column, row), atol=1e-3)


def test_looking_up_lowers_the_horizon():
    assert View((64, 64), 60.0, 0.2, 1.5).horizon > 31.5 > View((64, 64), 60.0, -0.2, 1.5).horizon


# ---- painter


@pytest.mark.parametrize("pitch", [-0.35, -0.1, 0.12])
@pytest.mark.parametrize("turn", [0.0, 0.6])
def test_a_painted_floor_ends_at_the_horizon(pitch, turn):
    view = View((192, 160), 150.0, pitch, 1.5)
    painter = Painter(view, turn)
    painter.quad((-5000, 0, 5), (10000, 0, 0), (0, 0, -50000), WHITE, PLAIN)
    picture = cv2.resize(painter.picture, view.size_wh, interpolation=cv2.INTER_LINEAR)
    # Edges are painted up to one pixel of the coarse picture too wide, so that no gaps show.
    assert edge_row(picture[:, 96, 0]) == pytest.approx(view.horizon, abs=2)
    assert picture[-1].min() == 255


def test_a_painted_line_lies_where_the_view_projects_it():
    view = View((300, 300), 300.0, -0.2, 1.6)
    painter = Painter(view)
    painter.quad((-1, 0, -4), (2, 0, 0), (0, 0, -3), WHITE, PLAIN)
    picture = cv2.resize(painter.picture, view.size_wh, interpolation=cv2.INTER_LINEAR)[..., 0]
    corners, _ = view.project(np.array([[-1.0, 0, -4], [1, 0, -4], [1, 0, -7], [-1, 0, -7]]))
    wanted = np.zeros((300, 300), np.uint8)
    cv2.fillConvexPoly(wanted, np.rint(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    assert np.abs(picture.astype(float) - wanted).sum() < 0.06 * wanted.sum()


def test_what_is_behind_the_camera_is_not_painted():
    painter = Painter(VIEW)
    painter.quad((-1, 0, 2), (2, 0, 0), (0, 3, 0), WHITE, PLAIN)
    assert not painter.picture.any()
    assert not painter.sees((-1, 0, 2), (2, 0, 0), (0, 0, 1), 2.0)
    assert painter.sees((-1, 0, -5), (2, 0, 0), (0, 0, 1), 2.0)


def test_the_near_side_of_a_box_hides_the_far_one():
    painter = Painter(View((90, 90), 90.0, 0.0, 1.0))
    front = (np.full((8, 8, 3), (0, 0, 255), np.uint8),)
    painter.cuboid((-0.5, 0, -5), (1, 0, 0), (0, 0, 1), 2.0, WHITE, PLAIN, front=(front, None))
    assert painter.picture[painter.picture.shape[0] // 2, painter.picture.shape[1] // 2].tolist() == [0, 0, 255]


@pytest.mark.parametrize("name", _MAKERS)
def test_textures_have_contrast_and_all_sizes(name):
    levels = texture(np.random.default_rng(0), name)
    assert levels[0].dtype == np.uint8
    assert levels[0].std() > 1
    assert [level.shape[0] for level in levels] == [256, 128, 64, 32, 16, 8]


# ---- all kinds


@pytest.mark.parametrize("kind", KINDS)
def test_a_backdrop_is_a_picture_with_light(backdrops, kind):
    for seed in range(3):
        shown = backdrops.draw(np.random.default_rng(seed), VIEW, kind=kind)
        assert (shown.image.shape, shown.image.dtype) == ((80, 96, 3), np.uint8)
        assert shown.light.ambient.shape == (9, 3)
        assert np.linalg.norm(shown.light.direction) == pytest.approx(1, abs=1e-5)
        assert 0 <= shown.light.hardness <= 1
        up = shown.light.shade(np.array([[0, 1, 0], [0, 0, 1]], np.float32))
        assert np.isfinite(up).all()
        assert 0.05 < up.mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_backdrop(backdrops, kind):
    first = backdrops.draw(np.random.default_rng(7), VIEW, kind=kind)
    backdrops.draw(np.random.default_rng(1), VIEW, kind="room")  # what came between does not matter
    again = Backdrops(held_out=True).draw(np.random.default_rng(7), VIEW, kind=kind)
    other = backdrops.draw(np.random.default_rng(8), VIEW, kind=kind)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.light.ambient, again.light.ambient)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("size", [(33, 97), (161, 40), (8, 8)])
def test_odd_sizes(backdrops, size):
    for kind in KINDS:
        image = backdrops.draw(np.random.default_rng(3), View(size, 60.0, -0.5, 0.4), kind=kind).image
        assert image.shape == (size[1], size[0], 3)


def test_a_view_far_up_or_down_is_painted(backdrops):
    for pitch in (-1.2, 0.9):
        for kind in KINDS:
            backdrops.draw(np.random.default_rng(4), View((64, 64), 50.0, pitch, 1.5), kind=kind)


def test_validation_sees_a_kind_that_training_does_not(backdrops):
    training = Backdrops()
    assert set(backdrops.shares) - set(training.shares) == set(ONLY_HELD_OUT)
    assert sum(training.shares.values()) == pytest.approx(1)
    with pytest.raises(ExportError, match="'hall': no such kind here; there are room, "):
        training.draw(np.random.default_rng(0), VIEW, kind="hall")


# ---- panoramas


def test_a_panorama_s_horizon_is_the_view_s(panoramas):
    source = Panoramas(panoramas)
    for pitch in (-0.3, 0.0, 0.2):
        view = View((192, 192), 150.0, pitch, 1.5)
        image = source.draw(np.random.default_rng(2), view, 4.0).image
        assert edge_row(image[:, 3:9, 1].mean(axis=1)) == pytest.approx(view.horizon, abs=3)


def test_the_lamp_is_seen_where_the_light_comes_from(panoramas):
    """Whatever the yaw and the mirror: the red spot lies where the light's direction projects to."""
    source, view, seen = Panoramas(panoramas), View((256, 256), 128.0, 0.3, 1.5), 0
    for seed in range(40):
        shown = source.draw(np.random.default_rng(seed), view, 4.0)
        pixels, depth = view.project((shown.light.direction.astype(np.float64) * 100 + (0, view.height, 0))[None])
        x, y = pixels[0]
        if depth[0] <= 0 or not (12 < x < 244 and 12 < y < 244):
            continue
        seen += 1
        image = shown.image.astype(int)
        red = (image[..., 2] > 150) & (image[..., 1] < 110)
        rows, columns = np.nonzero(red)
        assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=8)
    assert seen >= 5


def test_training_and_validation_share_no_panorama(panoramas):
    training, validation = Panoramas(panoramas), Panoramas(panoramas, wanted_held_out=True)
    assert [file.stem for file in validation.files] == ["p7"]
    assert not set(training.files) & set(validation.files)
    assert len(training.files) == 8


def test_light_of_the_same_panorama_turns_with_it(panoramas):
    lights = [Panoramas(panoramas).draw(np.random.default_rng(seed), VIEW, 4.0).light for seed in range(8)]
    assert len({tuple(np.round(light.direction, 3)) for light in lights}) == 8
    assert all(light.direction[1] == pytest.approx(0.5, abs=0.06) for light in lights)


def test_real_panoramas_light_people_within_reason():
    folder = shared("assets", "backgrounds")
    source = Panoramas(folder)
    normals = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32)
    for seed in range(12):
        shown = source.draw(np.random.default_rng(seed), VIEW, 4.0)
        assert 0.03 < shown.light.shade(normals).mean() < 4
        assert (basis(normals) @ shown.light.ambient).min() > -0.2


def write_npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


GOOD = np.ones((2, 4, 8, 3), np.float32)
NAMES = np.array(["a", "b"])
BAD = [
    ({"names": NAMES}, "radiance_rgb"),
    ({"names": NAMES, "radiance_rgb": GOOD[:1]}, "got names"),
    ({"names": NAMES, "radiance_rgb": GOOD[..., :2]}, "got names"),
    ({"names": NAMES, "radiance_rgb": GOOD.astype(int)}, "got names"),
    ({"names": np.arange(2), "radiance_rgb": GOOD}, "got names"),
    ({"names": NAMES, "radiance_rgb": GOOD * np.nan}, "negative or no numbers"),
    ({"names": NAMES, "radiance_rgb": -GOOD}, "negative or no numbers"),
]


@pytest.mark.parametrize(("arrays", "message"), BAD)
def test_radiance_of_another_form_is_refused(tmp_path, arrays, message):
    with pytest.raises(ExportError, match=message):
        read_radiance(write_npz(tmp_path / "e.npz", **arrays))


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/jetpose-must-not-run"),))


def test_pickled_radiance_is_not_run(tmp_path):
    hostile = np.empty(2, object)
    hostile[:] = [Bomb(), Bomb()]
    path = tmp_path / "e.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("names", "radiance_rgb"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, hostile, allow_pickle=True)
    assert pickle.dumps(Bomb())
    with pytest.raises(ExportError, match="cannot read the light"):
        read_radiance(path)
    assert not Path("/tmp/jetpose-must-not-run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY\x01\x00"])
def test_a_damaged_npz_is_named(tmp_path, content):
    path = tmp_path / "env_radiance.npz"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"env_radiance\.npz: cannot read the light"):
        read_radiance(path)


def test_a_truncated_npz_is_named(tmp_path):
    path = write_npz(tmp_path / "e.npz", names=NAMES, radiance_rgb=GOOD)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ExportError, match=r"e\.npz"):
        read_radiance(path)


def test_a_huge_npz_is_not_unpacked(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "e.npz", names=NAMES, radiance_rgb=GOOD)
    monkeypatch.setattr(panorama, "_MAX_BYTES", 500)
    with pytest.raises(ExportError, match="bytes unpacked, wanted at most 500"):
        read_radiance(path)


def test_panoramas_without_their_light_are_refused(panoramas):
    write_npz(panoramas / "env_radiance.npz", names=np.array(["x"]), radiance_rgb=GOOD[:1])
    with pytest.raises(ExportError, match="no panorama has its light"):
        Panoramas(panoramas)


# ---- the user's own pictures


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30 + i, 50, 3), 20 * i + 10, np.uint8))
    return tmp_path


def test_a_damaged_picture_is_named_and_skipped(folder, caplog):
    for i in range(1, 10):
        (folder / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    source = Pictures(folder)
    with caplog.at_level(logging.WARNING):
        for seed in range(6):
            image = source.draw(np.random.default_rng(seed), VIEW, 4.0).image
            assert image.shape == (80, 96, 3)
            assert (image == 10).all()
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == len(set(named)) > 0
    assert all(".png: cannot read the image" in message for message in named)


def test_a_folder_of_damaged_pictures_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ExportError, match="none of the 1 images can be read"):
        Pictures(tmp_path).draw(np.random.default_rng(0), VIEW, 4.0)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no images"):
        Backdrops(folder=tmp_path)


def test_training_and_validation_share_no_picture(folder):
    training, validation = Pictures(folder), Pictures(folder, wanted_held_out=True)
    assert [file.name for file in validation.files] == ["7.png"]
    assert len(training.files) == 9
    assert not set(training.files) & set(validation.files)


def test_few_pictures_are_all_for_training(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
    assert "folder" in Backdrops(folder=tmp_path).shares
    assert "folder" not in Backdrops(folder=tmp_path, held_out=True).shares


def test_own_pictures_keep_their_shape(tmp_path):
    picture = np.zeros((300, 900, 3), np.uint8)
    cv2.circle(picture, (450, 150), 60, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    for seed in range(20):
        image = Pictures(tmp_path).draw(np.random.default_rng(seed), View((96, 96), 90.0, 0, 1.5), 4.0).image
        rows, columns = np.nonzero(image[..., 0] > 127)
        inside = len(rows) and rows.min() > 0 and rows.max() < 95 and columns.min() > 0 and columns.max() < 95
        if inside:
            assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)
            return
    pytest.fail("no cut shows the circle")


def test_a_plane_seen_at_its_horizon_takes_the_smallest_texture() -> None:
    """There a pixel covers texels without bounds; off it, about as many as the map says."""
    sizes = tuple(np.zeros((64 >> level, 64 >> level), np.uint8) for level in range(6))
    box = (slice(0, 10), slice(0, 10))
    plane = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, -5.0))  # w is 0 in the middle of the box
    assert _level(plane, box, sizes, (1e6, 1e6)) == 5
    assert _level(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 32.0)), box, sizes, (1.0, 1.0)) == 1
