from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("pycocotools")

import dots  # noqa: E402
from pose_export import cli_train  # noqa: E402
from pose_export.checkpoints import load_weights  # noqa: E402

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


def test_a_tiny_set_is_learnt_by_heart(tmp_path: Path, data: str) -> None:
    result = train("--recipe", "recipe.toml", "--data", data, "--steps", 150, "--val", data, "--out", "run")
    print(result.output)
    assert result.exit_code == 0, result
    with (tmp_path / "run/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["ap"]) > 95
