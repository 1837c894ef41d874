import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

import drawn
from pose_export import cli_render
from pose_export.synthetic import clip, people, sheet
from pose_export.synthetic.people import SyntheticPeople
from pose_export.synthetic.stage import Stage
from pose_export.training.record import VISIBLE
from pose_export.training.shards import open_shards
from pose_runtime.cli._common import run_app

drawn.skip_without_opengl()

STAGE = "count = 2\nseed = 5\nsize_wh = [96, 64]\n"
SMALL = Stage(count=2, seed=5, size_wh=(96, 64))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A cast of two: characters take longer than pictures."""
    monkeypatch.setattr(people, "CAST_SIZE", 2)
    for name in ("JETPOSE_ASSETS", "JETPOSE_BACKGROUNDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stage(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(STAGE)
    return path


def render(*options):
    return CliRunner().invoke(cli_render.app, list(map(str, options)))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_out_sheet_and_clip_in_one_go(stage, tmp_path):
    options = ["--out", tmp_path / "out", "--sheet", tmp_path / "sheet.png", "--workers", 1, "--skeletons"]
    done = render("--stage", stage, *options, "--count", 2)
    assert done.exit_code == 0, done.output
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (64, 192, 3)
    assert len(open_shards(str(tmp_path / "out"))) == 2
    assert "2 photographs" in done.output
    assert left(tmp_path) == ["mine.toml", "out", "sheet.png"]


def test_the_seed_may_be_given(stage, tmp_path):
    done = render("--stage", stage, "--sheet", tmp_path / "a.png", "--count", 1, "--seed", 6)
    assert done.exit_code == 0
    opened = SyntheticPeople(replace(SMALL, seed=6))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), opened[0].image)
    opened.close()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sheet", "a.png", "--count", "0"],
        ["--sheet", "a.png", "--seed", "-1"],
        ["--sheet", "a.png", "--seed", str(1 << 32)],
        ["--clip", "a.mp4", "--seconds", "9999"],
        ["--clip", "a.mp4", "--people", "0"],
        ["--out", "a", "--workers", "0"],
        ["--nothing"],
        ["a.png"],
    ],
)
def test_wrong_usage_ends_with_2(options):
    assert render(*options).exit_code == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--stage", "none.toml", "--sheet", "a.png"], "shipped are"),
        (["--sheet", "a.txt"], "ends in .png or .jpg"),
        (["--sheet", "a.png", "--count", "1000000"], "do not fit"),
        (["--sheet", "nowhere/a.png", "--count", "1"], "cannot write"),
        (["--clip", "a.txt"], "ends in .mp4"),
        (["--clip", "nowhere/a.mp4"], "cannot write"),
        (["--sheet", "a.png", "--assets", "."], "makehuman/"),
        (["--clip", "a.mp4", "--assets", "."], "makehuman/"),
        (["--out", "out", "--backgrounds", "."], "no images"),
        (["--out", "mine.toml", "--workers", "1", "--count", "1"], "cannot write"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_leaves_nothing(stage, monkeypatch, capsys, options, what):
    monkeypatch.chdir(stage.parent)
    if "--stage" not in options:
        options = [*options, "--stage", stage.name]
    monkeypatch.setattr("sys.argv", ["pose-render", *options])
    with pytest.raises(SystemExit) as ended:
        run_app(cli_render.app)
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("pose-render: ")
    assert what in said
    assert left(stage.parent) == ["mine.toml"]


# ---- sheets


def test_a_sheet_is_a_grid_of_photographs(tmp_path):
    sheet.write_sheet(tmp_path / "a.png", SMALL, None, None, count=3)
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape == (128, 192, 3)
    opened = SyntheticPeople(SMALL)
    np.testing.assert_array_equal(image[:64, 96:], opened[1].image)
    np.testing.assert_array_equal(image[64:, :96], opened[2].image)
    opened.close()
    assert not image[64:, 96:].any()


# ---- clips


@pytest.fixture(scope="module")
def moving():
    """Twelve frames of two people, and their labels."""
    opened = SyntheticPeople(replace(SMALL, size_wh=(160, 120)))
    yield list(clip.frames(opened, 12, 2))
    opened.close()


def test_identities_stay(moving):
    assert all(labels.ids.tolist() == [1, 2] for _, labels in moving)
    height, width = moving[0][0].shape[:2]
    assert (width, height) == (160, 120)


def test_motion_is_smooth_and_there_is_motion(moving):
    tracks = np.stack([labels.keypoints for _, labels in moving])
    seen = (tracks[1:, ..., 2] > 0) & (tracks[:-1, ..., 2] > 0)
    steps = np.linalg.norm(np.diff(tracks[..., :2], axis=0), axis=-1)[seen]
    assert seen.mean() > 0.9
    assert steps.max() < 5
    assert steps.max() > 0.1
    assert (tracks[..., 2] == VISIBLE).mean() > 0.3


def test_the_camera_stands_still(moving):
    """Most of the picture is backdrop, and the same in all frames."""
    images = np.stack([image for image, _ in moving]).astype(int)
    assert (np.ptp(images, axis=0).max(axis=-1) == 0).mean() > 0.5


def test_a_clip_can_be_played(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is missing; pip install 'jetpose[live]'")
    path = tmp_path / "a.mp4"
    clip.write_clip(path, replace(SMALL, size_wh=(97, 65)), None, None, seconds=0.3, people=1)
    assert left(tmp_path) == ["a.mp4"]
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == clip.FPS
    assert len(shown) == round(0.3 * clip.FPS)
    assert shown[0].shape == (66, 98, 3)
    assert shown[0].std() > 3


def test_an_interrupted_clip_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV is missing; pip install 'jetpose[live]'")

    def interrupted(*_):
        yield np.zeros((64, 96, 3), np.uint8), None
        raise KeyboardInterrupt

    monkeypatch.setattr(clip, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clip.write_clip(tmp_path / "a.mp4", SMALL, None, None, seconds=1, people=1)
    assert left(tmp_path) == []
