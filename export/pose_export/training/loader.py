"""Batches for training and validation: read, prepared and turned into targets by worker processes.

Sample i of epoch e depends on (seed, e, i) alone, so the same numbers come whatever the number of workers, and
training goes on from any batch as if it had never stopped. Pictures travel as uint8 and are normalised on the device.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pose_export.training.augment import More
from pose_export.training.order import SAMPLE, Order, stream
from pose_export.training.record import Record
from pose_export.training.source import OnBad, RecordError, Share, one_skeleton
from pose_runtime.errors import ExportError, PoseError

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""R, G, B of ImageNet, grey levels; as in the HRNet presets."""

_TRIES = 20


class Prepare(Protocol):
    """From a record of a source to what the network shall see; `Augmenter`, `CropAugmenter`, `Whole`."""

    def __call__(self, record: Record, more: More, rng: Generator, /) -> Record:
        """A new record of the network's input size; `more` draws others, `rng` is all that may be random."""


class Targets(Protocol):
    """What a method wants to learn from; methods are `pose_export.training.methods`."""

    def targets(self, record: Record) -> dict[str, NDArray[Any]]:
        """Arrays of the same shapes and dtypes for every record of one size."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one step.

    Attributes:
        images: uint8 (B, 3, H, W), R, G, B; `normalise` makes them a network's input.
        targets: of the method, each (B, ...).
        names: of the records.
    """

    images: Tensor
    targets: dict[str, Tensor]
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device."""
        targets = {name: value.to(device, non_blocking=True) for name, value in self.targets.items()}
        return Batch(images=self.images.to(device, non_blocking=True), targets=targets, names=self.names)

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU copies from by itself."""
        targets = {name: value.pin_memory() for name, value in self.targets.items()}
        return Batch(images=self.images.pin_memory(), targets=targets, names=self.names)


