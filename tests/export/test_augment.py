from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from painted import distance_to_dot, paint
from pose_export.training import photometric as light
from pose_export.training.affine import move_boxes, warp
from pose_export.training.augment import Augmentation, Augmenter, augment, mosaic, random_view
from pose_export.training.crop import CropAugmentation, CropAugmenter, augment_crop, crop_person, resize_only
from pose_export.training.photometric import Photometric, occlude, photometric
from pose_export.training.record import Record
from pose_runtime.errors import ExportError
from pose_runtime.frame import Frame
from pose_runtime.geometry import Crop, ShortSide, Stretch, plan
from pose_runtime.preprocess import preprocess

PLAIN = Photometric(colour=0, blur=0, noise=0, jpeg=0, occluders=0)


def turned(degrees: float, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    sin, cos = scale * math.sin(math.radians(degrees)), scale * math.cos(math.radians(degrees))
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def mirror(width: int) -> np.ndarray:
    return np.array([[-1.0, 0, width - 1], [0, 1, 0]])


# ---- affine --------------------------------------------------------------------------------------------------


def test_known_points() -> None:
    record = paint((100, 80), 1)
    record.keypoints[0, 0] = (10, 20, 2)
    moved = warp(record, np.array([[2.0, 0, 3], [0, 3, -5]]), (300, 300))
    assert moved.keypoints[0, 0].tolist() == [23, 55, 2]
    assert moved.image.shape == (300, 300, 3)
    assert moved.areas[0] == pytest.approx(6 * record.areas[0])


def test_the_identity_changes_nothing() -> None:
    record = paint(ignored=True)
    same = warp(record, np.eye(2, 3), (320, 240))
    for name in ("image", "keypoints", "ignored", "ids"):
        np.testing.assert_array_equal(getattr(same, name), getattr(record, name))
    np.testing.assert_allclose(same.boxes, record.boxes, atol=1e-3)
    np.testing.assert_allclose(same.areas, record.areas, rtol=1e-5)


def test_a_mirror_moves_pixels_and_labels_alike_and_swaps_pairs() -> None:
    record = paint(ignored=True)
    record.keypoints[0, 5] = (0, 0, 0)  # the left shoulder is not labelled
    flipped = warp(record, mirror(320), (320, 240))
    np.testing.assert_array_equal(flipped.image, record.image[:, ::-1])
    assert record.ignored is not None
    np.testing.assert_array_equal(flipped.ignored, record.ignored[:, ::-1])
    index = list(record.skeleton.flip_index)
    expected = record.keypoints[:, index].copy()
    expected[..., 0] = np.where(expected[..., 2] > 0, 319 - expected[..., 0], 0)
    np.testing.assert_array_equal(flipped.keypoints, expected)
    assert flipped.keypoints[0, 6].tolist() == [0, 0, 0]
    again = warp(flipped, mirror(320), (320, 240))
    np.testing.assert_array_equal(again.image, record.image)
    np.testing.assert_array_equal(again.keypoints, record.keypoints)
    np.testing.assert_allclose(again.boxes, record.boxes, atol=1e-3)


def test_a_box_follows_exactly_where_its_sides_stay_upright() -> None:
    boxes = np.array([[10, 20, 30, 50]], np.float32)
    nothing = np.zeros((1, 17, 3), np.float32)
    corner = turned(90, shift=(99, 0))  # x' = 99 - y, y' = x: a picture 100 pixels high
    np.testing.assert_allclose(move_boxes(boxes, nothing, corner), [[30, 10, 50, 30]], atol=1e-4)
    np.testing.assert_allclose(move_boxes(boxes, nothing, mirror(100)), [[60, 20, 30, 50]], atol=1e-4)
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])  # as a resize does it
    np.testing.assert_allclose(move_boxes(boxes, nothing, half), [[5, 10, 15, 25]], atol=1e-4)


