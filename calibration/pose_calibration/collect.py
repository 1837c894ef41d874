"""Histograms of a network's inner tensors over pictures, in bounded memory.

Tensors are taken in groups that fit into a budget. Each group is one pass over all pictures through the part of the
network that it needs; so memory depends neither on the number of pictures nor on that of tensors.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pose_calibration.collected import Collected, read_collected, write_collected
from pose_calibration.histogram import BINS, Histogram
from pose_calibration.taps import Shape, Taps, bytes_of, order_of, shapes_of
from pose_runtime.arrays import AnyArray
from pose_runtime.errors import CalibrationError

BUDGET_BYTES = 512 << 20
"""Of the tensors that one run gives out."""
SAVE_EVERY = 16
"""Inputs, from one writing of the state to the next."""
_VERSION = 1  # of how values are counted


class Inputs(Protocol):
    """Network inputs, floats (N, C, H, W) each; they can be gone through again and again and stay the same."""

    def __iter__(self) -> Iterator[AnyArray]: ...


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
    if iter(inputs) is inputs:
        raise CalibrationError("calibration inputs: got what can be gone through once only; give a list or the like")
    input_name, order = order_of(graph)
    missing = set(tensors) - {input_name, *order}
    if missing:
        raise CalibrationError(f"tensor {min(missing)!r}: the graph does not compute it")
    survey = _survey(inputs)
    inner = sorted(set(tensors) - {input_name}, key=order.index)
    shapes = shapes_of(graph, inner, survey.shapes, threads) if inner else {}
    groups = _groups(inner, shapes, budget_bytes)
    if input_name in tensors:
        groups = ((input_name, *groups[0]), *groups[1:]) if groups else ((input_name,),)
    collected = Collected(_key(graph, tensors, survey))
    if state is not None:
        collected = read_collected(state, collected.key)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        collection = _Collection(
            graph, input_name, inputs, shapes, survey, threads, names, state, tell, len(groups), pool
        )
        for group in groups:
            collection.add(group, collected)
    return {name: collected.whole[name] for name in tensors}


# ---- what there is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    """Of the inputs: how many, of which shapes, SHA-256 of them all."""

    count: int
    shapes: tuple[Shape, ...]
    digest: bytes


def _survey(inputs: Inputs) -> _Survey:
    count, shapes, digest = 0, dict[Shape, None](), hashlib.sha256()
    for array in inputs:
        count += 1
        shapes[array.shape] = None
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    if not count:
        raise CalibrationError("calibration inputs: got none, wanted one picture at least")
    return _Survey(count, tuple(shapes), digest.digest())


def _groups(
    tensors: Sequence[str], shapes: Mapping[Shape, Mapping[str, Shape]], budget_bytes: int
) -> tuple[tuple[str, ...], ...]:
    """Tensors in the given order, as many to a group as fit into the budget, whatever the input's shape."""
    groups: list[list[str]] = []
    left = 0
    for name in tensors:
        size = max(bytes_of([found[name]]) for found in shapes.values())
        if not groups or size > left:
            groups.append([])
            left = budget_bytes
        groups[-1].append(name)
        left -= size
    return tuple(tuple(group) for group in groups)


def _key(graph: bytes, tensors: Sequence[str], survey: _Survey) -> str:
    digest = hashlib.sha256(repr((_VERSION, BINS, sorted(tensors), survey.count)).encode())
    digest.update(hashlib.sha256(graph).digest() + survey.digest)
    return digest.hexdigest()


# ---- counting --------------------------------------------------------------------------------------------------


@dataclass
class _Collection:
    """Passes over all inputs, one per group."""

    graph: bytes
    input_name: str
    inputs: Inputs
    shapes: Mapping[Shape, Mapping[str, Shape]]
    survey: _Survey
    threads: int | None
    names: Sequence[str]
    state: Path | None
    tell: Tell | None
    passes: int
    pool: ThreadPoolExecutor
    done: int = 0

    def add(self, group: tuple[str, ...], collected: Collected) -> None:
        """Count one group's tensors over all inputs, or over those that are left."""
        if collected.whole.keys() >= set(group):
            self._did(self.survey.count)
            return
        if set(collected.part) != set(group):  # nothing yet, or grouped by another budget
            collected.part, collected.inputs = {name: Histogram() for name in group}, 0
        self._did(collected.inputs)
        for number, tensors in self._tensors(group, collected.inputs):
            self._count(tensors, collected.part, number)
            collected.inputs = number + 1
            self._did(1)
            if collected.inputs % SAVE_EVERY == 0 and collected.inputs < self.survey.count:
                self._save(collected)
        if collected.inputs != self.survey.count:
            raise CalibrationError(f"calibration inputs: got {self.survey.count}, then {collected.inputs} of them")
        collected.whole |= collected.part
        collected.part, collected.inputs = {}, 0
        self._save(collected)

    def _tensors(self, group: tuple[str, ...], start: int) -> Iterator[tuple[int, Mapping[str, AnyArray]]]:
        """Number of the input, and the tensors for it, which hold until the next."""
        inner = [name for name in group if name != self.input_name]
        given = [name for name in group if name == self.input_name]
        wanted = {shape: {name: found[name] for name in inner} for shape, found in self.shapes.items()}
        buffer = np.empty(max((bytes_of(found.values()) for found in wanted.values()), default=0), np.uint8)
        taps = Taps(self.graph, inner, self.threads) if inner else None
        for number, array in enumerate(itertools.islice(self.inputs, start, None), start):
            if array.shape not in self.survey.shapes:
                raise CalibrationError(f"calibration inputs: {self._name(number)} has another shape than before")
            tensors = dict.fromkeys(given, array)
            yield number, tensors if taps is None else tensors | taps.run(array, wanted[array.shape], buffer)

    def _count(self, tensors: Mapping[str, AnyArray], part: Mapping[str, Histogram], number: int) -> None:
        def add(name: str) -> None:
            try:
                part[name].add(tensors[name])
            except CalibrationError as error:
                raise CalibrationError(f"tensor {name!r}: {error}, for picture {self._name(number)}") from None

        for _ in self.pool.map(add, part):  # NumPy counts without Python's lock; the first error in order is raised
            pass

    def _name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else str(number)

    def _did(self, runs: int) -> None:
        self.done += runs
        if self.tell is not None and runs:
            self.tell(self.done, self.passes * self.survey.count)

    def _save(self, collected: Collected) -> None:
        if self.state is not None:
            write_collected(self.state, collected)
