from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_runtime.errors import ExportError

torch = pytest.importorskip("torch")

from pose_export.files import lock_folder  # noqa: E402
from pose_export.training.parallel import Group  # noqa: E402
from pose_export.training.precision import choose  # noqa: E402
from pose_export.training.qat import quantise  # noqa: E402
from pose_export.training.recipe import Recipe, parse  # noqa: E402
from pose_export.training.trainer import Task, Trainer  # noqa: E402
from roundings import pictures, plan_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def trainer(out: Path, of: Recipe, amp: Any = "off", **changes: Any) -> Trainer:
    return Trainer(of, task(**changes), choose("cpu", amp), out)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [*trainer.network.state_dict().values(), *trainer.averaged().state_dict().values()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("name", "amp"), [("compact", "off"), ("muon", "off"), ("adamw", "off"), ("compact", "fp16"), ("compact", "bf16")]
)
def test_a_run_in_chunks_gives_the_weights_of_an_unbroken_one(tmp_path: Path, name: str, amp: Any) -> None:
    wanted = recipe(optimiser={"name": name, "lr": 0.02})
    whole = trainer(tmp_path / "whole", wanted, amp)
    assert whole.run() == "done"
    for minutes in (0, 0, 0, None):  # three chunks of one step, then the rest
        part = trainer(tmp_path / "parts", wanted, amp)
        if (tmp_path / "parts/state.npz").exists():
            part.resume()
        assert part.run(minutes) == ("done" if minutes is None else "time")
    assert part.step == whole.step == 40
    assert equal(weights(part), weights(whole))
    assert (tmp_path / "parts/weights.pth").read_bytes() == (tmp_path / "whole/weights.pth").read_bytes()


def test_so_does_a_run_with_the_roundings_of_int8(tmp_path: Path) -> None:
    """Whose weights are still those of the plain network; batch norms keep their statistics."""
    torch.manual_seed(1)
    plan = plan_of(Tiny().eval(), ("maps",), pictures())
    wanted, plain = recipe(), list(Tiny().state_dict())

    def rounding() -> Task:
        torch.manual_seed(1)
        network = Tiny().eval()
        return task(network=network, wrap=quantise(network, plan, "plan", outputs=("maps",), step=2))

    whole = Trainer(wanted, rounding(), choose("cpu", "off"), tmp_path / "whole")
    before = whole.network.norm.running_mean.clone()
    whole.run()
    for minutes in (0, 0, None):
        part = Trainer(wanted, rounding(), choose("cpu", "off"), tmp_path / "parts")
        if (tmp_path / "parts/state.npz").exists():
            part.resume()
        part.run(minutes)
    assert equal(weights(part), weights(whole))
    unrounded = trainer(tmp_path / "plain", wanted)
    unrounded.run()
    assert not equal(weights(unrounded), weights(whole))
    assert list(torch.load(tmp_path / "whole/weights.pth")) == list(whole.averaged().state_dict()) == plain
    assert torch.equal(whole.network.norm.running_mean, before)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    runs = [trainer(tmp_path / str(i), recipe(seed=seed)) for i, seed in enumerate((3, 3, 4))]
    for run in runs:
        run.run()
    assert equal(weights(runs[0]), weights(runs[1]))
    assert not equal(weights(runs[0]), weights(runs[2]))  # dropout follows the seed


def test_it_learns_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured: list[Any] = []

    def validate(network: Any) -> float:
        assert not network.training
        measured.append(network)
        return 12.5

    run = trainer(tmp_path, recipe(validation={"every": 20}), validate=validate)
    run.run()
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [7, 14, 20, 21, 28, 35, 40]
    assert [row["ap"] for row in rows] == ["", "", "12.5", "", "", "", "12.5"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) / 2
    assert float(rows[-1]["loss"]) == pytest.approx(
        float(rows[-1]["loss_red"]) + float(rows[-1]["loss_green"]), rel=1e-4
    )
    assert len(measured) == 2
    assert (run.ap, run.step) == (12.5, 40)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("step 40/40  loss ")
    assert "AP 12.5" in lines[-1]


