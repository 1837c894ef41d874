"""Convolutional pose machines: stage after stage looks at the image and at the belief maps of the one before.

Wei et al., "Convolutional Pose Machines", CVPR 2016, as released: belief maps of all joints and the background, at an
eighth of the input. The layers carry the names of the released Caffe files. The centre map, a fourth channel in those,
is made here: the person is in the middle of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SIGMA = 21.0  # of the centre map, input pixels
_STRIDE = 8


def centre_map(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(1, 1, height, width): a Gaussian of 21 pixels around pixel side / 2 - 1, as the authors count from one."""
    y, x = (torch.arange(side, dtype=torch.float32, device=device) for side in (height, width))
    squares = (y - (height // 2 - 1))[:, None] ** 2 + (x - (width // 2 - 1)) ** 2
    return torch.exp(-squares / (2 * _SIGMA**2))[None, None]


def _conv(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)


def _pool(x: Tensor) -> Tensor:
    """Caffe's: sizes round up, and nothing is padded."""
    return functional.max_pool2d(x, 3, 2, ceil_mode=True)


def _centre(x: Tensor) -> Tensor:
    """(1, 1, H/8, W/8): the centre map, each side rounded up as pooling does; a constant of the input's size."""
    height, width = int(x.shape[2]), int(x.shape[3])
    return functional.avg_pool2d(centre_map(height, width, x.device), 9, _STRIDE, ceil_mode=True)


class CPM(nn.Module):
    """The first release: (N, 3, H, W) to belief maps (N, joints + 1, H/8, W/8) of each stage, the last one the best.

    Args:
        stages: 3 or 6 for 14 joints, 4 for 9.
        joints: without the background, which is the last map.
    """

    def __init__(self, *, stages: int, joints: int) -> None:
        super().__init__()
        self.stages, maps = stages, joints + 1
        widths = (3, 128, 128, 128)
        for stage in range(1, min(stages, 2) + 1):
            for i in range(3):
                self.add_module(f"conv{i + 1}_stage{stage}", _conv(widths[i], widths[i + 1], 9))
        self.conv4_stage1 = _conv(128, 32, 5)
        self.conv5_stage1 = _conv(32, 512, 9)
        self.conv6_stage1 = _conv(512, 512, 1)
        self.conv7_stage1 = _conv(512, maps, 1)
        for stage in range(2, stages + 1):
            self.add_module(_image_conv(stage), _conv(128, 32, 5))
            layers = ((32 + maps + 1, 128, 11), (128, 128, 11), (128, 128, 11), (128, 128, 1), (128, maps, 1))
            for i, layer in enumerate(layers):
                self.add_module(f"Mconv{i + 1}_stage{stage}", _conv(*layer))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The belief maps of every stage."""
        y = torch.relu(self.conv4_stage1(self._front(x, 1)))
        y = torch.relu(self.conv6_stage1(torch.relu(self.conv5_stage1(y))))
        found = [self.conv7_stage1(y)]
        if self.stages > 1:
            image = self._front(x, 2)
            centre = _centre(x).expand(x.shape[0], -1, -1, -1)
        for stage in range(2, self.stages + 1):
            y = torch.relu(self.get_submodule(_image_conv(stage))(image))
            y = torch.cat((y, found[-1], centre), dim=1)
            for i in range(1, 5):
                y = torch.relu(self.get_submodule(f"Mconv{i}_stage{stage}")(y))
            found.append(self.get_submodule(f"Mconv5_stage{stage}")(y))
        return tuple(found)

    def _front(self, x: Tensor, stage: int) -> Tensor:
        for i in range(1, 4):
            x = _pool(torch.relu(self.get_submodule(f"conv{i}_stage{stage}")(x)))
        return x


def _image_conv(stage: int) -> str:
    """The layer that turns image features into those of a stage: all share what comes before it."""
    return "conv4_stage2" if stage == 2 else f"conv1_stage{stage}"


_VGG = ((3, 64), (64, 64), None, (64, 128), (128, 128), None, (128, 256), (256, 256), (256, 256), (256, 256), None)
_VGG_TOP = ((256, 512, "conv4_1"), (512, 512, "conv4_2"), (512, 256, "conv4_3_CPM"), (256, 256, "conv4_4_CPM"))
_VGG_LAST = ((256, 256, "conv4_5_CPM"), (256, 256, "conv4_6_CPM"), (256, 128, "conv4_7_CPM"))


class CPMVgg(nn.Module):
    """The later release on VGG-19's first layers: (N, 3, H, W) to belief maps (N, joints + 1, H/8, W/8) per stage."""

    def __init__(self, *, joints: int, stages: int = 6) -> None:
        super().__init__()
        self.stages, maps = stages, joints + 1
        self._order: list[list[str]] = [[]]  # names of the layers between two pools
        for layer in _VGG:
            if layer is None:
                self._order.append([])
            else:
                self._add(f"conv{len(self._order)}_{len(self._order[-1]) + 1}", _conv(*layer, 3))
        for c_in, c_out, name in (*_VGG_TOP, *_VGG_LAST):
            self._add(name, _conv(c_in, c_out, 3))
        self.conv5_1_CPM = _conv(128, 512, 1)
        self.conv5_2_CPM = _conv(512, maps, 1)
        for stage in range(2, stages + 1):
            shapes = [(maps + 128 + 1, 128, 7), *[(128, 128, 7)] * 4, (128, 128, 1), (128, maps, 1)]
            for i, shape in enumerate(shapes):
                self.add_module(f"Mconv{i + 1}_stage{stage}", _conv(*shape))

    def _add(self, name: str, layer: nn.Module) -> None:
        self._order[-1].append(name)
        self.add_module(name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The belief maps of every stage."""
        centre = _centre(x).expand(x.shape[0], -1, -1, -1)
        for i, block in enumerate(self._order):
            x = functional.max_pool2d(x, 2) if i else x
            for name in block:
                x = torch.relu(self.get_submodule(name)(x))
        found = [self.conv5_2_CPM(torch.relu(self.conv5_1_CPM(x)))]
        for stage in range(2, self.stages + 1):
            y = torch.cat((found[-1], x, centre), dim=1)
            for i in range(1, 7):
                y = torch.relu(self.get_submodule(f"Mconv{i}_stage{stage}")(y))
            found.append(self.get_submodule(f"Mconv7_stage{stage}")(y))
        return tuple(found)
