"""A torch network in TensorRT's place: FP16, channels last, on the pipeline's stream and device pointers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import torch

from pose_export.networks.higherhrnet import HigherHRNet
from pose_runtime import Frame, load_bundle
from pose_runtime.arrays import ByteArray, FloatArray
from pose_runtime.decode import Decoder
from pose_runtime.engines import TensorSpec
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.manifest import Manifest
from scenes import outputs_for

SIDE = 512
"""Of HigherHRNet's input."""

JOINTS = 17
_TYPES: dict[Any, str] = {np.dtype(np.float32): "<f4", np.dtype(np.float16): "<f2"}


def manifest_512() -> Manifest:
    """The manifest of the HigherHRNet that comes with jetpose, for 512 pixels and any batch."""
    of = load_bundle("higherhrnet-tiny").manifest
    return msgspec.structs.replace(of, input=msgspec.structs.replace(of.input, size_wh=(SIDE, SIDE), batch=0))


def network(width: int = 32) -> torch.nn.Module:
    """HigherHRNet with seeded random weights, as it is fastest."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True  # two runs of one input agree to the bit
    torch.manual_seed(5)
    made = HigherHRNet(width=width, joints=JOINTS).eval().half().cuda()
    return made.to(memory_format=torch.channels_last)


class TorchEngine(DeviceEngine):
    """HigherHRNet as a pipeline wants it.

    Its memory is of a pool of its own: what a graph uses stays its own, and once a run was made, a capture allocates
    nothing.

    Args:
        net: of `network`.
        people: outputs to give instead of the network's, which still runs: arrays (34, 128, 128) and (17, 256, 256).
        max_batch: rows of a run.
    """

    def __init__(self, net: torch.nn.Module, people: Sequence[FloatArray] | None = None, max_batch: int = 4) -> None:
        image = TensorSpec("image", (None, 3, SIDE, SIDE), np.dtype(np.float16))
        quarter, half = SIDE // 4, SIDE // 2
        coarse = TensorSpec("heatmaps_tags", (None, 2 * JOINTS, quarter, quarter), np.dtype(np.float32))
        fine = TensorSpec("heatmaps", (None, JOINTS, half, half), np.dtype(np.float32))
        super().__init__("torch", [image], [coarse, fine], max_batch)
        self._net = net
        self._people = None if people is None else [torch.from_numpy(array).cuda() for array in people]
        self._pool = torch.cuda.MemPool()

    def _bind(self, addresses: Mapping[str, int], batch: int) -> None:
        specs = (*self.inputs, *self.outputs)
        self._tensors = {spec.name: at_address(addresses[spec.name], (batch, *spec.shape[1:]), spec) for spec in specs}

    def _enqueue(self, stream: int) -> None:
        with torch.no_grad(), torch.cuda.stream(torch.cuda.ExternalStream(stream)), torch.cuda.use_mem_pool(self._pool):
            image = self._tensors["image"].contiguous(memory_format=torch.channels_last)
            found = self._net(image)
            for index, spec in enumerate(self.outputs):
                if self._people is None:
                    self._tensors[spec.name].copy_(found[index])
                else:  # the network's values take part, so that nothing of its work is left out
                    self._tensors[spec.name].copy_(self._people[index] + 0 * found[index].float().clamp(-1, 1))

    def _close(self) -> None:
        self._tensors = {}


def at_address(address: int, shape: tuple[Any, ...], spec: TensorSpec) -> torch.Tensor:
    """Device memory as a tensor; torch does not own it."""

    interface = {"version": 3, "shape": shape, "typestr": _TYPES[spec.dtype], "data": (address, False), "strides": None}
    return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=interface), device="cuda")


def on_the_cpu(net: torch.nn.Module, people: Sequence[FloatArray] | None = None) -> Any:
    """What a fake engine on the CPU gives: the same network's outputs for an input that the CPU made."""

    def function(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = torch.from_numpy(inputs["image"]).cuda().contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = [out.float().cpu().numpy() for out in net(image)]
        if people is not None:
            found = [np.broadcast_to(array, out.shape) for array, out in zip(people, found, strict=True)]
        return {"heatmaps_tags": np.ascontiguousarray(found[0]), "heatmaps": np.ascontiguousarray(found[1])}

    return function


def camera_frames(number: int, form: str) -> list[Frame]:
    """1080p frames in a camera's format, with a pitch: seeded blocks of noise."""
    frames = []
    for seed in range(number):
        rng = np.random.default_rng(seed)

        def plane(rows: int, bytes_of_row: int, pixel: int, rng: np.random.Generator = rng) -> ByteArray:
            blocks = rng.integers(16, 236, (rows // 12, bytes_of_row // pixel // 12, pixel), np.uint8)
            out = np.full((rows, 2048 * bytes_of_row // 1920), 77, np.uint8)
            out[:, :bytes_of_row] = blocks.repeat(12, 0).repeat(12, 1).reshape(rows, bytes_of_row)
            return out

        planes = (plane(1080, 5760, 3),) if form == "bgr8" else (plane(1080, 1920, 1), plane(540, 1920, 2))
        strides = tuple(each.shape[1] for each in planes)
        frames.append(Frame(planes, "bgr8" if form == "bgr8" else "nv12", (1920, 1080), strides))
    return frames


def scene(decoder: Decoder, people: int) -> list[FloatArray]:
    """Outputs in which that many people stand."""
    roles = outputs_for(decoder, np.random.default_rng(people), people, (SIDE // 4, SIDE // 4), JOINTS, levels=2)
    coarse, fine = roles["heatmaps"]
    return [np.concatenate([coarse, *roles["tags"]]), fine]
