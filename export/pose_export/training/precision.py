"""Where a run computes, and in what precision."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pose_runtime.errors import ExportError

Amp = Literal["auto", "off", "bf16", "fp16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision of its convolutions and matrix products.

    Attributes:
        device: CPU or a CUDA device.
        autocast: bfloat16, float16, or None for float32.
    """

    device: torch.device
    autocast: torch.dtype | None

    def context(self) -> contextlib.AbstractContextManager[object]:
        """For the network's forward pass."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Loss scaling, which float16 gradients need."""
        return torch.amp.GradScaler(self.device.type) if self.autocast is torch.float16 else None

    def __str__(self) -> str:
        precision = "float32" if self.autocast is None else f"{self.autocast}".removeprefix("torch.")
        name = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return f"{self.device}{name}, {precision}"


def choose(device: str, amp: Amp) -> Compute:
    """`auto` takes a GPU where there is one, each process of torchrun its own, and 16 bits where they are faster.

    On GPUs since Ampere that is bfloat16, before it float16. On CPUs bfloat16 pays only where tiles (AMX) multiply it:
    with AVX-512's bfloat16 alone, networks of 0.8 to 1 GMAC trained 5 to 20 % slower than in float32.

    Raises:
        ExportError: there is no such device.
    """
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ExportError(f"device: got {device!r}, wanted auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ExportError(f"device: got {device!r}, wanted auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ExportError(f"device {device}: not on this machine, which has {torch.cuda.device_count()} GPUs")
    return Compute(chosen, {"auto": _fastest(chosen), "off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp])


def _fastest(device: torch.device) -> torch.dtype | None:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if _has_amx() else None


def _has_amx() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.8
    return bool(capabilities.get("amx_bf16"))
