"""Histograms of a network's inner tensors over pictures, in bounded memory.

What is counted can be kept in a file from time to time, for a broken run to go on from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pose_calibration.collected import Collected, read_collected, write_collected
from pose_calibration.histogram import BINS, Histogram
from pose_calibration.passes import BUDGET_BYTES, Inputs, Passes, Survey
from pose_runtime.arrays import AnyArray
from pose_runtime.errors import CalibrationError

SAVE_EVERY = 16
"""Inputs, from one writing of the state to the next."""
_VERSION = 2  # of how values are counted


Tell = Callable[[int, int], None]
"""Told how many runs are done, and of how many."""


def collect(
    graph: bytes,
    tensors: Sequence[str],
    inputs: Inputs,
    *,
    budget_bytes: int = BUDGET_BYTES,
    threads: int | None = None,
    names: Sequence[str] = (),
    state: Path | None = None,
    tell: Tell | None = None,
) -> dict[str, Histogram]:
    """Run the network over all inputs by ONNX Runtime, and count the values of every tensor.

    Args:
        graph: an ONNX model with one input and all its weights.
        tensors: names of float tensors in it; the input may be among them.
        inputs: of the network. They are gone through once more than there are groups.
        budget_bytes: for the tensors of one run; one that is larger gets a group of its own. On top come the network
            itself, its copies of these tensors in its own layout, the histograms (64 KiB a tensor) and one input: about
            twice the budget, and four times the graph.
        threads: of the network, and that count; None for one per core.
        names: of the inputs, for messages; else they are numbered from 0.
        state: a file that keeps what is counted from time to time. A later call with the same graph, tensors and
            inputs goes on from it; anything else starts afresh and replaces it.
        tell: told after every run.

    Returns:
        A histogram per tensor, in the order of `tensors`.

    Raises:
        CalibrationError: no inputs, inputs that change, a tensor that the graph lacks or that holds no floats, NaN or
            infinity in a tensor (the message names it and the input), or a state that cannot be written.
        EngineError: ONNX Runtime cannot load the graph or run it.
    """
    passes = Passes(graph, tensors, inputs, budget_bytes=budget_bytes, threads=threads, names=names)
    collected = Collected(_key(graph, tensors, passes.survey))
    if state is not None:
        collected = read_collected(state, collected.key)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        collection = _Collection(passes, state, tell, pool)
        for group in passes.groups:
            collection.add(group, collected)
    return {name: collected.whole[name] for name in tensors}


def _key(graph: bytes, tensors: Sequence[str], survey: Survey) -> str:
    digest = hashlib.sha256(repr((_VERSION, BINS, sorted(tensors), survey.count)).encode())
    digest.update(hashlib.sha256(graph).digest() + survey.digest)
    return digest.hexdigest()


# ---- counting --------------------------------------------------------------------------------------------------


@dataclass
class _Collection:
    """Passes over all inputs, one per group."""

    passes: Passes
    state: Path | None
    tell: Tell | None
    pool: ThreadPoolExecutor
    done: int = 0

    def add(self, group: tuple[str, ...], collected: Collected) -> None:
        """Count one group's tensors over all inputs, or over those that are left."""
        if collected.whole.keys() >= set(group):
            self._did(self.passes.survey.count)
            return
        if set(collected.part) != set(group):  # nothing yet, or grouped by another budget
            collected.part, collected.inputs = {name: Histogram() for name in group}, 0
        self._did(collected.inputs)
        for number, tensors in self.passes.run(group, collected.inputs):
            self._count(tensors, collected.part, number)
            collected.inputs = number + 1
            self._did(1)
            if collected.inputs % SAVE_EVERY == 0 and collected.inputs < self.passes.survey.count:
                self._save(collected)
        collected.whole |= collected.part
        collected.part, collected.inputs = {}, 0
        self._save(collected)

    def _count(self, tensors: Mapping[str, AnyArray], part: Mapping[str, Histogram], number: int) -> None:
        def add(name: str) -> None:
            try:
                part[name].add(tensors[name])
            except CalibrationError as error:
                raise CalibrationError(f"tensor {name!r}: {error}, for picture {self.passes.name(number)}") from None

        for _ in self.pool.map(add, part):  # NumPy counts without Python's lock; the first error in order is raised
            pass

    def _did(self, runs: int) -> None:
        self.done += runs
        if self.tell is not None and runs:
            self.tell(self.done, len(self.passes.groups) * self.passes.survey.count)

    def _save(self, collected: Collected) -> None:
        if self.state is not None:
            write_collected(self.state, collected)
