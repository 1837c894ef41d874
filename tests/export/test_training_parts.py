"""Schedule, rounding, optimiser, recipe and engine of the training loop, each by itself."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

torch = pytest.importorskip("torch")

from pose_export.training import recipe as recipes  # noqa: E402
from pose_export.training.muon import orthogonal  # noqa: E402
from pose_export.training.optimiser import Compact, Optimiser  # noqa: E402
from pose_export.training.precision import choose  # noqa: E402
from pose_export.training.progress import Shown  # noqa: E402
from pose_export.training.rounding import Rows, as_rows, from_rows, round_to_24_bits  # noqa: E402
from pose_export.training.schedule import Schedule  # noqa: E402
from pose_export.training.torch_engine import TorchEngine  # noqa: E402
from pose_runtime.errors import ExportError  # noqa: E402


def test_warm_up_stable_decay() -> None:
    schedule = Schedule(warmup=4, decay_from=10, shape="linear")
    factors = [schedule.factor(step, 14) for step in range(14)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:10] == [1.0] * 5
    assert factors[10:] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    fall = [Schedule(decay_from=10).factor(step, 14) for step in range(10, 14)]
    assert fall == pytest.approx([1 - math.sqrt(n / 5) for n in (1, 2, 3, 4)])


@pytest.mark.parametrize(("decay_from", "start"), [(None, 80), (30, 30), (100, 100), (500, 100), (0, 0)])
def test_where_the_rate_begins_to_fall(decay_from: int | None, start: int) -> None:
    schedule = Schedule(decay_from=decay_from)
    assert schedule.decay_start(100) == start
    assert all(0 < schedule.factor(step, 100) <= 1 for step in range(100))


def test_weights_of_24_bits() -> None:
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    rounded = values.clone()
    round_to_24_bits(rounded)
    assert not (rounded.numpy().view(np.uint32) & 0xFF).any()
    assert float(((rounded - values) / values).abs().max()) <= 2**-16
    again = rounded.clone()
    round_to_24_bits(again)
    assert torch.equal(again, rounded)


@pytest.mark.parametrize(("dtype", "most"), [(torch.int8, 127), (torch.int16, 32767)])
def test_rows_of_integers(dtype: Any, most: int) -> None:
    values = torch.randn(7, 90, generator=torch.Generator().manual_seed(0)) * torch.logspace(-8, 8, 7)[:, None]
    values[3] = 0
    rows = Rows(7, 90, dtype, torch.device("cpu"))
    rows.set(values)
    error = (rows.get() - values).abs().amax(1)
    assert (error <= values.abs().amax(1) / most * 0.501).all()
    assert not rows.get()[3].any()


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 1, 3, 3), (6, 5), (2, 3, 4)])
def test_weights_as_rows_and_back(shape: tuple[int, ...]) -> None:
    weights = torch.arange(math.prod(shape)).float().view(shape)
    assert torch.equal(from_rows(as_rows(weights), weights.shape), weights)
    if len(shape) == 4:
        last = weights.to(memory_format=torch.channels_last)
        assert as_rows(last).data_ptr() == last.data_ptr()


def adafactor(gradients: list[np.ndarray], start: np.ndarray, lr: float, decay: float) -> np.ndarray:
    """Adafactor with momentum as the papers write it, float64, of one matrix."""
    rows, columns = np.zeros(start.shape[0]), np.zeros(start.shape[1])
    weights, first = start.astype(float), np.zeros(start.shape)
    for t, gradient in enumerate(gradients, 1):
        beta2 = min(0.999, 1 - t**-0.8)
        squares = gradient.astype(float) ** 2 + 1e-30
        rows = beta2 * rows + (1 - beta2) * squares.mean(1)
        columns = beta2 * columns + (1 - beta2) * squares.mean(0)
        update = gradient / np.sqrt(np.outer(rows, columns) / rows.mean())
        update /= max(1.0, math.sqrt((update**2).mean()))
        first = 0.9 * first + 0.1 * update
        weights = weights - lr * decay * weights - lr * first
    return weights


def test_the_optimiser_against_its_papers() -> None:
    random = np.random.default_rng(0)
    start = random.standard_normal((6, 40)).astype(np.float32)
    gradients = [
        (random.standard_normal((6, 40)) * 10.0 ** random.integers(-3, 3)).astype(np.float32) for _ in range(50)
    ]
    p = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = Compact([{"params": [p], "weight_decay": 0.1}], lr=0.01, betas=(0.9, 0.999))
    for gradient in gradients:
        p.grad = torch.from_numpy(gradient)
        optimiser.step()
    wanted = adafactor(gradients, start, 0.01, 0.1)
    moved = np.abs(wanted - start * (1 - 0.001) ** 50).max()
    assert np.abs(p.detach().numpy() - wanted).max() < 0.01 * moved  # 8 bits of momentum


@pytest.mark.parametrize("name", ["compact", "muon", "adamw"])
def test_all_optimisers_solve_least_squares(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    x, wanted = torch.randn(64, 8, generator=random), torch.randn(8, 3, generator=random)
    network = torch.nn.Linear(8, 3)
    optimiser = Optimiser(name=name, lr=0.03, weight_decay=0.0).build(network)  # type: ignore[arg-type]
    schedule = Schedule()
    for step in range(400):
        for group in optimiser.param_groups:
            group["lr"] = 0.03 * schedule.factor(step, 400)
        loss = (network(x) - (x @ wanted + 1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1e-4


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (30, 30)])
def test_orthogonal_steps(shape: tuple[int, int]) -> None:
    """The same singular vectors as the momentum's, and all values about 1."""
    random = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(*shape, generator=random), full_matrices=False)
    values = torch.linspace(0.1, 3, len(v))
    inner = u.T @ orthogonal(u * values @ v) @ v.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-4)
    assert 0.6 < float(inner.diagonal().min()) <= float(inner.diagonal().max()) < 1.3