def test_the_averages_are_those_of_the_weights(tmp_path: Path) -> None:
    """Against the plain formula in float64; 16 bits per row are all that may be lost."""
    run = trainer(tmp_path, recipe(ema={"decay": 0.9, "every": 2}))
    average = {name: value.double().clone() for name, value in run.network.state_dict().items()}
    step = run._step

    def recorded(images: Any, targets: Any) -> dict[str, float]:
        terms = step(images, targets)
        if run.step % 2 == 0:
            share = 1 - min(0.9, (1 + run.step) / (10 + run.step)) ** 2
            for name, value in run.network.state_dict().items():
                average[name] += share * (value.double() - average[name])
        return terms

    run._step = recorded  # type: ignore[method-assign]
    run.run()
    for name, value in run.averaged().state_dict().items():
        if value.is_floating_point():
            assert float((value.double() - average[name]).abs().max()) < 1e-3 * float(average[name].abs().max()), name


def test_curves_of_steps_that_are_done_again_are_left_out(tmp_path: Path) -> None:
    run = trainer(tmp_path, recipe())
    run.run()
    (tmp_path / "state.npz").write_bytes((tmp_path / "before-decay.npz").read_bytes())  # step 32
    again = trainer(tmp_path, recipe())
    assert again.resume().endswith("goes on at step 32 of 40")
    again.run()
    with (tmp_path / "curves.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [7, 14, 21, 28, 35, 40]
    assert equal(weights(again), weights(run))


def test_a_finished_run_is_prolonged_from_before_its_rate_fell(tmp_path: Path) -> None:
    trainer(tmp_path / "a", recipe()).run()
    longer = trainer(tmp_path / "a", recipe(steps=60))
    assert longer.resume().endswith("goes on at step 32 of 60")
    longer.run()
    at_once = trainer(tmp_path / "b", recipe(steps=60))
    at_once.run()
    assert equal(weights(longer), weights(at_once))


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    trainer(tmp_path, recipe()).run()
    before = (tmp_path / "weights.pth").read_bytes(), (tmp_path / "curves.csv").read_bytes()
    again = trainer(tmp_path, recipe())
    again.resume()
    assert again.run() == "done"
    assert ((tmp_path / "weights.pth").read_bytes(), (tmp_path / "curves.csv").read_bytes()) == before


# ---- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 8}, "batch: 4 before, 8 now"),
        ({"optimiser": {"lr": 0.01}}, r"optimiser\.lr: 0\.02 before, 0\.01 now"),
        ({"data": ["none", "more"]}, "data: "),
        ({"method": {"sigma": 1.0}}, r"method\.sigma: None before, 1\.0 now"),
    ],
)
def test_the_state_of_another_recipe_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    trainer(tmp_path, recipe(steps=2)).run()
    with pytest.raises(ExportError, match=f"another recipe: .*{message}"):
        trainer(tmp_path, recipe(**changes)).resume()


def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, recipe(steps=2)).run()
    network = Tiny()
    network.head = torch.nn.Conv2d(8, 3, 1)
    with pytest.raises(ExportError, match="another version of tiny"):
        trainer(tmp_path, recipe(), network=network).resume()


def broken(kind: str, data: bytes) -> bytes:
    if kind == "cut":
        return data[: len(data) // 2]
    if kind == "empty":
        return b""
    if kind == "flipped":
        place = data.index(b"float32.npy") + 400
        return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
    arrays = dict(np.load(io.BytesIO(data)))
    if kind == "too large":
        arrays["float32"] = np.zeros((4, 10_000_000), np.uint8)
    elif kind == "too small":
        arrays["float32"] = arrays["float32"][:, :-1]
    elif kind == "not finite":
        arrays["float32"] = np.full_like(arrays["float32"], 255)
    elif kind == "version":
        arrays["meta"] = np.frombuffer(arrays["meta"].tobytes().replace(b'"version":1', b'"version":7'), np.uint8)
    elif kind == "no meta":
        del arrays["meta"]
    elif kind == "pickle":
        arrays["meta"] = np.array([object()], object)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "flipped", "too large", "too small", "not finite", "version", "no meta", "pickle"]
)
def test_a_damaged_state_is_refused(tmp_path: Path, kind: str) -> None:
    trainer(tmp_path, recipe(steps=2)).run()
    path = tmp_path / "state.npz"
    path.write_bytes(broken(kind, path.read_bytes()))
    again = trainer(tmp_path, recipe())
    before = weights(again)
    with pytest.raises(ExportError, match=r"state\.npz: "):
        again.resume()
    assert equal(weights(again), before)


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_state(tmp_path: Path) -> None:
    def diverging(outputs: Any, targets: Any) -> dict[str, Any]:
        return {"maps": outputs[0].mean() * (float("nan") if run.step == 9 else 1.0)}

    run = trainer(tmp_path, recipe())
    run.run(0)
    state = (tmp_path / "state.npz").read_bytes()
    run = trainer(tmp_path, recipe(), loss=diverging)
    run.resume()
    with pytest.raises(ExportError, match=r"step 9: the loss is nan .*lower the learning rate.*holds the last good"):
        run.run()
    assert (tmp_path / "state.npz").read_bytes() == state


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    def root(outputs: Any, targets: Any) -> dict[str, Any]:
        return {"maps": (outputs[0] * 0).sum().sqrt()}  # 0, with an infinite slope

    with pytest.raises(ExportError, match="step 0: the gradient's norm is nan"):
        trainer(tmp_path, recipe(), loss=root).run()


