from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from painted import Counting, Painted
from pose_export.training.augment import Augmentation, Augmenter
from pose_export.training.crop import Whole
from pose_export.training.loader import Batch, Loader, normalise
from pose_export.training.order import Order
from pose_export.training.source import RecordError, Share
from pose_runtime.errors import ExportError

SMALL = Augmentation(size_wh=(48, 32), mosaic=0.3, person=(10, 40), smallest=4)


def make(**changes) -> Loader:
    shares = (Share(source=Painted(23), weight=0.8), Share(source=Painted(5, seed=1, bad=(2,)), weight=0.2))
    options = {"batch_size": 4, "seed": 7, "epoch_samples": 22, "on_bad": lambda error: None}
    return Loader(**{"shares": shares, "prepare": Augmenter(SMALL), "method": Counting()} | options | changes)


def check_equal(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.names == other.names
        assert torch.equal(one.images, other.images)
        assert one.targets.keys() == other.targets.keys()
        for name, value in one.targets.items():
            assert torch.equal(value, other.targets[name])


def test_batches() -> None:
    loader = make()
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 5  # the two that fill no batch are left out
    for batch in batches:
        assert batch.images.shape == (4, 3, 32, 48)
        assert batch.images.dtype == torch.uint8
        assert batch.targets["people"].shape == (4,)
        assert batch.targets["first"].dtype == torch.float32
        assert len(batch.names) == 4


def test_pictures_are_rgb_and_normalised_as_the_presets_say() -> None:
    source = Painted(2)
    loader = make(shares=(Share(source=source, weight=1),), prepare=Whole((64, 48)), batch_size=1, shuffle=False)
    batch = next(loader.epoch(0, start=1))
    image = source[1].image
    assert (image[..., 0] != image[..., 2]).any()
    np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0).numpy(), cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    expected = (image[..., ::-1] - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(normalise(batch.images)[0].permute(1, 2, 0).numpy(), expected, rtol=1e-5)
    assert normalise(batch.images).dtype == torch.float32


def test_the_same_numbers_whatever_the_workers_and_from_any_batch_on() -> None:
    alone = make()
    first, second = list(alone.epoch(0)), list(alone.epoch(1))
    assert first[0].names != second[0].names
    check_equal(list(alone.epoch(0)), first)
    check_equal(list(alone.epoch(1, start=3)), second[3:])
    assert list(alone.epoch(1, start=5)) == []
    check_equal(list(make(seed=8).epoch(0))[:0], [])
    assert not torch.equal(next(make(seed=8).epoch(0)).images, first[0].images)
    many = make(workers=2)
    abandoned = many.epoch(0)
    check_equal([next(abandoned)], first[:1])  # the rest is on its way when another epoch begins
    check_equal(list(many.epoch(1, start=1)), second[1:])
    check_equal(list(many.epoch(0)), first)


def test_the_callers_random_numbers_stay() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    list(make().epoch(0))
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_validation_takes_every_record_once_in_order() -> None:
    shares = (Share(source=Painted(7), weight=1),)
    loader = make(shares=shares, prepare=Whole((32, 32)), shuffle=False, epoch_samples=None)
    names = [name for batch in loader.epoch(0) for name in batch.names]
    assert names == [f"painted {i}" for i in range(7)]
    assert [len(batch.names) for batch in loader.epoch(3)] == [4, 3]


# ---- order ---------------------------------------------------------------------------------------------------


def test_every_source_is_gone_through_before_it_repeats() -> None:
    order = Order([10, 3], [0.75, 0.25], samples=8, seed=1, shuffle=True)
    drawn: dict[int, list[int]] = {0: [], 1: []}
    for epoch in range(10):
        sources, indices = order.epoch(epoch)
        assert (np.bincount(sources) == [6, 2]).all()
        for source in (0, 1):
            drawn[source] += indices[sources == source].tolist()
    for source, length in ((0, 10), (1, 3)):
        passes = [drawn[source][i : i + length] for i in range(0, len(drawn[source]) - length + 1, length)]
        assert all(sorted(one) == list(range(length)) for one in passes)
        assert len({tuple(one) for one in passes}) > 1


@pytest.mark.parametrize(
    ("lengths", "weights", "samples"), [([10], [3.0], 10), ([10, 100], [1, 1], 20), ([800, 300], [0.8, 0.2], 1000)]
)
def test_an_epoch_ends_when_the_first_source_is_through(lengths: list, weights: list, samples: int) -> None:
    order = Order(lengths, weights, samples=None, seed=0, shuffle=True)
    assert order.samples == samples
    assert len(order.epoch(5)[0]) == samples


def test_endless_sources_cost_nothing() -> None:
    order = Order([1 << 62, 10], [0.9, 0.1], samples=100, seed=0, shuffle=True)
    sources, indices = order.epoch(1000)
    assert sorted(indices[sources == 0]) == list(range(90_000, 90_090))


# ---- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_record_is_told_once_and_replaced(workers: int) -> None:
    told: list[RecordError] = []
    loader = make(on_bad=told.append, epoch_samples=40, workers=workers)
    for epoch in range(2):
        for batch in loader.epoch(epoch):
            assert len(batch.names) == 4
    assert [str(error) for error in told] == ["painted 2: is damaged"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_is_refused_in_one_line(workers: int) -> None:
    with pytest.raises(ExportError, match=r"^painted 2: is damaged$"):
        list(make(on_bad=None, epoch_samples=40, workers=workers).epoch(0))


def test_a_source_in_which_all_is_damaged_ends_it() -> None:
    shares = (Share(source=Painted(3, bad=(0, 1, 2)), weight=1),)
    with pytest.raises(ExportError, match="20 records in a row cannot be read, the last: painted"):
        next(make(shares=shares).epoch(0))


class AsItIs:
    def __call__(self, record, more, rng):
        from dataclasses import replace

        return replace(record, image=record.image[: 10 + int(rng.integers(30))])


def test_pictures_of_several_sizes_fill_no_batch() -> None:
    with pytest.raises(ExportError, match="in one batch, wanted one size"):
        list(make(prepare=AsItIs()).epoch(0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 0}, "batch size: got 0"),
        ({"workers": -1}, "workers: got -1"),
        ({"seed": -1}, "seed: got -1"),
        ({"epoch_samples": 0}, "samples of an epoch: got 0"),
        ({"epoch_samples": 3}, "3 samples fills no batch of 4"),
        ({"shares": ()}, "got none, wanted one source"),
        ({"shares": (Share(source=Painted(0), weight=1),)}, r"sources of \[0\] records"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        make(**changes)
    with pytest.raises(ExportError, match="epoch 0, batch 6: wanted"):
        next(make().epoch(0, start=6))
