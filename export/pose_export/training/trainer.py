"""The loop: from a network, its loss and batches to weights, in chunks that resume to the bit."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from pose_export.files import lock_folder, write_file
from pose_export.training import state
from pose_export.training.curves import Curves, plot
from pose_export.training.ema import Ema
from pose_export.training.interrupt import Interrupt, interruptible
from pose_export.training.parallel import ALONE, Group
from pose_export.training.precision import Compute
from pose_export.training.progress import Shown
from pose_export.training.recipe import Recipe, differences, plain
from pose_export.training.torch_engine import as_tuple
from pose_runtime.errors import ExportError

STATE, BEFORE_DECAY, WEIGHTS, CURVES, PLOT = "state.npz", "before-decay.npz", "weights.pth", "curves.csv", "curves.png"

Batch = tuple[Tensor, Mapping[str, Tensor]]
"""Images, uint8 (N, 3, H, W), R, G, B; and what the loss wants to know of them, each with the batch first."""

End = Literal["done", "time", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained, on what.

    Attributes:
        network: takes float32 (N, 3, H, W), returns a tensor or several of them.
        prepare: uint8 images, R, G, B, as the network wants them.
        loss: from the outputs (float32) and a batch's targets; the terms, whose sum is the loss.
        batches: endless, from the batch of that number on; the same number is always the same batch.
        validate: AP, in points, of a network in evaluation mode; None does without.
        wrap: the network as it runs while it trains, from the network whose weights are kept; both hold the same ones.
    """

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    loss: Callable[[tuple[Tensor, ...], Mapping[str, Tensor]], dict[str, Tensor]]
    batches: Callable[[int], Iterator[Batch]]
    validate: Callable[[nn.Module], float] | None
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network


@dataclass
class _Window:
    """Means over the steps since the last row of the curves."""

    start: float = field(default_factory=monotonic)
    images: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, images: int, terms: Mapping[str, float]) -> None:
        self.images, self.steps = self.images + images, self.steps + 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: value / self.steps for name, value in self.sums.items()}


