"""Flat pictures that stand in scenes: posters, shelves of books, views out of windows, facades, cut-out plants."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops.textures import Ramp, Texture, colour, fractal, green, pyramid, ramp, warm

Random = np.random.Generator
Picture = NDArray[np.uint8]

_LETTERS = np.array(list("ABCDEFGHIKLMNOPRSTUVWYaeioutrnslmdh0123456789&!"))
_COUNT = 40  # sheets of each sort per process


def poster(rng: Random) -> Texture:
    """Text, shapes or a little landscape: B, G, R."""
    return _poster(int(rng.integers(_COUNT)))


def books(rng: Random) -> Texture:
    """The front of a full shelf: B, G, R."""
    return _books(int(rng.integers(8)))


def outside(rng: Random) -> Texture:
    """What a window shows, bright and out of focus: B, G, R."""
    return _outside(int(rng.integers(8)))


def facade(rng: Random) -> Texture:
    """Rows of windows on a house, three by four: B, G, R."""
    return _facade(int(rng.integers(12)))


def crown(rng: Random) -> tuple[Texture, Texture]:
    """A tree's crown or a bush: grey, brighter at the top, and where it is opaque."""
    return _crown(int(rng.integers(6)))


def bush(rng: Random) -> tuple[Texture, Texture]:
    """A crown that stands on the ground: its lower third is cut off."""
    return _bush(int(rng.integers(6)))


def foliage_ramp(rng: Random) -> Ramp:
    """Colours of leaves from shade to sun."""
    base = green(rng) if rng.random() < 0.88 else warm(rng)
    return ramp(base * 0.12, base * 0.7, np.minimum(base * 1.7 + 15, 255))


@lru_cache(maxsize=_COUNT)
def _poster(number: int) -> Texture:
    rng = np.random.default_rng([1, number])
    back = colour(rng, value=(0.2, 1.0), vivid=0.5)
    height, width = (256, int(rng.choice([176, 256, 384])))
    if number % 3 == 0:
        noise = fractal(rng, 1.7, (0.5, 1))
        grey = np.clip(130 + 55 * noise, 0, 255).astype(np.uint8)
        sheet = np.asarray(cv2.applyColorMap(grey, ramp(colour(rng), colour(rng), back, colour(rng))), np.uint8)
        sheet = np.asarray(cv2.resize(sheet, (width, height)), np.uint8)
    else:
        sheet = np.full((height, width, 3), back, np.uint8)
    _figures(sheet, rng, int(rng.integers(1, 7)))
    if number % 3:
        write(sheet, rng, int(rng.integers(2, 9)))
    return pyramid(np.asarray(sheet, np.uint8))


def _figures(sheet: NDArray[np.uint8], rng: Random, count: int) -> None:
    height, width = sheet.shape[:2]
    for _ in range(count):
        paint = tuple(colour(rng, vivid=0.6).tolist())
        x, y, w, h = (int(v) for v in rng.uniform(0, 1, 4) * (width, height, width * 0.6, height * 0.6))
        if rng.random() < 0.5:
            cv2.rectangle(sheet, (x, y), (x + w, y + h), paint, -1)
        else:
            cv2.ellipse(
                sheet, (x, y), (w // 2 + 1, h // 2 + 1), float(rng.uniform(0, 180)), 0, 360, paint, -1, cv2.LINE_AA
            )


def write(sheet: NDArray[np.uint8], rng: Random, lines: int) -> None:
    """Random words in random fonts, in place."""
    height, width = sheet.shape[:2]
    fonts = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX)
    y = height * rng.uniform(0.05, 0.4)
    for _ in range(lines):
        size = float(rng.choice([0.35, 0.6, 1.0, 1.8, 3.0]))
        y += size * 30
        if y > height:
            break
        words = "".join(rng.choice(_LETTERS, int(rng.integers(2, 18))))
        paint = tuple(colour(rng, value=(0, 1), vivid=0.4).tolist())
        at = int(rng.uniform(0, width * 0.3)), int(y)
        cv2.putText(sheet, words, at, int(rng.choice(fonts)), size, paint, max(1, int(size * 2)), cv2.LINE_AA)


@lru_cache(maxsize=8)
def _books(number: int) -> Texture:
    rng = np.random.default_rng([2, number])
    sheet = np.full((256, 256, 3), warm(rng, value=(0.15, 0.5)) * 0.5, np.uint8)
    board = tuple(warm(rng).tolist())
    rows = int(rng.integers(3, 6))
    high = 256 // rows
    for row in range(rows):
        floor, x = (row + 1) * high, 4
        while x < 246:
            wide, tall = int(rng.integers(3, 18)), int(high * rng.uniform(0.45, 0.88))
            if rng.random() < 0.85:
                paint = colour(rng, vivid=0.45)
                cv2.rectangle(sheet, (x, floor - tall), (min(x + wide, 250), floor), tuple(paint.tolist()), -1)
                cv2.line(sheet, (x, floor - tall), (x, floor), tuple((paint * 0.5).tolist()), 1)
                if wide > 6:
                    mark = floor - int(tall * rng.uniform(0.5, 0.85))
                    cv2.rectangle(
                        sheet, (x + 2, mark), (min(x + wide - 1, 250), mark + 5), tuple(colour(rng).tolist()), -1
                    )
            x += wide + 1
        cv2.rectangle(sheet, (0, floor - 4), (256, floor), board, -1)
    cv2.rectangle(sheet, (0, 0), (255, 255), board, 7)
    return pyramid(sheet)