def test_a_box_holds_the_labelled_joints_however_it_turns() -> None:
    record = paint((200, 200), 1)
    record.keypoints[0, 3, :2] = record.boxes[0, :2]  # in the corner, outside of the ellipse
    for degrees in range(0, 360, 15):
        matrix = turned(degrees)
        matrix[:, 2] = 100 - matrix[:, :2] @ (100, 100)
        moved = warp(record, matrix, (200, 200))
        xy = moved.keypoints[0][moved.keypoints[0, :, 2] > 0, :2]
        x, y, w, h = moved.boxes[0]
        assert (xy + 0.5 >= (x - 1e-3, y - 1e-3)).all()
        assert (xy + 0.5 <= (x + w + 1e-3, y + h + 1e-3)).all()


def test_joints_that_leave_are_not_labelled_and_people_who_leave_are_ignored() -> None:
    record = paint((320, 240), 2)
    record.keypoints[1, :, 2] = 0
    record.keypoints[1, 0] = (300, 120, 1)
    moved = warp(record, np.array([[1.0, 0, -60], [0, 1, 0]]), (200, 240))
    assert moved.ids.tolist() == [10]
    gone = record.keypoints[0, :, 0] < 59.5
    assert gone.any()
    assert not moved.keypoints[0, gone].any()
    assert (moved.keypoints[0, ~gone, 2] == 2).all()
    x, _, w, _ = moved.boxes[0]
    assert x == 0
    assert moved.areas[0] < record.areas[0]
    assert moved.ignored is not None
    assert not moved.ignored[:, : int(x + w)].any()
    assert moved.ignored[120, 199]


@pytest.mark.parametrize(("shift", "people"), [(-0.4, 1), (-0.6, 0)])
def test_the_edge_of_the_picture_is_half_a_pixel_from_the_first_centre(shift: float, people: int) -> None:
    record = paint((64, 64), 1)
    record.keypoints[0, :, 2] = 0
    record.keypoints[0, 0] = (0, 30, 2)
    assert len(warp(record, np.array([[1.0, 0, shift], [0, 1, 0]]), (64, 64)).ids) == people


def test_the_small_and_the_cut_off_are_ignored() -> None:
    record = paint((320, 240), 2)
    assert len(warp(record, turned(0, 0.1), (32, 24), smallest=30).ids) == 0
    cut = np.array([[1.0, 0, -150], [0, 1, 0]])
    record.keypoints[0, 0] = (152, 100, 2)  # one joint of the first person stays
    assert warp(record, cut, (170, 240), least_share=0.01).ids.tolist() == [10, 11]
    less = warp(record, cut, (170, 240), least_share=0.3)
    assert less.ids.tolist() == [11]
    assert less.ignored is not None


def test_nobody_stays_nobody() -> None:
    view = augment(paint(people=0), Augmentation(), np.random.default_rng(0))
    assert view.keypoints.shape == (0, 17, 3)
    assert view.boxes.shape == (0, 4)


def test_a_map_that_cannot_be_inverted_is_refused() -> None:
    with pytest.raises(ExportError, match="determinant 0"):
        warp(paint(), np.zeros((2, 3)), (10, 10))


def test_shrinking_averages() -> None:
    record = paint((128, 128), 0)
    rows = np.indices((128, 128)).sum(axis=0) % 2 * 255  # a chess board of single pixels
    record = replace(record, image=np.repeat(rows[..., None], 3, axis=2).astype(np.uint8))
    small = warp(record, turned(10, 0.25, (8, 2)), (24, 24)).image
    assert abs(small[8:16, 8:16].astype(int) - 127).max() <= 2


# ---- random views --------------------------------------------------------------------------------------------


def check_dots(record: Record, mirrored: bool | None, spread: float) -> int:
    """Every labelled keypoint away from the edge has its dot; how many there were."""
    height, width = record.image.shape[:2]
    seen = 0
    names = record.skeleton.names
    for i, person in enumerate(record.keypoints):
        for j, (x, y, v) in enumerate(person):
            margin = 2.5 * spread
            if v == 0 or not (margin < x < width - margin and margin < y < height - margin):
                continue
            name = names[record.skeleton.flip_index[j]] if mirrored else names[j]
            assert distance_to_dot(record, i, j, margin, name) < 0.25
            seen += 1
    return seen