def test_batches_that_end_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="data: ended at step 0"):
        trainer(tmp_path, recipe(), batches=lambda start: iter(())).run()


def test_a_signal_ends_the_run_after_the_step(tmp_path: Path) -> None:
    def interrupting(start: int) -> Iterator[Any]:
        for number, batch in enumerate(batches(start), start):
            if number == 5:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    run = trainer(tmp_path, recipe(), batches=interrupting)
    assert run.run() == "interrupted"
    assert run.step == 6
    again = trainer(tmp_path, recipe())
    assert again.resume().endswith("step 6 of 40")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)
import test_trainer as tests
run = tests.trainer(Path(sys.argv[1]), tests.recipe(steps=1 << 30, save_every_s=0))
if (Path(sys.argv[1]) / "state.npz").exists():
    run.resume()
run.run()
"""


def test_a_kill_at_any_time_leaves_a_whole_state(tmp_path: Path) -> None:
    """A process that writes its state after every step is killed at several moments; each leaves what can be read."""
    script = KILLED.format(path=[str(Path(__file__).parent), *sys.path])
    state, step = tmp_path / "state.npz", 0
    for pause in (0.0, 0.017):
        written = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.DEVNULL)
        while not (state.exists() and state.stat().st_mtime_ns > written):
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(pause)
        process.kill()
        process.wait()
        again = trainer(tmp_path, recipe(steps=1 << 30))
        again.resume()
        assert again.step > step
        step = again.step


# ---- what a state weighs ---------------------------------------------------------------------------------------


def test_processes_that_train_together_do_what_one_does(tmp_path: Path) -> None:
    """The same weights but for rounding, and both processes hold the same ones; only the first writes."""
    folders = [tmp_path / "alone", tmp_path / "pair"]
    script = [Path(__file__).parent.parent / "together.py"]
    group = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for launcher, folder in zip(([], group), folders, strict=True):
        subprocess.run([sys.executable, *launcher, *script, folder], check=True, capture_output=True, timeout=300)
    alone, pair = (torch.load(folder / "weights.pth") for folder in folders)
    for name, value in alone.items():
        assert torch.allclose(value, pair[name], rtol=1e-3, atol=1e-4), name
    ranks = [torch.load(folders[1] / f"rank-{rank}.pth") for rank in (0, 1)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    wanted, found = (
        [float(row["loss"]) for row in csv.DictReader(io.StringIO((folder / "curves.csv").read_text()))]
        for folder in folders
    )
    assert found == pytest.approx(wanted, rel=1e-3)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    assert [Group(rank, 3).part(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    with pytest.raises(ExportError, match="batch: got 7, wanted a multiple of the 3 processes"):
        Group(1, 3).part(7)


def test_a_state_takes_six_bytes_per_parameter(tmp_path: Path) -> None:
    network = torch.nn.Sequential(*(torch.nn.Conv2d(96, 96, 3, padding=1) for _ in range(4)), torch.nn.Conv2d(96, 2, 1))

    def few(start: int) -> Iterator[Any]:
        for images, targets in batches(start):
            yield images, {"maps": torch.nn.functional.interpolate(targets["maps"], scale_factor=2)}

    run = trainer(
        tmp_path, recipe(steps=9, ema={"every": 1}), network=torch.nn.Sequential(torch.nn.Conv2d(3, 96, 1), network),
        batches=few,
    )  # fmt: skip
    run.run()
    size = (tmp_path / "state.npz").stat().st_size
    assert 4 * run.parameters() < size < 6.1 * run.parameters()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    one = trainer(tmp_path / "run", recipe(steps=2))
    with lock_folder(tmp_path / "run"), pytest.raises(ExportError, match="another process"):
        one.run()
    assert one.run() == "done"