@lru_cache(maxsize=8)
def _outside(number: int) -> Texture:
    rng = np.random.default_rng([3, number])
    sheet = np.full((128, 128, 3), (255, 250, 245), np.float32)
    sheet[int(rng.uniform(40, 100)) :] = green(rng, value=(0.5, 0.9))
    for _ in range(12):
        at, size = rng.integers(0, 128, 2), int(rng.integers(6, 26))
        paint = green(rng, value=(0.5, 0.9)) if rng.random() < 0.6 else colour(rng, value=(0.6, 1))
        cv2.circle(sheet, (int(at[0]), int(at[1] // 2 + 50)), size, tuple(paint.tolist()), -1)
    soft = cv2.GaussianBlur(sheet, (0, 0), float(rng.uniform(3, 9)))
    return pyramid(np.clip(soft * 0.7 + 75, 0, 255).astype(np.uint8))


@lru_cache(maxsize=12)
def _facade(number: int) -> Texture:
    rng = np.random.default_rng([4, number])
    wall = warm(rng, value=(0.4, 0.9)) if rng.random() < 0.6 else colour(rng, value=(0.4, 0.95), vivid=0.25)
    sheet = np.asarray(wall + fractal(rng, 0.8)[..., None] * 6 + fractal(rng, 1.6)[..., None] * 5, np.float32)
    columns, rows = 3, 4
    w, h = 256 / columns, 256 / rows
    wide, tall = w * rng.uniform(0.35, 0.7), h * rng.uniform(0.45, 0.75)
    if rng.random() < 0.25:
        wide = w * 0.97
    frame = tuple(colour(rng, value=(0.2, 1), vivid=0.05).tolist())
    for i in range(rows):
        if rng.random() < 0.4:
            cv2.line(sheet, (0, int(i * h) + 1), (256, int(i * h) + 1), tuple((wall * 0.75).tolist()), 2)
        for j in range(columns):
            x0, y0 = int((j + 0.5) * w - wide / 2), int((i + 0.5) * h - tall / 2)
            x1, y1 = int(x0 + wide), int(y0 + tall)
            glass = np.array([165, 145, 130]) * rng.uniform(0.25, 1.35)
            cv2.rectangle(sheet, (x0 - 2, y0 - 2), (x1 + 2, y1 + 3), frame, -1)
            cv2.rectangle(sheet, (x0, y0), (x1, y1), tuple(glass.tolist()), -1)
            cv2.rectangle(sheet, (x0, y0), (x1, (y0 * 2 + y1) // 3), tuple((glass * 0.7).tolist()), -1)
            cv2.line(sheet, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), frame, 1)
            cv2.line(sheet, (x0 - 3, y1 + 3), (x1 + 3, y1 + 3), tuple((wall * 0.6).tolist()), 2)
    return pyramid(np.clip(sheet, 0, 255).astype(np.uint8))


@lru_cache(maxsize=6)
def _crown(number: int) -> tuple[Texture, Texture]:
    rng = np.random.default_rng([6, number])
    side = 256
    grey, alpha = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    clumps = rng.normal(0, 0.2, (14, 2)).clip(-0.36, 0.36)
    for i in range(2600):
        clump = clumps[int(rng.integers(len(clumps)))]
        at = (clump + rng.normal(0, 0.055, 2) + 0.5) * side
        if not (6 < at[0] < side - 6 and 6 < at[1] < side - 6):
            continue
        lit = 0.75 - at[1] / side + 0.5 * (0.5 - (at[1] / side - 0.5 - clump[1]) * 6)
        shade = float(np.clip(70 + 90 * lit + rng.normal(0, 30) + 40 * (i / 2600 - 0.5), 5, 255))
        axes = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        angle = float(rng.uniform(0, 180))
        where = int(at[0]), int(at[1])
        cv2.ellipse(grey, where, axes, angle, 0, 360, shade, -1, cv2.LINE_AA)
        cv2.ellipse(alpha, where, axes, angle, 0, 360, 255, -1, cv2.LINE_AA)
    return pyramid(np.clip(grey, 0, 255).astype(np.uint8)), pyramid(np.clip(alpha, 0, 255).astype(np.uint8))


@lru_cache(maxsize=6)
def _bush(number: int) -> tuple[Texture, Texture]:
    grey, alpha = _crown(number)
    return pyramid(np.ascontiguousarray(grey[0][:168])), pyramid(np.ascontiguousarray(alpha[0][:168]))
