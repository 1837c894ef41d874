from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pose_export.training.precision import choose  # noqa: E402
from pose_export.training.recipe import Recipe, parse  # noqa: E402
from pose_export.training.trainer import Task, Trainer  # noqa: E402


class Tiny(torch.nn.Module):  # type: ignore[misc]
    """A convolution of every kind that states hold, and dropout, which is random."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, 2, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.depth = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.depth(torch.relu(self.norm(self.stem(x)))))))


def batches(start: int) -> Iterator[Any]:
    """Brightness of red and of green at half the size; the same batch for the same number."""
    number = start
    while True:
        random = torch.Generator().manual_seed(number)
        images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=random)
        yield images, {"maps": torch.nn.functional.avg_pool2d(images[:, :2] / 255, 2)}
        number += 1


def loss(outputs: tuple[torch.Tensor, ...], targets: Any) -> dict[str, torch.Tensor]:
    (maps,) = outputs
    difference = (maps - targets["maps"]).square().mean((0, 2, 3))
    return {"red": difference[0], "green": difference[1]}


def task(**changes: Any) -> Task:
    torch.manual_seed(1)
    plain = {
        "network": Tiny(), "prepare": lambda images: images / 255, "loss": loss, "batches": batches, "validate": None,
    }  # fmt: skip
    return Task(**{**plain, **changes})


def recipe(**changes: Any) -> Recipe:
    plain = {
        "model": "tiny", "data": ["none"], "steps": 40, "batch": 4, "log_every": 7, "ema": {"every": 4},
        "optimiser": {"lr": 0.02}, "schedule": {"warmup": 5},
    }  # fmt: skip
    return parse({**plain, **changes}, "test")


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [*trainer.network.state_dict().values(), *trainer.averaged().state_dict().values()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Stop(Exception):
    pass


def stopping(at: int) -> Any:
    """Batches that end the process's work before batch `at` of the run."""

    def cut(start: int) -> Iterator[Any]:
        for number, batch in enumerate(batches(start), start):
            if number == at:
                raise Stop
            yield batch

    return cut


@pytest.mark.parametrize("name", ["compact", "adamw"])
def test_a_run_in_chunks_gives_the_weights_of_an_unbroken_one(tmp_path: Path, name: str) -> None:
    wanted = recipe(optimiser={"name": name, "lr": 0.02})
    whole = Trainer(wanted, task(), choose("cpu", "off"), tmp_path / "whole")
    assert whole.run() == "done"
    for minutes in (0, 0, 0, None):  # three chunks of one step, then the rest
        part = Trainer(wanted, task(), choose("cpu", "off"), tmp_path / "parts")
        if (tmp_path / "parts/state.npz").exists():
            part.resume()
        assert part.run(minutes) == ("done" if minutes is None else "time")
    assert part.step == whole.step == 40
    assert equal(weights(part), weights(whole))
    assert (tmp_path / "parts/weights.pth").read_bytes() == (tmp_path / "whole/weights.pth").read_bytes()
