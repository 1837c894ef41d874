"""Which clothes, hair and motions are trained on, and which are kept back to measure with."""

from __future__ import annotations

import zlib
from typing import Literal

Split = Literal["train", "validation"]

HELD_OUT_SHARE = 7
"""One clip in seven is held out."""

HELD_OUT_GARMENTS = frozenset(
    {"female_casualsuit02", "male_casualsuit03", "male_elegantsuit01", "shoes03", "short02", "bob02", "fedora_cocked"}
)
"""Suits, shoes, hats and hair that only validation people wear; validation people wear nothing else of these kinds."""


def garment_split(name: str) -> Split:
    """Where a garment belongs."""
    return "validation" if name in HELD_OUT_GARMENTS else "train"


def hashed_split(name: str) -> Split:
    """Where anything with a name belongs: one in seven is validation, the same ones always."""
    return "validation" if zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0 else "train"
