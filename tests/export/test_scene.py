from concurrent.futures import Future

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import drawn
from pose_export.synthetic import people, produce
from pose_export.synthetic.people import SyntheticPeople
from pose_export.synthetic.produce import Job
from pose_export.synthetic.render import THING
from pose_export.synthetic.scene import Direction, places, sample_scene, sample_view, touching
from pose_export.synthetic.source import open_synthetic
from pose_export.synthetic.stage import Stage, read_stage, stage_names
from pose_export.training.shards import open_shards
from pose_runtime.errors import ExportError
from shared import shared

drawn.skip_without_opengl()

SMALL = Stage(count=6, seed=5, size_wh=(96, 96))


@pytest.fixture
def few(monkeypatch):
    """A cast of two: characters take longer than pictures."""
    monkeypatch.setattr(people, "CAST_SIZE", 2)


@pytest.fixture
def studio(few):
    opened = SyntheticPeople(SMALL)
    yield opened
    opened.close()


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("image", "keypoints", "boxes", "areas", "ids"))


# ---- photographs


def test_a_number_is_always_the_same_photograph(studio):
    """In any order, in another studio, and across casts."""
    first = {i: studio[i] for i in (0, 1, 50)}
    other = SyntheticPeople(SMALL)
    assert all(same(other[i], first[i]) for i in (50, 0))
    assert same(studio[1], first[1])
    other.close()
    assert not np.array_equal(first[0].image, first[1].image)


def test_records_are_sound(studio):
    width, height = SMALL.size_wh
    for i in range(4):
        record = studio[i]
        assert record.image.shape == (height, width, 3)
        assert record.image.dtype == np.uint8
        assert len(record.keypoints) == len(record.boxes) == len(record.areas) == len(set(record.ids))
        assert np.isfinite(record.keypoints).all()
        x, y, w, h = record.boxes.reshape(-1, 4).T
        assert ((x >= 0) & (y >= 0) & (x + w <= width) & (y + h <= height)).all()
        assert (record.areas <= w * h).all()


@pytest.mark.parametrize("size_wh", [(97, 65), (33, 140)])
def test_empty_scenes_and_odd_sizes(few, size_wh):
    empty = Direction(people=(1.0,), holds=0, before=0, around=0)
    opened = SyntheticPeople(replace(SMALL, size_wh=size_wh, direction=empty))
    record = opened[0]
    opened.close()
    assert record.image.shape == (size_wh[1], size_wh[0], 3)
    assert len(record.ids) == 0
    assert record.ignored is None


def test_crowds(few):
    crowd = Direction(people=(0.0,) * 12 + (1.0,), holds=1, before=1, around=1, tall=(0.1, 0.4))
    opened = SyntheticPeople(replace(SMALL, direction=crowd))
    assert max(len(opened[i].ids) for i in range(2)) >= 4
    opened.close()


def test_a_folder_without_assets_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"wanted a folder with makehuman/ and motion/"):
        SyntheticPeople(SMALL, tmp_path)


def test_people_from_the_assets():
    opened = SyntheticPeople(replace(SMALL, direction=Direction(people=(0, 0, 1.0))), shared("assets"))
    opened._cast = 0, replace_cast(opened)
    records = [opened[i] for i in range(2)]
    assert same(records[0], opened[0])
    opened.close()
    assert sum(len(record.ids) for record in records) >= 2


def replace_cast(opened):
    rng = np.random.default_rng(0)
    return people.Cast((opened.make_character(rng),), lambda rng: people.sample_pose(opened.motion, rng))


# ---- scenes


@pytest.mark.parametrize("direction", [Direction(), Direction(tall=(2.0, 3.0)), Direction(tall=(0.02, 0.05))])
@pytest.mark.parametrize("size_wh", [(384, 384), (2048, 32), (32, 2048)])
def test_somebody_always_finds_a_place(direction, size_wh):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        view, distance = sample_view(rng, size_wh, direction)
        assert 0.5 < distance <= 25
        found = places(rng, view, distance, 5, direction)
        assert 1 <= len(found) <= 5
        assert found[0][1] == -distance
        apart = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(found) for b in found[:i]]
        assert min(apart, default=1) > 0.3


def test_people_keep_to_the_heights_of_the_direction(studio):
    direction = Direction(tall=(0.3, 0.5), close_up=0)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        view, distance = sample_view(rng, (96, 96), direction)
        for _, z in places(rng, view, distance, 3, direction):
            assert 0.29 < view.focal_px * 1.7 / -z / 96 < 0.56


def test_a_scene_has_as_many_figures_as_people(studio):
    cast = studio._cast_of(0)
    for seed in range(6):
        made = sample_scene(cast, np.random.default_rng(seed), (96, 96), replace(SMALL.direction, people=(0, 0, 1.0)))
        owners = {item.owner for item in made.drawables}
        assert {figure.owner for figure in made.figures} == owners - {THING}
        assert made.contacts.shape[1] == 4
        for figure in made.figures:
            assert -0.01 < figure.outline[:, 1].min() < 1.6


def test_touching_finds_both_feet():
    feet = np.array([[x, 0.02, -3 + d] for x in (-0.3, 0.3) for d in (0, 0.1, 0.2)] + [[0, 1.5, -3]], np.float32)
    spots = touching(feet)
    np.testing.assert_allclose(np.sort(spots[:, 0]), [-0.3, 0.3], atol=1e-6)
    assert touching(feet[-1:]).shape == (0, 4)


# ---- stages


