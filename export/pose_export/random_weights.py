"""Networks with random weights: for trying speed, and the mechanics of an export. Needs torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pose_export import networks
from pose_export.networks import Entry
from pose_export.onnx_bundle import Source


@dataclass(frozen=True, slots=True)
class Random:
    """In the place of a checkpoint: PyTorch's own initial weights, the same for the same seed."""

    seed: int = 0


def given(text: str, seed: int = 0) -> Path | Random:
    """What an option says: a file, or `random`."""
    return Random(seed) if text == "random" else Path(text)


def random_network(entry: Entry, random: Random) -> tuple[nn.Module, Source]:
    """The network, and what the bundle says of its weights; PyTorch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.seed)
        network = networks.build(entry)
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return network, Source(f"random, seed {random.seed}", "none", digest.hexdigest())