def test_the_dots_are_where_the_keypoints_say() -> None:
    settings = Augmentation(
        size_wh=(160, 128), any_rotation=0.3, black=1, flip=0, smallest=0, person=(60, 300), stretch=0.05
    )
    record, rng = paint((480, 320), 1, spread=5), np.random.default_rng(3)
    box = record.boxes[0, 2:].max()
    seen = 0
    for mirrored in (False, True):
        for _ in range(12):
            view = random_view(record, msgspec.structs.replace(settings, flip=float(mirrored)), rng)
            if len(view.ids):
                scale = math.sqrt(view.areas[0] / record.areas[0] + 1e-9)
                assert view.boxes[0, 2:].max() <= 1.6 * box
                seen += check_dots(view, mirrored, 5 * max(scale, 0.3))
    assert seen > 100


def test_views_are_as_large_as_asked_for() -> None:
    record = paint((640, 480), 1)
    settings = Augmentation(size_wh=(256, 256), person=(100, 120), upright=1, any_rotation=0, least_fill=0.01)
    rng = np.random.default_rng(0)
    for _ in range(10):
        view = random_view(record, settings, rng)
        (_, _, w, h) = view.boxes[0]
        assert 80 < max(w, h) < 130


def test_views_show_no_more_surroundings_than_they_must() -> None:
    record = paint((640, 480), 2)
    record.image[:] = 200
    settings = Augmentation(upright=1, any_rotation=0, least_fill=2, slack=0, stretch=0, black=1, person=(1.0, 2.0))
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert random_view(record, settings, rng).image.min() == 200
    small = msgspec.structs.replace(settings, least_fill=0.5)
    for _ in range(30):
        image = random_view(record, small, rng).image
        shown = np.argwhere(image[..., 0] > 100)
        height, width = np.ptp(shown, axis=0) + 1  # the whole picture, at half of what fits
        assert (abs(width - 128), abs(height - 96)) <= (1, 1)


def test_the_same_seed_gives_the_same_view_and_another_another() -> None:
    record = paint(ignored=True)
    prepare = Augmenter(Augmentation(mosaic=0.5))
    for seed in range(4):
        a, b = (prepare(record, lambda: paint(seed=5), np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert (a.image != prepare(record, lambda: paint(seed=5), np.random.default_rng(99)).image).any()


def test_the_input_stays_as_it_was() -> None:
    record = paint(ignored=True)
    before = {name: np.copy(getattr(record, name)) for name in ("image", "keypoints", "boxes", "areas", "ignored")}
    settings = Augmentation(photometric=Photometric(occluders=1, jpeg=1, blur=1, noise=1))
    for seed in range(5):
        augment(record, settings, np.random.default_rng(seed))
        resize_only(record, (64, 64))
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(record, name), value)


def test_a_mosaic_holds_everybody_at_their_dots() -> None:
    settings = Augmentation(
        size_wh=(256, 256),
        upright=1,
        any_rotation=0,
        flip=0,
        black=1,
        smallest=0,
        person=(200, 220),
        least_fill=1,
        photometric=PLAIN,
    )
    records = tuple(paint((240, 240), 1, seed=seed, spread=5, ignored=seed == 2) for seed in range(4))
    joined = mosaic(records, settings, np.random.default_rng(1))  # type: ignore[arg-type]
    assert joined.image.shape == (256, 256, 3)
    assert joined.ids.tolist() == [0, 1, 2, 3]
    assert len(joined.boxes) == len(joined.areas) == len(joined.keypoints) == 4
    assert joined.name.count("painted") == 4
    assert (joined.keypoints[..., :2] < 256).all()
    hits = 0
    for person in range(4):
        for joint, name in enumerate(records[0].skeleton.names):
            if joined.keypoints[person, joint, 2]:
                hits += distance_to_dot(joined, person, joint, 5, name) < 1
    assert hits >= 0.7 * (joined.keypoints[..., 2] > 0).sum()  # dots at the seams are cut


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"person: got 300\.0 to 30\.0"):
        msgspec.convert({"person": [300.0, 30.0]}, Augmentation)
    with pytest.raises(msgspec.ValidationError, match="jpeg_quality: got 90 to 10"):
        msgspec.convert({"photometric": {"jpeg_quality": [90, 10]}}, Augmentation)
    with pytest.raises(msgspec.ValidationError, match=r"<= 1.*flip"):
        msgspec.convert({"flip": 1.5}, Augmentation)


