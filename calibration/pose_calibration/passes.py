"""Passes of a network over its inputs that give out inner tensors, in bounded memory.

Tensors are taken in groups that fit into a budget. Each group is one pass over all inputs through the part of the
network that it needs; so memory depends neither on the number of inputs nor on that of tensors.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pose_calibration.taps import Shape, Taps, bytes_of, order_of, shapes_of
from pose_runtime.arrays import AnyArray
from pose_runtime.errors import CalibrationError

BUDGET_BYTES = 512 << 20
"""Of the tensors that one run gives out."""


class Inputs(Protocol):
    """Network inputs, floats (N, C, H, W) each; they can be gone through again and again and stay the same."""

    def __iter__(self) -> Iterator[AnyArray]: ...


class Passes:
    """The passes that some tensors need.

    Args:
        graph, tensors, inputs, budget_bytes, threads, names: as in `collect.collect`.

    Attributes:
        groups: tensors of one pass each.
        survey: of the inputs.

    Raises:
        CalibrationError: no inputs, or a tensor that the graph lacks or that holds no floats.
        EngineError: ONNX Runtime cannot load the graph or run it.
    """

    def __init__(
        self,
        graph: bytes,
        tensors: Sequence[str],
        inputs: Inputs,
        *,
        budget_bytes: int = BUDGET_BYTES,
        threads: int | None = None,
        names: Sequence[str] = (),
    ) -> None:
        if iter(inputs) is inputs:
            raise CalibrationError(
                "calibration inputs: got what can be gone through once only; give a list or the like"
            )
        self._graph, self._inputs, self._threads, self._names = graph, inputs, threads, names
        self._input_name, order = order_of(graph)
        missing = set(tensors) - {self._input_name, *order}
        if missing:
            raise CalibrationError(f"tensor {min(missing)!r}: the graph does not compute it")
        self.survey = _survey(inputs)
        inner = sorted(set(tensors) - {self._input_name}, key=order.index)
        self._shapes = shapes_of(graph, inner, self.survey.shapes, threads) if inner else {}
        groups = _groups(inner, self._shapes, budget_bytes)
        if self._input_name in tensors:
            groups = ((self._input_name, *groups[0]), *groups[1:]) if groups else ((self._input_name,),)
        self.groups = groups

    def run(self, group: Sequence[str], start: int = 0) -> Iterator[tuple[int, Mapping[str, AnyArray]]]:
        """Number of each input from `start`, and the group's tensors for it, which hold until the next."""
        inner = [name for name in group if name != self._input_name]
        given = [name for name in group if name == self._input_name]
        wanted = {shape: {name: found[name] for name in inner} for shape, found in self._shapes.items()}
        buffer = np.empty(max((bytes_of(found.values()) for found in wanted.values()), default=0), np.uint8)
        taps = Taps(self._graph, inner, self._threads) if inner else None
        number = start - 1
        for number, array in enumerate(itertools.islice(self._inputs, start, None), start):
            if array.shape not in self.survey.shapes:
                raise CalibrationError(f"calibration inputs: {self.name(number)} has another shape than before")
            tensors = dict.fromkeys(given, array)
            yield number, tensors if taps is None else tensors | taps.run(array, wanted[array.shape], buffer)
        if number + 1 != self.survey.count:
            raise CalibrationError(f"calibration inputs: got {self.survey.count}, then {number + 1} of them")

    def name(self, number: int) -> str:
        """An input's name for messages."""
        return self._names[number] if number < len(self._names) else str(number)


@dataclass(frozen=True)
class Survey:
    """Of the inputs: how many, of which shapes, SHA-256 of them all."""

    count: int
    shapes: tuple[Shape, ...]
    digest: bytes


def _survey(inputs: Inputs) -> Survey:
    count, shapes, digest = 0, dict[Shape, None](), hashlib.sha256()
    for array in inputs:
        count += 1
        shapes[array.shape] = None
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    if not count:
        raise CalibrationError("calibration inputs: got none, wanted one picture at least")
    return Survey(count, tuple(shapes), digest.digest())


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
