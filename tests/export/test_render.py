import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drawn
from pose_export.synthetic.coarse import LEVELS, coarser, level_for
from pose_export.synthetic.darkroom import crevices, srgb
from pose_export.synthetic.looks import FABRICS, MATERIALS, Look, parts_of
from pose_export.synthetic.render import MAX_PARTS, THING, Floor, Renderer
from pose_export.synthetic.shapes import blob, block, surface
from pose_export.synthetic.simple_body import simple_character
from pose_export.synthetic.surface import Surface

drawn.skip_without_opengl()


@pytest.fixture(scope="module")
def renderer():
    yield from drawn.renderers()


def picture(renderer, *boxes, view=None, light=None, floor=None):
    return renderer.render(view or drawn.camera(renderer.size_wh), list(boxes), light or drawn.lamp(), floor)


def extent(mask):
    """Left, top, right, bottom of what is set, centres of pixels."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], float)


def centroid(weights):
    """x, y, pixels."""
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return (x * weights).sum() / weights.sum(), (y * weights).sum() / weights.sum()


# ---- where things appear


@pytest.mark.parametrize("pitch", [0.0, -0.3])
@pytest.mark.parametrize("place", [(0.0, 1.0, -3.0), (-0.8, 1.5, -3.5), (0.9, 0.3, -4.0)])
def test_a_small_box_is_drawn_where_the_view_projects_it(renderer, place, pitch):
    view = drawn.camera(pitch=pitch)
    seen = picture(renderer, drawn.box(place, (0.3, 0.3, 0.02), owner=1), view=view)
    (middle,), _ = view.project(np.array([place]))
    np.testing.assert_allclose(centroid(seen.colour[:, :, 3]), middle, atol=0.3)
    np.testing.assert_allclose(centroid(seen.owner == 1), middle, atol=0.8)


def test_the_corners_of_a_box(renderer):
    view = drawn.camera()
    seen = picture(renderer, drawn.box((0.2, 1.1, -3.0), (1.0, 0.6, 0.001), owner=1), view=view)
    corners, _ = view.project(np.array([[-0.3, 1.4, -3.0], [0.7, 0.8, -3.0]]))
    left, top, right, bottom = extent(seen.owner == 1)
    np.testing.assert_allclose((left - 0.5, top - 0.5), corners[0], atol=0.8)
    np.testing.assert_allclose((right + 0.5, bottom + 0.5), corners[1], atol=0.8)
    assert (seen.colour[round(top) + 1 : round(bottom), round(left) + 1 : round(right), 3] == 1).all()
    assert not seen.colour[seen.owner == 0][:, 3].all()


@pytest.mark.parametrize("size_wh", [(65, 97), (97, 33), (32, 128)])
def test_pictures_may_be_odd_and_oblong(size_wh):
    view = drawn.camera(size_wh)
    for renderer in drawn.renderers(size_wh):
        seen = picture(renderer, drawn.box((0.1, 1.05, -3.0), (0.3, 0.3, 0.01), owner=1), view=view)
    assert seen.owner.shape == seen.depth.shape == seen.colour.shape[:2] == size_wh[::-1]
    (middle,), _ = view.project(np.array([[0.1, 1.05, -3.0]]))
    np.testing.assert_allclose(centroid(seen.colour[:, :, 3]), middle, atol=0.3)
    np.testing.assert_allclose(centroid(seen.owner == 1), middle, atol=0.8)


@pytest.mark.parametrize("metres", [0.6, 3.0, 20.0])
def test_depth_is_in_metres(renderer, metres):
    side = 0.5 * metres
    seen = picture(renderer, drawn.box((0, 1, -metres - 0.05), (side, side, 0.1), owner=1))
    np.testing.assert_allclose(seen.depth[seen.owner == 1], metres, rtol=0.01)
    assert np.isinf(seen.depth[seen.owner == 0]).all()


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearer_one_hides_the_further_one(renderer, order):
    near, far = drawn.box((0, 1, -2), (0.4, 0.4, 0.1), owner=1), drawn.box((0, 1, -4), (2, 2, 0.1), owner=2)
    thing = drawn.box((0.9, 1, -3.9), (0.3, 0.3, 0.1))
    seen = picture(renderer, *(near, far, thing)[::order])
    assert seen.owner[48, 48] == 1
    assert seen.owner[48, 30] == 2
    (spot,), _ = drawn.camera().project(np.array([[0.9, 1, -3.85]]))
    assert seen.owner[round(spot[1]), round(spot[0])] == THING
    assert set(np.unique(seen.owner)) == {0, 1, 2, THING}


def test_what_is_behind_the_camera_is_not_seen(renderer):
    seen = picture(renderer, drawn.box((0, 1, 3), (1, 1, 1), owner=1))
    assert not seen.owner.any()
    assert not seen.colour.any()


def test_vertices_between_bones_stay_in_their_place(renderer):
    """Shares that round to bytes whose sum is not 255 do not pull a vertex towards the origin of the world."""
    item = drawn.box((0, 1, -10), (4, 4, 0.01), owner=1)
    shares = np.tile(np.array([0.3333, 0.3333, 0.1667, 0.1667], np.float32), (len(item.surface.positions), 1))
    assert np.round(255 * shares).sum(axis=1).max() != 255
    seen = picture(renderer, replace(item, surface=replace(item.surface, weights=shares)))
    np.testing.assert_allclose(seen.depth[seen.owner == 1], 9.995, atol=0.005)


# ---- light


def test_faces_towards_the_lamp_are_brighter(renderer):
    """A box seen from its corner, lit from the right: its right half is brighter than its left one."""
    item = drawn.box((0, 0, 0), (0.8, 0.8, 0.8), owner=1)
    c = np.float32(np.sqrt(0.5))
    item.transforms[0] = [[c, 0, c, 0], [0, 1, 0, 1], [-c, 0, c, -3]]
    for side, sign in (((1.0, 0.3, 0.5), 1), ((-1.0, 0.3, 0.5), -1)):
        seen = picture(renderer, item, light=drawn.lamp(side))
        left, right = seen.colour[48, 40, 1], seen.colour[48, 56, 1]
        assert sign * (right - left) > 0.1


@pytest.mark.parametrize("sun", [1.0, -1.0])
def test_shadows_fall_away_from_the_lamp(renderer, sun):
    floor = Floor(strength=0.8, contacts=np.zeros((0, 4), np.float32))
    view = drawn.camera(pitch=-0.5, height=2.0)
    post = drawn.box((0, 0.5, -3), (0.2, 1.0, 0.2), owner=1)
    seen = picture(renderer, post, view=view, light=drawn.lamp((sun, 1.0, 0.0)), floor=floor)
    (away, towards), _ = view.project(np.array([[-0.5 * sun, 0, -3], [0.5 * sun, 0, -3]]))
    assert seen.owner[round(away[1]), round(away[0])] == 0
    assert seen.colour[round(away[1]), round(away[0]), 3] > 0.5
    assert seen.colour[round(towards[1]), round(towards[0]), 3] < 0.1
    assert not seen.colour[round(away[1]), round(away[0]), :3].any()


def test_contacts_darken_the_floor_and_no_floor_is_drawn_without_one(renderer):
    view = drawn.camera(pitch=-0.5, height=2.0)
    spot = np.array([[0.4, -3.0, 0.2, 0.5]], np.float32)
    seen = picture(renderer, view=view, floor=Floor(strength=0.5, contacts=spot))
    (at,), _ = view.project(np.array([[0.4, 0, -3]]))
    np.testing.assert_allclose(seen.colour[round(at[1]), round(at[0]), 3], 0.5, atol=0.03)
    assert seen.colour[round(at[1]), round(at[0]) - 20, 3] < 0.01
    assert not picture(renderer, view=view).colour.any()


def test_every_material_and_fabric_compiles_and_stays_finite(renderer):
    ball = surface("ball", [blob((0, 1, -1.2), (0.3, 0.3, 0.3))])
    looks = [Look(material=material, colours=np.full((8, 3), 0.5, np.float32), gloss=0.7) for material in MATERIALS]
    for number in range(len(FABRICS)):
        pattern = np.tile(np.array([number, 0.1, 0.3, 0.8], np.float32), (4, 1))
        looks.append(replace(looks[3], pattern=pattern, folds=0.6))
    for look in looks:
        shown = picture(renderer, replace(drawn.box((0, 0, 0), (1, 1, 1), owner=1), surface=ball, look=look)).colour
        assert np.isfinite(shown).all()
        assert shown[48, 48, :3].max() > 0.01, look


# ---- many pictures


def test_nothing_remains_of_the_scene_before(renderer):
    """Crowds and empty scenes in turn: each looks as it does from a renderer that drew nothing else."""
    crowd = [drawn.box((0.5 * i - 2, 1, -3), (0.3, 1, 0.3), owner=i + 1) for i in range(9)]
    scenes = [crowd, [], crowd[3:5], crowd, []]
    later = [picture(renderer, *scene) for scene in scenes]
    for scene, seen in zip(scenes, later, strict=True):
        for fresh in drawn.renderers():
            alone = picture(fresh, *scene)
        np.testing.assert_array_equal(seen.colour, alone.colour)
        np.testing.assert_array_equal(seen.owner, alone.owner)
        np.testing.assert_array_equal(seen.depth, alone.depth)


def test_renderers_do_not_disturb_each_other(renderer):
    item = drawn.box((0, 1, -3), (0.5, 0.5, 0.5), owner=1)
    before = picture(renderer, item)
    other = Renderer((33, 47))
    picture(other, item, view=drawn.camera((33, 47)))
    between = picture(renderer, item)
    other.close()
    np.testing.assert_array_equal(before.colour, between.colour)
    np.testing.assert_array_equal(before.colour, picture(renderer, item).colour)


def test_every_number_is_painted(renderer):
    """As many boxes as there are numbers, side by side: none is left unpainted, and each has its owner."""
    side = 16
    boxes = [
        drawn.box((0.2 * (i % side) - 1.5, 0.2 * (i // side) - 0.5, -3.3), (0.15, 0.15, 0.01), owner=1 + i % 200)
        for i in range(MAX_PARTS)
    ]
    view = drawn.camera()
    seen = picture(renderer, *boxes, view=view)
    for i, item in enumerate(boxes):
        (spot,), _ = view.project(item.surface.positions.mean(0)[None])
        column, row = round(spot[0]), round(spot[1])
        assert seen.owner[row, column] == 1 + i % 200
        assert seen.colour[row, column, 3] == 1
        assert seen.colour[row, column, 0] > 0.05, i


def test_of_too_many_surfaces_the_last_things_are_left_out(renderer):
    things = [drawn.box((0, 1, -5), (2, 2, 0.1)) for _ in range(MAX_PARTS)]
    last = drawn.box((0, 1, -2.5), (0.2, 0.2, 0.2))
    person = drawn.box((0.6, 1, -3), (0.3, 1, 0.3), owner=7)
    seen = picture(renderer, *things, last, person)
    (spot, spared), _ = drawn.camera().project(np.array([[0.6, 1, -3], [0, 1, -2.5]]))
    assert seen.owner[round(spot[1]), round(spot[0])] == 7
    np.testing.assert_allclose(seen.depth[round(spared[1]), round(spared[0])], 4.95, rtol=0.01)


def test_meshes_go_when_their_surfaces_do(renderer):
    def live():
        gc.collect()
        picture(renderer)  # frees what was dropped
        return len(renderer._meshes)

    before = live()
    for level_metres in (0.9, 3.0, 30.0):  # as they are, and coarser
        person = simple_character(np.random.default_rng(1))
        pose = np.tile(np.eye(3, 4, dtype=np.float32), (len(person.heads), 1, 1))
        pose[:, 2, 3] = -level_metres
        look = Look(material="plain")
        boxes = [
            replace(drawn.box((0, 0, 0), (1, 1, 1)), surface=s, look=look, transforms=pose) for s in person.surfaces
        ]
        assert picture(renderer, *boxes).owner.any()
        assert len(renderer._meshes) > before
        del person, boxes
        assert live() == before
    assert not renderer._context.objects


def test_memory_does_not_grow():
    ball = surface("ball", [blob((0, 1, -2), (0.5, 0.5, 0.5), steps=60)])
    item = drawn.box((0, 0, 0), (1, 1, 1))

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    def many(count):
        for renderer in drawn.renderers((32, 32)):
            for _ in range(count):
                picture(renderer, replace(item, surface=replace(ball)))

    many(5)
    before = resident()
    many(40)
    mesh = (48 * len(ball.positions) + ball.triangles.nbytes) / 2**20
    assert resident() - before < 20 * mesh
    assert mesh > 0.3


# ---- fewer triangles


def test_the_level_follows_the_size_of_a_pixel():
    assert level_for(0.0005) == 0
    assert level_for(1.0) == len(LEVELS) - 1
    assert [level_for(side / 0.75 * 1.001) for side in LEVELS] == list(range(len(LEVELS)))


@pytest.mark.parametrize("level", range(1, len(LEVELS)))
def test_coarser_meshes_keep_their_extent_and_have_no_collapsed_triangles(level):
    for full in simple_character(np.random.default_rng(3)).surfaces:
        less = coarser(full, level)
        assert len(less.positions) <= len(full.positions)
        assert len(less.triangles) <= len(full.triangles)
        a, b, c = less.triangles.T
        assert not ((a == b) | (b == c) | (a == c)).any()
        for array in (less.normals, less.uv, less.bones, less.weights, less.region):
            assert len(array) == len(less.positions)
        np.testing.assert_allclose(less.positions.min(0), full.positions.min(0), atol=LEVELS[level])
        np.testing.assert_allclose(less.positions.max(0), full.positions.max(0), atol=LEVELS[level])
        np.testing.assert_allclose(np.linalg.norm(less.normals, axis=1), 1, atol=1e-4)
        np.testing.assert_allclose(less.weights.sum(1), 1, atol=1e-4)


def test_small_meshes_and_level_0_stay_as_they_are():
    few = surface("box", [block((0, 0, 0), (1, 1, 1))])
    assert coarser(few, len(LEVELS) - 1) is few
    many = surface("ball", [blob((0, 0, 0), (1, 1, 1), steps=30)])
    assert coarser(many, 0) is many


def test_a_surface_that_collapses_is_not_drawn(renderer):
    """A crumb of 2 cm, 40 m away, has no triangle left."""
    crumb = surface("crumb", [blob((0.025, 1.025, -40.025), (0.01, 0.01, 0.01), steps=30)])
    assert not picture(renderer, replace(drawn.box((0, 0, 0), (1, 1, 1)), surface=crumb)).owner.any()


# ---- parts of garments


def garment(*centres, kind="cloth", size=0.1):
    balls = surface("", [blob(centre, (size, size, size), steps=8) for centre in centres])
    return Surface(**{**{f: getattr(balls, f) for f in balls.__dataclass_fields__}, "kind": kind})


def test_parts_of_a_garment_go_from_the_top_down():
    count = len(garment((0, 0, 0)).positions)
    shirt, trousers, both = garment((0, 0.4, 0)), garment((0, -0.4, 0)), garment((0, -0.4, 0), (0, 0.4, 0))
    assert (parts_of(shirt) == 0).all()
    assert (parts_of(trousers) == 1).all()
    np.testing.assert_array_equal(parts_of(both), np.repeat([1, 0], count))
    legs = garment((0, 0.4, 0), (-0.2, -0.4, 0), (0.2, -0.42, 0))
    np.testing.assert_array_equal(parts_of(legs), np.repeat([0, 1, 1], count))
    assert (parts_of(garment((0, 0.4, 0), (0, -0.4, 0), kind="shoe")) == 0).all()


def test_small_pieces_of_a_garment_are_its_third_part():
    shapes = [blob((0, 0.4, 0), (0.2, 0.2, 0.2), steps=30), blob((0, 0, 0.2), (0.01, 0.01, 0.01), steps=4)]
    whole = surface("", shapes)
    parts = parts_of(replace(whole, kind="cloth"))
    assert set(parts[: len(shapes[0].positions)]) == {0}
    assert set(parts[len(shapes[0].positions) :]) == {2}


# ---- the darkroom


def test_light_is_shown_as_srgb_and_rolls_off():
    light = np.array([0, 0.001, 0.2, 0.5, 0.8, 1.0, 5.0, np.inf, np.nan, -1.0], np.float32)
    shown = srgb(light)
    np.testing.assert_allclose(shown[:4], [0, 0.01292, 0.4845, 0.7354], atol=0.003)
    assert (np.diff(shown[3:7]) > 0).all()
    assert shown[6] <= 1
    np.testing.assert_array_equal(shown[7:], [shown[6], 0, 0])


def test_crevices_are_darker():
    depth = np.full((40, 40), 2.0, np.float32)
    depth[:, 18:22] = 2.2
    shade = crevices(depth, 40.0)
    assert shade[20, 20] < shade[20, 5] == 1
    assert (crevices(np.full((4, 4), np.inf, np.float32), 40.0) == 1).all()