# ---- light, and things in front ------------------------------------------------------------------------------


def test_colours() -> None:
    np.testing.assert_allclose(light.colour_matrix(1, 0), np.eye(3), atol=1e-12)
    for saturation, hue in ((0.5, 30), (1.5, -40), (0, 10)):  # grey stays grey
        np.testing.assert_allclose(light.colour_matrix(saturation, hue) @ [90, 90, 90], [90, 90, 90])
    blue, green, red = light.colour_matrix(1, 120) @ [0, 0, 255]
    assert sorted((round(blue), round(green), round(red))) == [0, 0, 255]
    assert round(red) == 0
    assert np.ptp(light.colour_matrix(0, 0) @ [10, 200, 90]) < 1e-9


def test_each_change_changes_pixels_and_only_them() -> None:
    record = paint()
    for name in ("colour", "blur", "noise", "jpeg"):
        settings = msgspec.structs.replace(PLAIN, **{name: 1.0})
        changed = photometric(record.image, settings, np.random.default_rng(0))
        assert changed.shape == record.image.shape
        assert changed.dtype == np.uint8
        assert (changed != record.image).any(), name
    np.testing.assert_array_equal(photometric(record.image, PLAIN, np.random.default_rng(0)), record.image)


def test_blurs_do_not_move_the_picture() -> None:
    record = paint((101, 101), 0)
    record.image[50, 50] = 255
    ys, xs = np.mgrid[:101, :101]
    for seed in range(10):
        blurred = photometric(record.image, msgspec.structs.replace(PLAIN, blur=1.0), np.random.default_rng(seed))
        weight = blurred[..., 0].astype(float)
        assert abs((weight * xs).sum() / weight.sum() - 50) < 0.15
        assert abs((weight * ys).sum() / weight.sum() - 50) < 0.15


def test_noise_is_normal() -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    noise = light._add_noise(image, 10, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.1
    assert 9.5 < noise.std() < 10.2
    assert 0.66 < (np.abs(noise) <= 10).mean() < 0.73


def test_joints_behind_something_are_hidden() -> None:
    record = paint((200, 200), 1)
    settings = msgspec.structs.replace(PLAIN, occluders=1.0, occluder_sides=(0.3, 0.4))
    hidden = 0
    for seed in range(10):
        view = occlude(record, settings, np.random.default_rng(seed))
        covered = (view.image != record.image).any(axis=2)
        for joint in np.flatnonzero(view.keypoints[0, :, 2] == 1) if len(view.ids) else ():
            x, y = view.keypoints[0, joint, :2].astype(int)
            assert covered[y, x]
            hidden += 1
    assert hidden > 5


def test_somebody_wholly_behind_something_is_ignored() -> None:
    record = paint((200, 200), 1)
    record.keypoints[0, 1:] = 0
    settings = msgspec.structs.replace(PLAIN, occluders=1.0, occluder_sides=(1.0, 1.0))
    view = occlude(record, settings, np.random.default_rng(0))
    assert len(view.ids) == 0
    assert view.ignored is not None
    x, y, w, h = record.boxes[0]
    assert view.ignored[int(y + h / 2), int(x + w / 2)]
    assert view.ignored.mean() == pytest.approx(w * h / 200**2, abs=0.02)


# ---- the runtime's views -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "size_wh"),
    [
        (None, (160, 160)),
        (Stretch(interpolation="bilinear", round_pixels=True), (160, 200)),
        (ShortSide(base=128, round_pixels=True), (0, 0)),
    ],
)
def test_a_validation_view_is_what_the_runtime_shows(rule: Stretch | ShortSide | None, size_wh: tuple) -> None:
    record = paint((320, 240), 2, spread=6, ignored=True)
    view = resize_only(record, size_wh) if rule is None else resize_only(record, size_wh, rule)
    scale = view.image.shape[1] / 320
    assert check_dots(view, False, 6 * scale) > 20
    assert len(view.ids) == 2
    assert view.ignored is not None


