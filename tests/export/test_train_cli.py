from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("pycocotools")

import dots  # noqa: E402
from pose_calibration.plan import encode_plan  # noqa: E402
from pose_export import cli, cli_train  # noqa: E402
from pose_export.checkpoints import load_weights  # noqa: E402
from pose_runtime.errors import PoseError  # noqa: E402
from roundings import pictures, plan_of  # noqa: E402

RECIPE = """
model = "dots"
batch = 8
log_every = 20

[optimiser]
lr = 0.02

[ema]
decay = 0.9

[method]
sigma = 1.0

[augment]
scale = 0.0
rotate = 0.0
shift = 0.0
flip = 0.0

[augment.photometric]
colour = 0.0
grey = 0.0
blur = 0.0
noise = 0.0
jpeg = 0.0
occluders = 0.0
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    dots.register(monkeypatch)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return f"coco:{dots.write_coco(tmp_path / 'data')}"


def train(*options: Any) -> Any:
    line = ["--workers", 0, "--threads", 1, "--device", "cpu", *options]
    return CliRunner().invoke(cli_train.app, list(map(str, line)))


def failing(*options: Any) -> str:
    """The message of the error that a command ends with."""
    result = train(*options)
    assert isinstance(result.exception, PoseError), result
    return str(result.exception)


def short(data: str, *options: Any) -> list[Any]:
    return ["--recipe", "recipe.toml", "--data", data, "--steps", 3, "--out", "run", *options]


def test_a_tiny_set_is_learnt_by_heart(tmp_path: Path, data: str) -> None:
    """In two chunks, to weights that load as any checkpoint does."""
    options = ["--recipe", "recipe.toml", "--data", data, "--steps", 100, "--val", data, "--out", "run"]
    first = train(*options, "--minutes", 0)
    assert "run/weights.pth: step 1 of 100" in first.output
    assert "ended by time; the same command with --resume goes on" in first.output
    second = train(*options, "--resume")
    assert second.exit_code == 0, second
    assert "run/weights.pth: step 100 of 100, AP " in second.output
    with (tmp_path / "run/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["ap"]) > 95
    network = dots.Dots()
    load_weights(network, tmp_path / "run/weights.pth")
    tensors = torch.load(tmp_path / "run/weights.pth", weights_only=True)
    assert all(torch.equal(value, tensors[name]) for name, value in network.state_dict().items())


def test_init_takes_what_fits(tmp_path: Path, data: str) -> None:
    other = dots.Dots()
    other.head = torch.nn.Conv2d(64, 5, 1)
    weights = {**other.state_dict(), "extra": torch.zeros(3)}
    del weights["stem.4.bias"]
    torch.save({"state_dict": weights}, tmp_path / "other.pth")
    result = train(*short(data, "--init", "other.pth", "--minutes", 0))
    total = len(dots.Dots().state_dict())
    assert f"other.pth: {total - 3} of {total} tensors loaded" in result.output
    assert "other.pth: not in the checkpoint: stem.4.bias" in result.output
    assert "other.pth: of another shape: head.weight 5x64x1x1 float32 (wanted 17x64x1x1 float32), head.bias" in (
        result.output
    )
    assert "other.pth: not in the network: extra" in result.output
    (tmp_path / "other.pth").unlink()  # needed no more
    assert train(*short(data, "--init", "other.pth", "--resume")).exit_code == 0


def test_training_starts_from_the_given_weights(tmp_path: Path, data: str) -> None:
    torch.save(dots.Dots().state_dict(), tmp_path / "start.pth")
    assert train(*short(data, "--init", "start.pth", "--lr", 1e-9)).exit_code == 0
    got, wanted = (torch.load(tmp_path / f, weights_only=True) for f in ("run/weights.pth", "start.pth"))
    assert all(torch.allclose(got[n], wanted[n], rtol=1e-3, atol=1e-4) for n in wanted if "weight" in n)


def test_float16_weights_and_full_precision_states(tmp_path: Path, data: str) -> None:
    (tmp_path / "recipe.toml").write_text(
        'weights = "float16"\n' + RECIPE.replace("lr = 0.02", 'lr = 0.02\nname = "adamw"')
    )
    assert train(*short(data)).exit_code == 0
    tensors = torch.load(tmp_path / "run/weights.pth", weights_only=True)
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.int64}
    load_weights(dots.Dots(), tmp_path / "run/weights.pth")


def test_data_is_prepared_by_workers_as_it_is_without(tmp_path: Path, data: str) -> None:
    for workers in (0, 1):
        assert train(*short(data, "--out", f"run{workers}", "--workers", workers)).exit_code == 0
    assert (tmp_path / "run0/weights.pth").read_bytes() == (tmp_path / "run1/weights.pth").read_bytes()


def test_training_with_int8_roundings(tmp_path: Path, data: str) -> None:
    """From trained weights and their plan to weights of the plain network, which pose-export takes."""
    assert train("--recipe", "recipe.toml", "--data", data, "--steps", 30, "--out", "run").exit_code == 0
    network = dots.Dots().eval()
    load_weights(network, tmp_path / "run/weights.pth")
    plan = plan_of(network, dots.ENTRY.outputs, pictures(), wide=8.0)
    (tmp_path / "plan.json").write_bytes(encode_plan(plan))
    options = ["--recipe", "recipe.toml", "--data", data, "--steps", 8, "--val", data, "--init", "run/weights.pth"]
    result = train(*options, "--qat", "plan.json", "--out", "fine", "--lr", 2e-3)
    assert result.exit_code == 0, result
    assert "plan.json: 3 layers with INT8 weights" in result.output
    tensors = torch.load(tmp_path / "fine/weights.pth", weights_only=True)
    assert list(tensors) == list(network.state_dict())
    assert torch.equal(tensors["stem.1.running_var"], network.stem[1].running_var)
    assert not torch.equal(tensors["stem.0.weight"], network.stem[0].weight)
    exported = CliRunner().invoke(
        cli.app, ["--model", "dots", "--checkpoint", "fine/weights.pth", "--out", "fine.pose", "--min-oks", "0"]
    )
    assert exported.exit_code == 0, exported
    (tmp_path / "plan.json").rename(tmp_path / "other.json")
    assert "INT8 plan plan.json: No such file" in failing(*options, "--qat", "plan.json", "--out", "new")
    assert "recipe.toml: no INT8 plan" in failing(*options, "--qat", "recipe.toml", "--out", "new")
    assert "another recipe: qat: plan.json before, other.json now" in failing(
        *options, "--qat", "other.json", "--out", "fine", "--lr", 2e-3, "--resume"
    )


# ---- what goes wrong -----------------------------------------------------------------------------------------


GOOD = ["--recipe", "recipe.toml", "--data", "coco:data", "--steps", 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "dotz", "--data", "coco:data", "--steps", 3], "no network is called 'dotz'; valid are dots"),
        (["--recipe", "missing.toml"], "recipe missing.toml: No such file"),
        (["--recipe", "recipe.toml", "--data", "coco:nowhere", "--steps", 3], "coco nowhere: no such folder"),
        (["--recipe", "recipe.toml", "--data", "photos", "--steps", 3], "data: got 'photos', wanted one of"),
        (["--recipe", "recipe.toml", "--data", "coco:data", "--steps", 0], "recipe.toml: steps: Expected `int` >= 1"),
        ([*GOOD, "--size", "60x64"], "60x64, dots.test wants"),
        ([*GOOD, "--batch", 9], "fills no batch of 9"),
        ([*GOOD, "--device", "tpu"], "device: got 'tpu'"),
        (
            ["--recipe", "recipe.toml", "--data", "coco:data", "--steps", 3, "--device", "cuda:99"],
            "device cuda:99: not",
        ),
        ([*GOOD, "--init", "no.pth"], "no.pth: cannot read"),
        ([*GOOD, "--val", "coco:no"], "coco no: no such"),
        ([*GOOD, "--qat", "no.json"], "--qat fine-tunes trained weights, whose batch norms it keeps; give --init"),
    ],
)
def test_wrong_options(data: str, options: list[Any], message: str) -> None:
    assert message in failing(*options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed = -1", "recipe recipe.toml: seed: Expected `int` >= 0"),
        ("speed = 3", "recipe recipe.toml: Object contains unknown field `speed`"),
        ("[optimiser]\nrate = 3", "optimiser: Object contains unknown field `rate`"),
        ("[method]\nsigmas = 3", "recipe: method: Object contains unknown field `sigmas`"),
        ("[method]\nsigma = 0", "recipe: method.sigma: Expected `float` > 0"),
        ("[augment.photometric]\nblurr = 3", "augment.photometric: Object contains unknown field `blurr`"),
        ("batch = 0", "batch: Expected `int` >= 1"),
        ("batch = ", "recipe recipe.toml: no valid TOML"),
    ],
)
def test_wrong_recipes(tmp_path: Path, data: str, line: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(f'model = "dots"\ndata = ["{data}"]\nsteps = 3\n{line}')
    assert message in failing("--recipe", "recipe.toml")


def test_missing_options(data: str) -> None:
    assert "give --model NAME or --recipe FILE" in train().output
    assert "give --data, or a --recipe that says it" in train("--model", "dots").output
    assert "give --steps, or a --recipe that says it" in train("--model", "dots", "--data", data).output


def test_a_run_that_stands_there_is_not_overwritten(data: str) -> None:
    assert train(*short(data)).exit_code == 0
    assert "run: holds a run already; --resume to go on with it" in failing(*short(data))
    assert "run/state.npz: is of another recipe: batch: 8 before, 4 now" in failing(
        *short(data, "--resume", "--batch", 4)
    )


def test_empty_data(tmp_path: Path, data: str) -> None:
    (tmp_path / "data/annotations/person_keypoints_train.json").write_text(
        '{"images": [], "annotations": [], "categories": []}'
    )
    assert "coco" in failing(*short(data))


def test_damaged_pictures_are_refused_or_left_out(tmp_path: Path, data: str) -> None:
    (tmp_path / "data/images/3.png").write_bytes(b"none")
    assert "3.png" in failing(*short(data))
    result = train(*short(data, "--on-bad", "skip", "--out", "run2"))
    assert result.exit_code == 0, result
    assert "3.png" in result.output


def test_folders_of_synthetic_people_are_passed_on(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETPOSE_ASSETS", "")  # undone afterwards
    seen: list[str | None] = []
    monkeypatch.setattr(cli_train, "_run", lambda *_, **__: seen.append(os.environ.get("JETPOSE_ASSETS")))
    assert train(*short(data), "--assets", tmp_path).exit_code == 0
    assert seen == [str(tmp_path)]
