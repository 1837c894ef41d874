import numpy as np
import pytest

import drawn
from pose_export.synthetic.labels import MIN_PIXELS, Figure, label
from pose_export.training.record import HIDDEN, NOT_LABELLED, VISIBLE

drawn.skip_without_opengl()

DEEP = 0.2
"""Metres from front to back of a person, who is a slab."""


@pytest.fixture(scope="module")
def renderer():
    yield from drawn.renderers()


def slab(owner, x, z, *, size=(0.5, 1.2), y=1.0, radius=0.06, points=None):
    """A person: a slab, and 17 keypoints in a column in its middle."""
    wide, tall = size
    if points is None:
        points = np.stack([np.full(17, x), np.linspace(y - 0.45 * tall, y + 0.45 * tall, 17), np.full(17, z)], axis=1)
    corners = np.array([[x + a * wide / 2, y + b * tall / 2, z] for a in (-1, 0, 1) for b in (-1, 0, 1)], np.float32)
    figure = Figure(
        owner=owner, keypoints=points.astype(np.float32), radii=np.full(17, radius, np.float32), outline=corners
    )
    return drawn.box((x, y, z), (wide, tall, DEEP), owner=owner), figure


def labelled(renderer, *people, things=(), view=None):
    view = view or drawn.camera()
    seen = renderer.render(view, [*(item for item, _ in people), *things], drawn.lamp(), None)
    return seen, label(view, seen, [figure for _, figure in people])


def test_boxes_and_areas_are_those_of_the_pixels(renderer):
    seen, labels = labelled(renderer, slab(1, -0.6, -3), slab(2, 0.5, -3.5))
    assert labels.ids.tolist() == [1, 2]
    assert labels.ignored is None
    for owner, box, area in zip(labels.ids, labels.boxes, labels.areas, strict=True):
        rows, columns = np.nonzero(seen.owner == owner)
        assert area == len(rows)
        x, y, width, height = box
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)


def test_keypoints_are_where_the_view_projects_them(renderer):
    person = slab(1, 0.1, -3)
    _, labels = labelled(renderer, person)
    pixels, _ = drawn.camera().project(person[1].keypoints)
    np.testing.assert_allclose(labels.keypoints[0, :, :2], pixels, atol=1e-3)
    assert (labels.keypoints[0, :, 2] == VISIBLE).all()


def test_hidden_by_another_person(renderer):
    """The lower half of one is behind somebody else."""
    near = slab(2, 0.0, -2, size=(0.4, 0.5), y=0.75)
    seen, labels = labelled(renderer, slab(1, 0, -3), near)
    far = labels.keypoints[labels.ids.tolist().index(1)]
    owner = seen.owner[np.round(far[:, 1]).astype(int), np.round(far[:, 0]).astype(int)]
    np.testing.assert_array_equal(far[:, 2], np.where(owner == 2, HIDDEN, VISIBLE))
    assert {HIDDEN, VISIBLE} <= set(far[:, 2])
    assert (labels.keypoints[labels.ids.tolist().index(2), :, 2] == VISIBLE).all()


def test_hidden_by_a_thing_however_close(renderer):
    _, labels = labelled(renderer, slab(1, 0, -3), things=[drawn.box((0, 0.65, -2.88), (0.6, 0.6, 0.02))])
    low = np.linspace(1 - 0.54, 1 + 0.54, 17) < 0.98
    np.testing.assert_array_equal(labels.keypoints[0, :, 2], np.where(low, HIDDEN, VISIBLE))


def test_hidden_by_the_own_body_only_where_it_is_thicker_than_flesh(renderer):
    far_side = np.stack([np.zeros(17), np.linspace(0.6, 1.4, 17), np.full(17, -3.5)], axis=1)
    far_side[:9, 2] = -3
    _, labels = labelled(renderer, slab(1, 0, -3, points=far_side))
    np.testing.assert_array_equal(labels.keypoints[0, :, 2], [VISIBLE] * 9 + [HIDDEN] * 8)


def test_outside_the_picture_is_not_labelled(renderer):
    _, labels = labelled(renderer, slab(1, 0, -1.2, size=(0.6, 2.4)))
    points = labels.keypoints[0]
    outside = points[:, 2] == NOT_LABELLED
    assert outside.any()
    assert not outside.all()
    assert not points[outside].any()
    assert (points[~outside, :2] >= -0.5).all()
    assert (points[~outside, :2] < 95.5).all()


def test_behind_the_camera_is_not_labelled(renderer):
    points = np.stack([np.zeros(17), np.full(17, 1.0), np.linspace(-3, 2, 17)], axis=1)
    _, labels = labelled(renderer, slab(1, 0, -3, points=points, radius=5))
    np.testing.assert_array_equal(labels.keypoints[0, :, 2] > 0, points[:, 2] < -0.05)


def test_who_is_tiny_is_ignored(renderer):
    seen, labels = labelled(renderer, slab(1, 0, -22))
    assert 0 < (seen.owner == 1).sum() < MIN_PIXELS
    assert len(labels.ids) == 0
    np.testing.assert_array_equal(labels.ignored, seen.owner == 1)


def test_of_whom_hardly_anything_shows_is_ignored(renderer):
    """Somebody large behind a wall, of whom a corner shows."""
    wall = drawn.box((0.02, 1, -2), (1.3, 3, 0.1))
    seen, labels = labelled(renderer, slab(1, 0, -2.4, size=(1.62, 2)), things=[wall])
    assert (seen.owner == 1).any()
    assert len(labels.ids) == 0
    assert labels.ignored is not None


def test_nobody(renderer):
    for people in ((), (slab(1, 0, 3),)):
        _, labels = labelled(renderer, *people)
        assert labels.keypoints.shape == (0, 17, 3)
        assert labels.boxes.shape == (0, 4)
        assert labels.areas.shape == labels.ids.shape == (0,)
        assert labels.ignored is None