def test_a_validation_view_finds_back() -> None:
    record = paint((321, 243), 1)
    view = resize_only(record, (96, 128))
    from pose_export.training.crop import LETTERBOX

    geometry = plan(LETTERBOX, (321, 243), (96, 128))
    back = view.keypoints.copy()
    geometry.to_source(back, "centre")
    np.testing.assert_allclose(back, record.keypoints, atol=1e-3)


def test_a_crop_is_what_the_runtime_shows() -> None:
    record, rule = paint((320, 240), 2, spread=3), Crop(enlarge=1.25, convention="udp", round_pixels=True)
    crop = crop_person(record, 1, (96, 128), rule)
    assert crop.ids.tolist() == [11]
    assert check_dots(crop, False, 3) > 5
    geometry = plan(rule, (320, 240), (96, 128), tuple(float(value) for value in record.boxes[1]))
    expected = np.empty((3, 128, 96), np.float32)
    frame = Frame.from_image(record.image)
    preprocess(frame, geometry, colour="bgr", mean=(0, 0, 0), std=(1, 1, 1), out=expected)
    np.testing.assert_array_equal(crop.image.transpose(2, 0, 1), expected)


def test_random_crops_keep_their_person() -> None:
    record = paint((320, 240), 2, spread=4)
    settings = CropAugmentation(size_wh=(96, 128), photometric=PLAIN)
    rng = np.random.default_rng(0)
    for mirrored in (0.0, 1.0):
        for _ in range(5):
            crop = augment_crop(record, 0, msgspec.structs.replace(settings, flip=mirrored), rng)
            assert crop.image.shape == (128, 96, 3)
            assert crop.ids.tolist() == [10]
            assert check_dots(crop, bool(mirrored), 3) > 0


def test_a_crop_of_which_nothing_is_random_is_the_runtimes_and_its_mirror_the_mirror() -> None:
    record = paint((320, 240), 2, spread=4)
    plain = CropAugmentation(size_wh=(96, 128), photometric=PLAIN, scale=0, rotate=0, shift=0, flip=0)
    expected = crop_person(record, 1, (96, 128), plain.rule)
    crop = augment_crop(record, 1, plain, np.random.default_rng(0))
    np.testing.assert_allclose(crop.keypoints, expected.keypoints, atol=1e-3)
    assert abs(crop.image.astype(int) - expected.image).max() <= 6  # OpenCV samples at 1/32 of a pixel
    mirrored = augment_crop(record, 1, msgspec.structs.replace(plain, flip=1.0), np.random.default_rng(0))
    assert abs(mirrored.image[:, ::-1].astype(int) - expected.image).max() <= 6
    seen = expected.keypoints[:, list(record.skeleton.flip_index)]
    seen[..., 0] = np.where(seen[..., 2] > 0, 95 - seen[..., 0], 0)
    np.testing.assert_allclose(mirrored.keypoints, seen, atol=1e-3)


def test_crops_pass_over_empty_pictures() -> None:
    prepare = CropAugmenter(CropAugmentation())
    crop = prepare(paint(people=0), lambda: paint(seed=7), np.random.default_rng(0))
    assert crop.name.startswith("painted 7, person 1")
    with pytest.raises(ExportError, match="nobody to crop"):
        prepare(paint(people=0), lambda: paint(people=0), np.random.default_rng(0))
