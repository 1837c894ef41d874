"""Which network a checkpoint is of, for the message to somebody who took the wrong file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pose_export import networks
from pose_export.checkpoints import MisfitError, convert_names
from pose_export.networks import Entry

_SHOWN = 4


def explain(misfit: MisfitError, path: Path, wanted: Entry) -> str:
    """What to say of a checkpoint that does not fit: the networks that it fits, or what differs."""
    fitting = list(fits(misfit.tensors))
    if not fitting:
        return str(misfit)
    names = ", ".join(entry.name for entry in fitting[:_SHOWN]) + ", …" * (len(fitting) > _SHOWN)
    return f"{path}: the checkpoint is of another network than {wanted.name}: it fits --model {names}"


def fits(tensors: Mapping[str, Tensor]) -> Iterable[Entry]:
    """The networks whose tensors these are, by name and shape."""
    built: dict[tuple[str, str], dict[str, Tensor]] = {}
    for entry in networks.entries():
        key = (entry.builder, str(entry.arguments))
        if key not in built:
            with torch.device("meta"):
                built[key] = networks.build(entry).state_dict()
        own = built[key]
        names = convert_names(tensors, own, entry.names)
        given = {names[name]: tensor.shape for name, tensor in tensors.items() if name in names}
        needed = {name: tensor.shape for name, tensor in own.items() if name in given or not name.endswith("_tracked")}
        if given == needed:
            yield entry
