"""Efficient object localization: a coarse map per joint, then a fine one in a window of shared features.

Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015 (arXiv 1411.4280). No weights
were published, and the paper leaves some widths open: those here are stated in `Tompson`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 3
STRIDE = 4
"""Input pixels per pixel of the coarse maps."""
WINDOW = 36
"""Side of a window, pixels of the input."""
MARGIN = (WINDOW - STRIDE) // 2
"""Pixels of a window before the coarse pixel that it is around."""
_HALVING = (1.0, 3.0, 3.0, 1.0)  # its middle lies between two pixels, as that of the pools does
_CONTRAST_SIZE, _CONTRAST_SIGMA = 9, 2.0
_LEAST_CONTRAST = 1e-3  # an even picture has none to be divided by


class Pyramid(nn.Module):
    """(N, 3, H, W) to three levels (N, 3, H / 2^l, W / 2^l): a Laplacian pyramid, its contrast normalised.

    Burt & Adelson 1983: what each level adds to the next coarser one; the coarsest is as it is. Jarrett et al. 2009:
    minus the Gaussian mean of the neighbourhood over all colours, divided by its deviation there, or by the mean
    deviation of the picture where that is larger.
    """

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor(_HALVING) / sum(_HALVING)
        self.register_buffer("halving", (line[:, None] * line).repeat(3, 1, 1, 1), persistent=False)
        at = torch.arange(_CONTRAST_SIZE) - _CONTRAST_SIZE // 2
        bell = torch.exp(-(at**2) / (2 * _CONTRAST_SIGMA**2))
        bell = bell / bell.sum()
        around = (bell[:, None] * bell / 3).repeat(1, 3, 1, 1)
        self.register_buffer("around", around, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The finest level first."""
        levels = []
        for _ in range(LEVELS - 1):
            smaller = functional.conv2d(_extend(x, 1), self.get_buffer("halving"), stride=2, groups=3)
            larger = functional.interpolate(smaller, scale_factor=2.0, mode="bilinear", align_corners=False)
            levels.append(self._normalise(x - larger))
            x = smaller
        return [*levels, self._normalise(x)]

    def _normalise(self, x: Tensor) -> Tensor:
        x = x - self._mean(x)
        deviation = self._mean(x * x).sqrt()
        usual = deviation.mean((2, 3), keepdim=True)
        return x / torch.maximum(deviation, usual).clamp(min=_LEAST_CONTRAST)

    def _mean(self, x: Tensor) -> Tensor:
        return functional.conv2d(_extend(x, _CONTRAST_SIZE // 2), self.get_buffer("around"))


def _extend(x: Tensor, by: int) -> Tensor:
    return functional.pad(x, (by, by, by, by), mode="replicate")


class Tompson(nn.Module):
    """Both models in one graph.

    (N, 3, H, W), multiples of 16, to the coarse heat-maps (N, joints, H/4, W/4); the windows (N, 2 joints), x and y of
    each one's first pixel in the input, which may lie outside; and the fine heat-maps (N, joints, 36, 36), pixel by
    pixel of the windows.

    Each level of the pyramid has a bank of three 5x5 convolutions with weights of its own and pools between them; the
    sum of the banks goes through a 9x9 convolution and 1x1 convolutions. Windows are cut from what each bank's first
    convolution gave: 36 x 36, 18 x 18 and 9 x 9 pixels, which show the same part of the picture. The fine model is the
    same for every joint but for its last 1x1 convolution.

    Args:
        joints: of the skeleton.
        width: channels of the banks; 4 and 2 times as many after them.
    """

    def __init__(self, *, joints: int, width: int = 128) -> None:
        super().__init__()
        self.pyramid = Pyramid()
        self.early = nn.ModuleList(_conv(3, width, 5) for _ in range(LEVELS))
        self.banks = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _conv(width, width, 5), nn.MaxPool2d(2), _conv(width, width, 5))
            for _ in range(LEVELS)
        )
        self.coarse = nn.Sequential(
            _conv(width, 4 * width, 9),
            nn.Dropout2d(),  # SpatialDropout: whole maps
            _conv(4 * width, 2 * width, 1),
            nn.Conv2d(2 * width, joints, 1),
        )
        self.fine_banks = nn.ModuleList(
            nn.Sequential(_conv(width, width, 5), _conv(width, width, 5)) for _ in range(LEVELS)
        )
        self.fine = _conv(width, width, 1)
        self.fine_joints = nn.Conv2d(joints * width, joints, 1, groups=joints)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse heat-maps, windows, fine heat-maps."""
        early = [conv(level) for conv, level in zip(self.early, self.pyramid(x), strict=True)]
        heatmaps = self.coarse(_sum(bank(maps) for bank, maps in zip(self.banks, early, strict=True)))
        places = peaks(heatmaps)
        cut = (windows(maps, places, level) for level, maps in enumerate(early))
        fine = self.fine(_sum(bank(maps) for bank, maps in zip(self.fine_banks, cut, strict=True)))
        maps = self.fine_joints(fine.reshape(-1, self.fine_joints.in_channels, WINDOW, WINDOW))
        corners = (STRIDE * places - MARGIN).reshape(-1, 2 * self.fine_joints.out_channels)
        return heatmaps, corners.to(x.dtype), maps


def _conv(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def _sum(levels: Iterable[Tensor]) -> Tensor:
    """All levels at the size of the first."""
    first, *others = levels
    for i, level in enumerate(others, start=1):
        first = first + functional.interpolate(level, scale_factor=float(2**i), mode="nearest")
    return first


def peaks(heatmaps: Tensor) -> Tensor:
    """Highest pixel of each map: (N, K, H, W) to int64 (N, K, 2), x and y; the first of equals."""
    joints, height, width = heatmaps.shape[1:]
    index = heatmaps.reshape(-1, joints, height * width).argmax(2)
    y = torch.div(index, width, rounding_mode="trunc")
    return torch.stack((index - y * width, y), 2)


def windows(maps: Tensor, places: Tensor, level: int) -> Tensor:
    """Windows around each place, zeros outside the maps.

    Args:
        maps: (N, C, H / 2^level, W / 2^level).
        places: int64 (N, K, 2), x and y in pixels of the coarse maps.
        level: of the pyramid.

    Returns:
        (N K, C, side, side), side = 36 / 2^level: the pixels from (4 place - 16) / 2^level on.
    """
    margin, side, step = MARGIN >> level, WINDOW >> level, STRIDE >> level
    padded = functional.pad(maps, (margin, margin, margin, margin)).permute(0, 2, 3, 1)
    ahead = torch.arange(side, device=maps.device)
    grid = torch.stack(torch.meshgrid(ahead, ahead, indexing="ij"), 2)
    # The margin before a place is the one that was added on the left and above.
    index = step * places.flip(2)[:, :, None, None] + grid
    cut: Tensor = (_OnnxGather.apply if torch.onnx.is_in_onnx_export() else _gather)(padded, index)
    return cut.reshape(-1, side, side, maps.shape[1]).permute(0, 3, 1, 2)


def _gather(maps: Tensor, index: Tensor) -> Tensor:
    """The (C,) of each pixel: maps (N, H, W, C), index int64 (N, ..., 2), y and x, to (N, ..., C)."""
    image = torch.arange(len(maps), device=maps.device).reshape(-1, *[1] * (index.ndim - 2))
    return maps[image, index[..., 0], index[..., 1]]


class _OnnxGather(torch.autograd.Function):
    """As one node; PyTorch's own export computes indices over the batch, whose size the graph leaves open."""

    @staticmethod
    def forward(_ctx: Any, maps: Tensor, index: Tensor) -> Tensor:
        return _gather(maps, index)

    @staticmethod
    def symbolic(graph: Any, maps: Any, index: Any) -> Any:
        return graph.op("GatherND", maps, index, batch_dims_i=1).setType(maps.type().with_sizes([None] * 5))
