"""OpenPose: VGG-19's first layers, and stages of heatmaps and part affinity fields.

Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017 (two branches), and
"OpenPose", TPAMI 2019 (fields first, dense triples; BODY_25). Parameters carry the names of the released layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_VGG = (("conv1", (64, 64)), ("conv2", (128, 128)), ("conv3", (256, 256, 256, 256)), ("conv4", (512, 512)))
_TOP = (("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128))
_FEATURES = 128


class _Layers(nn.Module):
    """Layers by name, run in order; the activation of layer NAME is called what `activation` says."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[tuple[str, str]] = []

    def add(self, name: str, c_in: int, c_out: int, kernel: int, activation: str = "") -> None:
        """A convolution; activation is `relu`, the name of a PReLU to be made, or nothing."""
        self.add_module(name, nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2))
        if activation not in ("", "relu"):
            self.add_module(activation, nn.PReLU(c_out))
        self._order.append((name, activation))

    def run(self, name: str, activation: str, x: Tensor) -> Tensor:
        """One layer."""
        x = self.get_submodule(name)(x)
        if not activation:
            return x
        return torch.relu(x) if activation == "relu" else self.get_submodule(activation)(x)

    def forward(self, x: Tensor) -> Tensor:
        """All layers."""
        for name, activation in self._order:
            x = self.run(name, activation, x)
        return x


class _Front(_Layers):
    """(N, 3, H, W) to features (N, 128, H/8, W/8). With `prelu`, from conv4_2 on each channel has a slope."""

    def __init__(self, *, prelu: bool) -> None:
        super().__init__()
        channels = 3
        for block, widths in _VGG:
            for i, width in enumerate(widths):
                name = f"{block}_{i + 1}"
                self.add(name, channels, width, 3, "prelu4_2" if prelu and name == "conv4_2" else "relu")
                channels = width
        for name, c_in, c_out in _TOP:
            self.add(name, c_in, c_out, 3, name.replace("conv", "prelu") if prelu else "relu")

    def forward(self, x: Tensor) -> Tensor:
        """Halved before the second, third and fourth block."""
        for name, activation in self._order:
            if name in ("conv2_1", "conv3_1", "conv4_1"):
                x = functional.max_pool2d(x, 2)
            x = self.run(name, activation, x)
        return x


class OpenPose(nn.Module):
    """Two branches: (N, 3, H, W) to heatmaps (N, heatmaps, H/8, W/8) and fields (N, pafs, H/8, W/8), the last stage's.

    Args:
        heatmaps: with the background: 19 for COCO, 16 for MPI.
        pafs: 38 and 28.
        stages: 6; the faster MPI network has 4.
        relu_last: heatmaps are cut at 0, as in the port to PyTorch whose weights are published.
    """

    def __init__(self, *, heatmaps: int, pafs: int, stages: int = 6, relu_last: bool = False) -> None:
        super().__init__()
        self.stages, self.relu_last = stages, relu_last
        self.model0 = _Front(prelu=False)
        for branch, c_out in ((1, pafs), (2, heatmaps)):
            layers = _Layers()
            for i in range(3):
                layers.add(f"conv5_{i + 1}_CPM_L{branch}", _FEATURES, 128, 3, "relu")
            layers.add(f"conv5_4_CPM_L{branch}", 128, 512, 1, "relu")
            layers.add(f"conv5_5_CPM_L{branch}", 512, c_out, 1)
            self.add_module(f"model1_{branch}", layers)
            for stage in range(2, stages + 1):
                layers, c_in = _Layers(), _FEATURES + heatmaps + pafs
                for i in range(5):
                    layers.add(f"Mconv{i + 1}_stage{stage}_L{branch}", c_in if i == 0 else 128, 128, 7, "relu")
                layers.add(f"Mconv6_stage{stage}_L{branch}", 128, 128, 1, "relu")
                layers.add(f"Mconv7_stage{stage}_L{branch}", 128, c_out, 1)
                self.add_module(f"model{stage}_{branch}", layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and fields."""
        features = self.model0(x)
        fields, heat = self.get_submodule("model1_1")(features), self.get_submodule("model1_2")(features)
        for stage in range(2, self.stages + 1):
            both = torch.cat((fields, heat, features), dim=1)
            fields, heat = (self.get_submodule(f"model{stage}_{branch}")(both) for branch in (1, 2))
        return torch.relu(heat) if self.relu_last else heat, fields


class _Triples(_Layers):
    """A stage of BODY_25: five dense triples, each layer's output kept, then two 1x1 convolutions."""

    def __init__(self, stage: str, c_in: int, width: int, c_mid: int, c_out: int) -> None:
        super().__init__()
        for block in range(1, 6):
            for i in range(3):
                channels = (c_in if block == 1 else 3 * width) if i == 0 else width
                self.add(f"Mconv{block}_{stage}_{i}", channels, width, 3, f"Mprelu{block}_{stage}_{i}")
        self.add(f"Mconv6_{stage}", 3 * width, c_mid, 1, f"Mprelu6_{stage}")
        self.add(f"Mconv7_{stage}", c_mid, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The maps of the stage."""
        triples, (sixth, seventh) = self._order[:15], self._order[15:]
        for block in range(5):
            kept = []
            for name, activation in triples[3 * block : 3 * block + 3]:
                x = self.run(name, activation, x)
                kept.append(x)
            x = torch.cat(kept, dim=1)
        return self.run(*seventh, self.run(*sixth, x))


class OpenPoseBody25(nn.Module):
    """Fields first: (N, 3, H, W) to heatmaps (N, 26, H/8, W/8), the background last, and fields (N, 52, H/8, W/8)."""

    def __init__(self, *, heatmaps: int = 26, pafs: int = 52) -> None:
        super().__init__()
        self.front = _Front(prelu=True)
        self.fields = nn.ModuleList(
            _Triples(f"stage{i}_L2", _FEATURES + (pafs if i else 0), 128 if i else 96, 512 if i else 256, pafs)
            for i in range(4)
        )
        self.heats = nn.ModuleList(
            _Triples(
                f"stage{i}_L1", _FEATURES + pafs + (heatmaps if i else 0), 128 if i else 96, 512 if i else 256, heatmaps
            )
            for i in range(2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and fields."""
        features = self.front(x)
        fields = self.fields[0](features)
        for stage in list(self.fields)[1:]:
            fields = stage(torch.cat((features, fields), dim=1))
        heat = self.heats[0](torch.cat((features, fields), dim=1))
        return self.heats[1](torch.cat((features, heat, fields), dim=1)), fields
