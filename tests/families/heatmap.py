"""Goldens of single-keypoint decoding: `hrnet/topdown_decode.npz` and `losses/decode.npz`."""

from __future__ import annotations

FAMILIES: dict = {}
