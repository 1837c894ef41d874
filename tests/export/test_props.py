from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pose_export.synthetic.furniture import FURNITURE
from pose_export.synthetic.handheld import HANDHELD
from pose_export.synthetic.props import furniture, handheld, seat
from pose_export.synthetic.surface import Surface
from pose_runtime.errors import ExportError

SEEDS = range(4)


def surfaces(kind: str, seed: int) -> tuple[Surface, ...]:
    rng = np.random.default_rng(seed)
    return furniture(rng, kind).surfaces if kind in FURNITURE else handheld(rng, kind)


def corners(part: Surface) -> np.ndarray:
    return part.positions[part.triangles].astype(np.float64)


KINDS = pytest.mark.parametrize("kind", [*FURNITURE, *HANDHELD])


@KINDS
def test_a_prop_is_a_valid_surface(kind):
    for seed in SEEDS:
        for part in surfaces(kind, seed):
            n = len(part.positions)
            assert (part.kind, part.positions.dtype, part.triangles.dtype) == ("prop", np.float32, np.uint32)
            assert part.normals.shape == (n, 3)
            assert part.uv.shape == (n, 2)
            assert part.bones.shape == part.weights.shape == (n, 4)
            assert part.triangles.max() < n
            assert np.isfinite(part.positions).all()
            assert np.isfinite(part.uv).all()
            np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-4)
            assert (part.bones == 0).all()
            assert (part.weights == (1, 0, 0, 0)).all()


@KINDS
def test_meshes_are_closed(kind):
    """Every edge is walked once each way, where vertices at one place count as one."""
    for seed in SEEDS:
        for part in surfaces(kind, seed):
            _, place = np.unique(np.round(part.positions, 5), axis=0, return_inverse=True)
            triangles = place.ravel()[part.triangles]
            a, b, c = triangles.T
            triangles = triangles[(a != b) & (b != c) & (c != a)]
            edges = Counter(
                map(tuple, np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]))
            )
            unmatched = [edge for edge, times in edges.items() if edges[edge[::-1]] != times]
            assert not unmatched, part.name


@KINDS
def test_normals_and_triangles_face_outwards(kind):
    for seed in SEEDS:
        for part in surfaces(kind, seed):
            p = corners(part)
            faces = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
            assert (p[:, 0] * faces).sum() > 0, f"{part.name}: the volume is negative"
            vertices = part.normals[part.triangles].astype(np.float64).sum(axis=1)
            agree = (faces * vertices).sum(axis=1)
            area = np.linalg.norm(faces, axis=1)
            assert area[agree < 0].sum() < 0.01 * area.sum(), part.name


@pytest.mark.parametrize("kind", FURNITURE)
def test_furniture_stands_on_the_floor(kind):
    for seed in SEEDS:
        thing = furniture(np.random.default_rng(seed), kind)
        low = min(float(part.positions[:, 1].min()) for part in thing.surfaces)
        assert -0.03 < low < 0.03
        assert 0.2 < max(thing.size) < 5


@pytest.mark.parametrize("kind", HANDHELD)
def test_the_hand_reaches_what_it_holds(kind):
    for seed in SEEDS:
        points = np.concatenate([part.positions for part in handheld(np.random.default_rng(seed), kind)])
        assert (points.min(axis=0) < 0.06).all()
        assert (points.max(axis=0) > -0.06).all()


def test_a_seed_gives_the_same_thing():
    for make in (lambda rng: furniture(rng).surfaces, handheld):
        first, again = (make(np.random.default_rng(3)) for _ in range(2))
        other = make(np.random.default_rng(4))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a.positions, b.positions)
        assert [len(a.positions) for a in first] != [len(a.positions) for a in other]


def holds(part: Surface, height: float) -> bool:
    """Whether a triangle that looks up is under the middle, within 4 cm of `height`."""
    p = corners(part)
    x, z = p[..., 0], p[..., 2]
    over = (x.min(1) < 0.05) & (x.max(1) > -0.05) & (z.min(1) < 0.1) & (z.max(1) > -0.1)
    up = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])[:, 1] > 0
    return bool((over & up & (np.abs(p[..., 1].max(1) - height) < 0.04)).any())


def test_seats_are_where_people_sit():
    for seed in range(30):
        thing = seat(np.random.default_rng(seed))
        assert thing.seat is not None
        assert 0.35 < thing.seat < 0.9
        assert any(holds(part, thing.seat) for part in thing.surfaces)


@pytest.mark.parametrize("make", [furniture, handheld])
def test_an_unknown_kind_is_refused(make):
    with pytest.raises(ExportError, match="'throne': no such kind; there are "):
        make(np.random.default_rng(0), "throne")