def test_shipped_stages_can_be_read():
    assert {"train", "validation"} <= set(stage_names())
    for name in stage_names():
        stage = read_stage(name)
        assert stage.count > 0
        assert msgspec.convert(msgspec.to_builtins(stage), Stage) == stage
    assert read_stage("validation").split == "validation"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("count = 5\ncolour = 1", "unknown field `colour`"),
        ("count = 0", ">= 1"),
        ("seed = 1", "missing required field `count`"),
        ("count = 5\nsize_wh = [16, 64]", ">= 32"),
        ('count = 5\nsplit = "test"', "split"),
        ("count = 5\n[direction]\npeople = []", "length >= 1"),
        ("count = 5\n[direction]\npeople = [0.0, 0.0]", "a share above 0"),
        ("count = 5\n[direction]\npeople = [nan, 1.0]", ">= 0.0"),
        ("count = 5\n[direction]\npeople = [0,0,0,0,0,0,0,0,0,0,0,0,0,1.0]", "length <= 13"),
        ("count = 5\n[direction]\ntall = [1.0, 0.5]", "two growing heights"),
        ("count = 5\n[direction]\ntall = [0.1, inf]", "two growing heights"),
        ("count = 5\n[direction]\nedge = 1.5", "<= 1"),
        ("count = 5\n[direction]\nholds = nan", ">= 0.0"),
        ("count", "stage "),
        ("# " + "a" * 70000, "that is no stage"),
    ],
)
def test_wrong_stages_are_refused(tmp_path, text, what):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ExportError) as caught:
        read_stage(str(path))
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_stage_is_told_with_those_that_are_shipped(tmp_path):
    with pytest.raises(ExportError, match="shipped are demo, train, validation"):
        read_stage(str(tmp_path / "none.toml"))


def test_the_digest_names_what_is_rendered(tmp_path):
    stage = Stage(count=5)
    plain = stage.digest(None, None)
    assert plain == replace(stage, count=9).digest(None, None)
    others = [replace(stage, seed=2), replace(stage, direction=Direction(edge=0.5)), replace(stage, size_wh=(64, 384))]
    digests = [plain, *(other.digest(None, None) for other in others), stage.digest(tmp_path, None)]
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
        digests.append(stage.digest(None, tmp_path))
    assert len(set(digests)) == len(digests)


# ---- rendering ahead


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Three photographs in two shards, by one process."""
    patch = pytest.MonkeyPatch()
    job = Job(stage=replace(SMALL, count=3), folder=tmp_path_factory.mktemp("one"), shard=2)
    assert list(produce.produce(job)) == [0, 2, 3]
    patch.undo()
    return job


def test_two_processes_make_the_same_bytes(rendered, tmp_path):
    job = Job(stage=rendered.stage, folder=tmp_path / "two", shard=2)
    counts = list(produce.produce(job, workers=2))
    assert counts[0] == 0
    assert counts[-1] == 3
    assert files(job.folder) == files(rendered.folder)


def test_what_is_there_is_left_alone_and_what_is_missing_made(rendered, monkeypatch):
    whole = files(rendered.folder)
    made = []
    monkeypatch.setattr(produce, "_render", lambda _, first: made.append(first) or 2)
    assert list(produce.produce(rendered)) == [3]
    rendered.path(2).write_bytes(b"damaged")
    assert list(produce.produce(rendered)) == [2, 4]
    rendered.path(0).unlink()
    list(produce.produce(rendered))
    assert made == [2, 0, 2]
    for name, data in whole.items():
        (rendered.folder / name).write_bytes(data)


def test_a_larger_count_makes_the_short_last_shard_anew(rendered, monkeypatch):
    made = []
    monkeypatch.setattr(produce, "_render", lambda job, first: made.append(first) or job.length(first))
    longer = Job(stage=replace(rendered.stage, count=4), folder=rendered.folder, shard=2)
    assert list(produce.produce(longer)) == [2, 4]
    shorter = Job(stage=replace(rendered.stage, count=1), folder=rendered.folder, shard=2)
    assert list(produce.produce(shorter)) == [1]
    assert made == [2]


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    class Pool:
        def __init__(self, *_, **__):
            self.cancelled = False

        def submit(self, *_):
            future = Future()
            future.set_exception(produce.BrokenProcessPool("gone"))
            return future

        def shutdown(self, *, cancel_futures):
            assert cancel_futures

    monkeypatch.setattr(produce, "ProcessPoolExecutor", Pool)
    with pytest.raises(ExportError, match="ended early"):
        list(produce.produce(Job(stage=SMALL, folder=tmp_path), workers=2))


def test_the_source_reads_what_is_rendered_already(rendered, tmp_path, monkeypatch):
    monkeypatch.setattr("pose_export.synthetic.source.cache_folder", lambda: tmp_path)
    monkeypatch.setattr(produce, "_render_there", lambda _, missing, __: pytest.fail(str(missing)) if missing else [])
    monkeypatch.delenv("JETPOSE_ASSETS", raising=False)
    monkeypatch.delenv("JETPOSE_BACKGROUNDS", raising=False)
    stage = tmp_path / "mine.toml"
    stage.write_text(f"count = 3\nseed = {SMALL.seed}\nsize_wh = [96, 96]\n")
    (tmp_path / "synthetic").mkdir()
    (tmp_path / "synthetic" / rendered.recipe).symlink_to(rendered.folder)
    source = open_synthetic(f"{stage}:2")
    assert len(source) == 2
    assert "first 2" in source.description
    assert source[1].image.shape == (96, 96, 3)
    assert same(source[1], open_shards(str(rendered.folder))[1])


@pytest.mark.parametrize("count", ["x", "0", "-1", "10000001", "1.5"])
def test_wrong_counts_of_the_source_are_refused(count):
    with pytest.raises(ExportError, match="wanted 1 to 10000000"):
        open_synthetic(f"train:{count}")


def test_an_unknown_stage_of_the_source_is_refused():
    with pytest.raises(ExportError, match="shipped are"):
        open_synthetic("nothing:5")
