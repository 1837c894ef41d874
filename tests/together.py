"""A short run of the trainer in one process, or under torchrun in several that share its batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pose_export.training.parallel import join
from pose_export.training.precision import choose
from pose_export.training.recipe import parse
from pose_export.training.trainer import Task, Trainer

GROUP = join()
BATCH = 8


def batches(start: int) -> Iterator[Any]:
    """Noise, and its brightness at half the size."""
    number = start
    while True:
        random = torch.Generator().manual_seed(number)
        images = torch.randint(0, 256, (BATCH, 3, 16, 16), dtype=torch.uint8, generator=random)[GROUP.part(BATCH)]
        yield images, {"maps": torch.nn.functional.avg_pool2d(images[:, :2] / 255, 2)}
        number += 1


def loss(outputs: tuple[torch.Tensor, ...], targets: Any) -> dict[str, torch.Tensor]:
    """Mean squares, of two channels each for itself."""
    difference = (outputs[0] - targets["maps"]).square().mean((0, 2, 3))
    return {"red": difference[0], "green": difference[1]}


def main(out: Path) -> None:
    """Train, and leave every process's weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3, padding=1)
    )
    recipe = parse(
        {"model": "together", "data": ["none"], "steps": 30, "batch": BATCH, "log_every": 10, "ema": {"every": 5}},
        "together",
    )
    task = Task(network=network, prepare=lambda x: x / 255, loss=loss, batches=batches, validate=None)
    trainer = Trainer(recipe, task, choose("cpu", "off"), out, GROUP)
    trainer.run()
    torch.save(network.state_dict(), out / f"rank-{GROUP.rank}.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