class Trainer:
    """One run in a folder of its own.

    The folder holds `state.npz` (what `resume` goes on from), `before-decay.npz` (the same, before the rate fell),
    `weights.pth` (averaged weights, for pose-export), `curves.csv` and `curves.png`. Each is replaced in one step, so
    that a whole one stands there whenever the process dies.

    Everything random in step t follows from the recipe's seed and t, and everything that lasts from step to step is in
    the state: on a CPU, with the same number of threads, the weights do not depend on how the run was cut.

    Args:
        recipe: of the run.
        task: what the recipe names.
        compute: where, and in what precision.
        out: the folder; made where it is missing.
        group: the processes that train together; the first one writes.

    Attributes:
        step: steps done.
        ap: last measured, points; None before the first time.
    """

    def __init__(self, recipe: Recipe, task: Task, compute: Compute, out: Path, group: Group = ALONE) -> None:
        self.recipe, self.task, self.compute, self.out, self.group = recipe, task, compute, out, group
        self.step = 0
        self.ap: float | None = None
        self.network = task.network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._running = task.wrap(self.network)
        compact = recipe.optimiser.name != "adamw"
        self._optimiser = recipe.optimiser.build(self.network)
        self._ema = Ema(self.network, recipe.ema, compact=compact)
        self._scaler = compute.scaler()
        self._wall_s = 0.0  # before this chunk
        self._started = self._saved = monotonic()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"{out}: cannot make the folder: {error.strerror or error}") from error
        self._curves = Curves(out / CURVES)

    def parameters(self) -> int:
        """How many the network has."""
        return sum(p.numel() for p in self.network.parameters())

    def resume(self) -> str:
        """Go on from the folder's state; says from where.

        Where the recipe now lets the rate fall later than the state's did, from the state before the fall.

        Raises:
            ExportError: there is no state, it is damaged, or it is another recipe's or another network's.
        """
        path = self.out / STATE
        meta = state.read_meta(path)
        if meta.decay_from < meta.step < self._decay_from():
            path = self.out / BEFORE_DECAY
            meta = state.read_meta(path)
        self._check(meta, path)
        state.read_tensors(path, self._tensors())
        if self._scaler is not None and meta.scaler is not None:
            self._scaler.load_state_dict(dict(meta.scaler))
        self.step, self._wall_s = meta.step, meta.wall_s
        self._curves.read(self.step)
        return f"{path}: goes on at step {meta.step} of {self.recipe.steps}"

    def run(self, minutes: float | None = None) -> End:
        """Steps until all are done, the time is up, or a signal comes; then the state is saved.

        Args:
            minutes: after which the run ends at the next step; None does all steps.

        Raises:
            ExportError: the loss or a gradient is no longer finite; then the last saved state stays. Or another process
                runs in the folder.
        """
        end = self._started + 60 * minutes if minutes is not None else float("inf")
        leads = self.group.leads
        lock = lock_folder(self.out) if leads else contextlib.nullcontext()
        console = None if leads else Console(quiet=True)
        with lock, interruptible() as interrupt, Shown(self.recipe.steps, console) as shown:
            reason = self._steps(end, interrupt, shown)
            if leads:
                self._finish()
        return reason

    def _steps(self, end: float, interrupt: Interrupt, shown: Shown) -> End:
        window = _Window()
        if self.step >= self.recipe.steps:
            return "done"
        for images, targets in self.task.batches(self.step):
            if self.group.leads and self.step == self._decay_from():
                self._write_state(BEFORE_DECAY)
            terms = self._step(images, targets)
            window.add(len(images) * self.group.size, terms)
            done = self.step >= self.recipe.steps
            measure = done or self.step % self.recipe.validation.every == 0
            if measure or self.step % self.recipe.log_every == 0:
                self._row(window, shown, measure=measure)
                window = _Window()
            shown.step(self.step)
            if done:
                return "done"
            interrupted, late = self.group.any((bool(interrupt.wanted), monotonic() >= end))
            if interrupted:
                return "interrupted"
            if late:
                return "time"
            if self.group.leads and monotonic() - self._saved >= self.recipe.save_every_s:
                self._save()
        raise ExportError(f"data: ended at step {self.step}; wanted batches without end")

    def _step(self, images: Tensor, targets: Mapping[str, Tensor]) -> dict[str, float]:
        """One step; the loss's terms."""
        torch.manual_seed(int(np.random.SeedSequence((self.recipe.seed, self.step)).generate_state(1)[0]))
        self._running.train()
        device = self.compute.device
        x = self.task.prepare(images.to(device, non_blocking=True))
        with self.compute.context():
            outputs = as_tuple(self._running(x.contiguous(memory_format=torch.channels_last)))
        there = {name: target.to(device, non_blocking=True) for name, target in targets.items()}
        # the targets' memory layout: reading two layouts side by side is slow (5 % of a whole step)
        terms = self.task.loss(tuple(output.float().contiguous() for output in outputs), there)
        values = self._descend(terms)
        self.step += 1
        self._ema.after(self.step)
        return values

    def _descend(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Gradients, then a step, of the loss over all processes; its terms."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        scaler = self._scaler
        costs = torch.stack(list(terms.values()))
        loss = costs.sum()
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        costs = costs.detach()
        self._average(costs)
        values = dict(zip(terms, costs.tolist(), strict=True))
        if not bool(torch.isfinite(costs).all()):
            raise self._diverged(f"the loss is {sum(values.values())}", values)
        if scaler is not None:
            scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)
        if scaler is not None:  # leaves out steps whose gradients overflowed, and lowers its scale
            scaler.step(self._optimiser)
            scaler.update()
        elif bool(torch.isfinite(norm)):
            self._optimiser.step()
        else:
            raise self._diverged(f"the gradient's norm is {float(norm)}", values)
        return values

    def _average(self, costs: Tensor) -> None:
        """The processes' means of costs, gradients and batch statistics."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        statistics = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        self.group.mean_([costs, *gradients, *statistics])

    def _diverged(self, what: str, values: Mapping[str, float]) -> ExportError:
        terms = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        kept = f"{self.out / STATE} holds the last good state" if (self.out / STATE).exists() else "no state was saved"
        return ExportError(
            f"step {self.step}: {what} ({terms}); lower the learning rate or lengthen the warm-up; {kept}"
        )

    # ---- what is shown and written ------------------------------------------------------------------------------

    def _row(self, window: _Window, shown: Shown, *, measure: bool) -> None:
        """One row of the curves, with AP where it is time to measure."""
        means, loss = window.means(), sum(window.means().values())
        rate, speed = self._rate(self.step - 1), window.images / max(monotonic() - window.start, 1e-9)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        text = f"loss {loss:.4g} ({terms})  lr {rate:.2e}  {speed:.1f} images/s"
        self._curves.add(self.step, rate, loss, means, speed, self._wall())
        if measure and self.group.leads and self.task.validate is not None:
            self._write_weights()
            self.ap = self.task.validate(self.averaged())
            self._curves.measured(self.ap)
            text += f"  AP {self.ap:.1f}"
        shown.row(self.step, text)

    def _decay_from(self) -> int:
        return self.recipe.schedule.decay_start(self.recipe.steps)

    def _rate(self, step: int) -> float:
        return self.recipe.optimiser.lr * self.recipe.schedule.factor(step, self.recipe.steps)

    def averaged(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode; a copy."""
        network: nn.Module = copy.deepcopy(self.network)
        network.load_state_dict(self._ema.state_dict())
        return network.eval()

    def _finish(self) -> None:
        self._save()
        self._write_weights()
        plot(self._curves.rows, self.out / PLOT, self.recipe.model)

    def _save(self) -> None:
        self._write_state(STATE)
        self._curves.write()
        self._saved = monotonic()

    def _write_state(self, name: str) -> None:
        tensors = self._tensors()
        meta = state.Meta(
            version=state.VERSION,
            recipe=plain(self.recipe),
            layout=state.layout(tensors),
            step=self.step,
            decay_from=self._decay_from(),
            wall_s=self._wall(),
            scaler=None if self._scaler is None else self._scaler.state_dict(),
        )
        state.write_state(self.out / name, meta, tensors)

    def _write_weights(self) -> None:
        """The averaged weights as a state dict: tensors only, which any reader can load without running code."""
        dtype = getattr(torch, self.recipe.weights)
        weights = {
            name: value.to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
            for name, value in self._ema.state_dict().items()
        }
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        write_file(self.out / WEIGHTS, buffer.getvalue())

    # ---- what is kept ------------------------------------------------------------------------------------------

    def _tensors(self) -> list[Tensor]:
        """All that the next step depends on, in a fixed order."""
        return [*self.network.state_dict().values(), *self._optimiser.tensors(), *self._ema.tensors()]

    def _check(self, meta: state.Meta, path: Path) -> None:
        different = differences(meta.recipe, plain(self.recipe))
        if different:
            more = f" and {len(different) - 5} more" if len(different) > 5 else ""
            raise ExportError(
                f"{path}: is of another recipe: {'; '.join(different[:5])}{more}; give the same options, or another "
                "--out (with --init to start from its weights)"
            )
        if meta.layout != state.layout(self._tensors()):
            raise ExportError(f"{path}: is of another version of {self.recipe.model}; start anew with --init")

    def _wall(self) -> float:
        return self._wall_s + monotonic() - self._started