def normalise(images: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """float32 (B, 3, H, W) of uint8 pictures, on their device: (value - mean) / std for each channel."""
    device = images.device
    shape = (1, 3, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float32, device=device).view(shape)
    spread = torch.tensor(std, dtype=torch.float32, device=device).view(shape)
    return (images.to(torch.float32) - centre) / spread


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Sample `position` of `epoch`: record `index` of source number `source`."""

    epoch: int
    position: int
    source: int
    index: int


@dataclass(frozen=True, kw_only=True)
class _Sample:
    image: NDArray[np.uint8]
    targets: dict[str, NDArray[Any]]
    name: str
    bad: tuple[str, ...]


# ---- in the workers ------------------------------------------------------------------------------------------


class _Samples(Dataset["_Sample | str"]):
    """Map-style: a `_Place` in, a `_Sample` out, or the message of an error. All of it travels to the workers."""

    def __init__(self, shares: Sequence[Share], prepare: Prepare, method: Targets, seed: int, skip: bool) -> None:
        self._sources = [share.source for share in shares]
        self._prepare, self._method, self._seed, self._skip = prepare, method, seed, skip

    def __getitem__(self, place: _Place) -> _Sample | str:
        try:
            return self._sample(place)
        except PoseError as error:  # torch would put the worker's traceback into its message
            return str(error)

    def _sample(self, place: _Place) -> _Sample:
        rng = stream(self._seed, SAMPLE, place.epoch, place.position)
        source = self._sources[place.source]
        bad: list[str] = []

        def more() -> Record:
            return self._read(place.source, int(rng.integers(len(source))), rng, bad)

        record = self._prepare(self._read(place.source, place.index, rng, bad), more, rng)
        image = np.ascontiguousarray(record.image[:, :, ::-1].transpose(2, 0, 1))
        return _Sample(image=image, targets=self._method.targets(record), name=record.name, bad=tuple(bad))

    def _read(self, source: int, index: int, rng: Generator, bad: list[str]) -> Record:
        """The record, or another one in place of one that is damaged."""
        for _ in range(_TRIES):
            try:
                return self._sources[source][index]
            except RecordError as error:
                if not self._skip:
                    raise
                bad.append(str(error))
            index = int(rng.integers(len(self._sources[source])))
        raise ExportError(f"data: {_TRIES} records in a row cannot be read, the last: {bad[-1]}")


def _collate(samples: Sequence[_Sample | str]) -> tuple[Batch, tuple[str, ...]] | str:
    """A batch, and what was wrong on the way; or the message of an error."""
    good: list[_Sample] = []
    for sample in samples:
        if isinstance(sample, str):
            return sample
        good.append(sample)
    shapes = {sample.image.shape for sample in good}
    if len(shapes) > 1:
        return f"data: got pictures of {sorted(shapes)} in one batch, wanted one size; prepare them so"
    return _stack(good)


def _stack(samples: Sequence[_Sample]) -> tuple[Batch, tuple[str, ...]]:
    targets = {
        name: torch.from_numpy(np.stack([sample.targets[name] for sample in samples])) for name in samples[0].targets
    }
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    bad = tuple(line for sample in samples for line in sample.bad)
    return Batch(images=images, targets=targets, names=tuple(sample.name for sample in samples)), bad


def _start_worker(_number: int) -> None:
    """One thread each: there are as many workers as there is to win. Ctrl-C is for the training process to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


# ---- batches -------------------------------------------------------------------------------------------------


class _Batches(Sampler[list[_Place]]):
    """Places of one epoch, by batches, from a given batch on."""

    def __init__(self, order: Order, size: int, drop_last: bool, part: slice) -> None:
        self._order, self._size, self._drop_last, self._part = order, size, drop_last, part
        self.epoch = self.start = 0

    def __len__(self) -> int:
        full, rest = divmod(self._order.samples, self._size)
        return full + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[list[_Place]]:
        epoch = self.epoch
        sources, indices = self._order.epoch(epoch)
        for batch in range(self.start, len(self)):
            positions = range(batch * self._size, min((batch + 1) * self._size, self._order.samples))[self._part]
            yield [_Place(epoch=epoch, position=i, source=int(sources[i]), index=int(indices[i])) for i in positions]


class Loader:
    """Batches of one or several sources.

    Workers are started by a clean helper process (`forkserver`; `spawn` where the system has none): forking the
    training process itself may deadlock once it has threads, a CUDA context or a GL context. They stay for all epochs.

    Args:
        shares: as `open_mix` gives them.
        prepare: from a record to the network's view of it.
        method: makes targets of what was prepared.
        batch_size: samples of a batch.
        seed: of order, augmentation and all else that is random.
        epoch_samples: None for as many as it takes until the first source is through.
        workers: processes; 0 prepares batches in this one.
        shuffle: False, for validation: records in order.
        drop_last: whether a last batch that is not full is left out; None does where shuffled.
        part: which samples of each batch are wanted, where several processes share it.
        on_bad: told once of each file that cannot be read, in whose place another record is drawn; None raises.

    Raises:
        ExportError: no or empty sources, different skeletons, sizes that are not positive.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        prepare: Prepare,
        method: Targets,
        *,
        batch_size: int,
        seed: int,
        epoch_samples: int | None = None,
        workers: int = 0,
        shuffle: bool = True,
        drop_last: bool | None = None,
        part: slice = slice(None),
        on_bad: OnBad = None,
    ) -> None:
        for name, value, least in (("batch size", batch_size, 1), ("workers", workers, 0), ("seed", seed, 0)):
            if value < least:
                raise ExportError(f"{name}: got {value}, wanted {least} or more")
        if epoch_samples is not None and epoch_samples < 1:
            raise ExportError(f"samples of an epoch: got {epoch_samples}, wanted 1 or more")
        self.skeleton = one_skeleton(share.source for share in shares)
        self._on_bad, self._told = on_bad, set[str]()
        lengths, weights = [len(share.source) for share in shares], [share.weight for share in shares]
        order = Order(lengths, weights, samples=epoch_samples, seed=seed, shuffle=shuffle)
        self._batches = _Batches(order, batch_size, shuffle if drop_last is None else drop_last, part)
        if not len(self._batches):
            raise ExportError(f"data: an epoch of {order.samples} samples fills no batch of {batch_size}")
        self._loader: DataLoader[_Sample | str] = DataLoader(
            _Samples(shares, prepare, method, seed, skip=on_bad is not None),
            batch_sampler=self._batches,
            collate_fn=_collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            multiprocessing_context=_context() if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own: the global one is the training's
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on: how many were taken before training stopped.

        One epoch at a time: a new one ends the one before.

        Raises:
            ExportError: a file cannot be read, and no on_bad; or the method or the views do not fit together.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise ExportError(f"epoch {epoch}, batch {start}: wanted 0 or more, and 0 to {len(self)}")
        self._batches.epoch, self._batches.start = epoch, start
        for result in self._loader:
            if isinstance(result, str):
                raise ExportError(result)
            batch, bad = result
            self._tell(bad)
            yield batch

    def _tell(self, bad: Sequence[str]) -> None:
        for line in bad:
            if self._on_bad is not None and line not in self._told:
                self._told.add(line)
                self._on_bad(RecordError(line))


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by every worker
    return context
