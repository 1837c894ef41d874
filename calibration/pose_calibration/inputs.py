"""Pictures as a network gets them: through the pre-processing that runs on the device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pose_calibration.pictures import Picture, Pictures
from pose_runtime import geometry
from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.frame import Frame
from pose_runtime.geometry import Box, Crop
from pose_runtime.manifest import Input
from pose_runtime.preprocess import preprocess


def probe_of(network_input: Input, image: ByteArray, box: Box | None = None) -> AnyArray:
    """A frame as the network gets it, float32 (batch, channels, H, W); the batch repeats it.

    Args:
        network_input: of the manifest.
        image: uint8 (H, W, 3), B, G, R.
        box: the person, for networks of one person; None is the whole frame.
    """
    frame = Frame.from_image(image)
    plan = geometry.plan(network_input.resize, frame.size_wh, network_input.size_wh, box)
    channels = 1 if network_input.colour == "gray" else 3
    pixels = np.zeros((channels, plan.size_wh[1], plan.size_wh[0]), np.float32)
    spec = network_input
    preprocess(frame, plan, colour=spec.colour, mean=spec.mean, std=spec.std, out=pixels)
    return np.repeat(pixels[None], spec.batch or 1, axis=0)


def usual_size(network_input: Input) -> tuple[int, int]:
    """Input width and height; of a network that takes any size, those that a 640 x 480 frame gives it."""
    if network_input.size_wh != (0, 0):
        return network_input.size_wh
    return geometry.plan(network_input.resize, (640, 480), (0, 0)).size_wh


class NetworkInputs:
    """The inputs that pictures become, one at a time and again at every iteration.

    A network of one person gets each annotated box of a picture, or the whole frame where there is none.

    Attributes:
        names: of the inputs, for messages.
    """

    def __init__(self, pictures: Pictures, network_input: Input) -> None:
        self._pictures, self._spec = pictures, network_input
        self._crops = isinstance(network_input.resize, Crop)
        self.names = tuple(
            f"{name}, box {i}" if self._crops and boxes else name
            for name, boxes in zip(pictures.names, pictures.boxes, strict=True)
            for i in range(max(len(boxes), 1) if self._crops else 1)
        )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[AnyArray]:
        for picture in self._pictures:
            for box in self._boxes(picture):
                yield probe_of(self._spec, picture.image, box)

    def _boxes(self, picture: Picture) -> tuple[Box | None, ...]:
        return picture.boxes if self._crops and picture.boxes else (None,)