def test_first_layers_take_no_orthogonal_steps() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.Conv2d(4, 4, 3, bias=False))
    optimiser = Optimiser(name="muon", lr=1.0, weight_decay=0.0).build(network)
    before = [p.detach().clone() for p in network.parameters()]
    random = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=random)
    optimiser.step()
    steps = [(old - p.detach()).flatten(1) for old, p in zip(before, network.parameters(), strict=True)]
    first, second = (torch.linalg.svdvals(step) / (0.2 * step.shape[1] ** 0.5) for step in steps)
    assert 0.6 < float(second.min()) <= float(second.max()) < 1.3
    assert float(first.max()) < 0.6


def test_only_weights_of_two_dimensions_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decays = {p.ndim > 1: g["weight_decay"] for g in Optimiser().build(network).param_groups for p in g["params"]}
    assert decays == {True: 0.01, False: 0.0}


def test_every_shipped_recipe_is_valid() -> None:
    for name in recipes.recipe_names():
        recipe = recipes.parse(recipes.shipped_tree(name), name)
        assert recipe.model == name


def test_options_override_the_recipe() -> None:
    tree: dict[str, Any] = {"optimiser": {"lr": 1.0, "clip": 2.0}}
    recipes.put(tree, {"optimiser.lr": 0.5, "schedule.decay_from": 7, "batch": None})
    assert tree == {"optimiser": {"lr": 0.5, "clip": 2.0}, "schedule": {"decay_from": 7}}
    with pytest.raises(ExportError, match="model is no table"):
        recipes.put({"model": "x"}, {"model.lr": 1})


def test_what_may_differ_when_a_run_goes_on() -> None:
    before = {"batch": 4, "steps": 10, "schedule": {"warmup": 1}, "validation": {"data": None}, "ema": {"decay": 0.9}}
    assert recipes.differences(before, {**before, "steps": 20, "schedule": {"warmup": 2}}) == []
    assert recipes.differences(before, {**before, "ema": {"decay": 0.5}, "batch": 5}) == [
        "batch: 4 before, 5 now", "ema.decay: 0.9 before, 0.5 now",
    ]  # fmt: skip


def test_an_engine_of_a_network() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, 2, padding=1), torch.nn.Dropout(0.5))
    engine = TorchEngine(network, ["maps"], (32, 16))
    assert [str(spec) for spec in (*engine.inputs, *engine.outputs)] == [
        "float32 (any, 3, 16, 32)", "float32 (any, 2, 8, 16)",
    ]  # fmt: skip
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 32), dtype=np.float32)
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(engine.infer({"image": images})["maps"], wanted, atol=1e-6)


def test_precision() -> None:
    assert choose("cpu", "off").autocast is None
    assert choose("cpu", "bf16").autocast is torch.bfloat16
    assert choose("cpu", "fp16").scaler() is not None
    assert str(choose("cpu", "bf16")) == "cpu, bfloat16"
    if not torch.cuda.is_available():
        assert choose("auto", "off").device.type == "cpu"


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    terminal, pipe = (Console(file=io.StringIO(), force_terminal=kind, width=120) for kind in (True, False))
    for console in (terminal, pipe):
        with Shown(40, console) as shown:
            for step in range(1, 11):
                shown.step(step)
            shown.row(10, "loss 0.5 [not markup]")
    assert pipe.file.getvalue() == "step 10/40  loss 0.5 [not markup]\n"  # type: ignore[attr-defined]
    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "10/40" in drawn
    assert "loss 0.5 [not markup]" in drawn
