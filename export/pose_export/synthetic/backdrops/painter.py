"""Textured rectangles in perspective, painted from far to near."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, log2

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops.detail import with_detail
from pose_export.synthetic.backdrops.textures import Ramp, Texture
from pose_export.synthetic.view import View

Floats = NDArray[np.float64]
Point = Sequence[float] | Floats
Row = tuple[float, float, float]
Back = tuple[Row, Row, Row]

_NEAR = 0.08  # metres; nothing nearer is painted
_COARSE = 0.62  # of the full size
_BITS = 4  # of sub-pixel precision
_CORNERS = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], np.float64)


class Painter:
    """A picture that grows by rectangles. Axes of `View`, turned about the camera's vertical by `turn` radians.

    It is painted smaller than the view wants it, for speed, and enlarged at the end.

    Attributes:
        view: as painted, smaller than the one given.
        picture: uint8 (H, W, 3), B, G, R; painted in place.
        haze: B, G, R that far things fade to, and the distance at which 63 % is gone, metres; None is clear air.
    """

    def __init__(self, view: View, turn: float = 0.0) -> None:
        width, height = (max(2, round(side * _COARSE)) for side in view.size_wh)
        self._full_wh = view.size_wh
        self.view = view = View((width, height), view.focal_px * height / view.size_wh[1], view.pitch, view.height)
        self.picture: NDArray[np.uint8] = np.zeros((view.size_wh[1], view.size_wh[0], 3), np.uint8)
        self.haze: tuple[Floats, float] | None = None
        c, s = np.cos(turn), np.sin(turn)
        self._matrix = view.matrix() @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        self._eye = np.array([0, view.height, 0])

    def finished(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture in full size, uint8 (H, W, 3), with fine detail as strong as the coarse detail around it."""
        full = cv2.resize(self.picture, self._full_wh, interpolation=cv2.INTER_CUBIC)
        return with_detail(np.asarray(full, np.uint8), rng)

    def sees(self, corner: Point, along: Point, depth: Point, height: float) -> bool:
        """Whether a box (as in `cuboid`) may be in the picture; quick, and at times True for one that just is not."""
        plane = self._plane(corner, along, depth)
        base = _CORNERS @ plane.T
        return not self._outside(np.concatenate([base, base + self._matrix[:, 1] * height]))

    def quad(
        self,
        origin: Point,
        along: Point,
        up: Point,
        texture: Texture,
        ramp: Ramp | None = None,
        *,
        repeat: tuple[float, float] = (1, 1),
        shade: float = 1.0,
        alpha: Texture | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Paint the rectangle origin, origin + along, origin + along + up, origin + up.

        Args:
            origin, along, up: metres; the bottom of the texture lies at the origin.
            texture: with a ramp grey, else B, G, R.
            ramp: colours the greys.
            repeat: how often the texture lies along both sides.
            shade: light on it, times.
            alpha: where it is opaque (255); same repeat.
            opacity: of all of it.
        """
        plane = self._plane(origin, along, up)
        back = None if self._outside(_CORNERS @ plane.T) else _back(plane)
        if back is None:
            return
        for part in _bands(plane):
            seen = self._outline(plane, part)
            if seen is None:
                continue
            box, mask = seen
            colours = self._sample(back, box, texture, repeat)
            if ramp is not None:
                lit = self._aired(ramp, shade, plane, part)
                colours = np.asarray(cv2.applyColorMap(colours, lit), np.uint8)
            else:
                colours = self._aired(colours, shade, plane, part)
            if alpha is not None:
                share = self._sample(back, box, alpha, repeat)
                mask = np.asarray(cv2.multiply(mask, share, scale=opacity / 255), np.uint8)
            elif opacity != 1.0:
                mask = np.asarray(cv2.convertScaleAbs(mask, alpha=opacity), np.uint8)
            _blend(self.picture[box], colours, mask)

    def tone(self, origin: Point, along: Point, up: Point, where: Texture, factor: float) -> None:
        """Multiply what is painted there by `factor` where `where` is 255, by 1 where it is 0: light and shadow."""
        plane = self._plane(origin, along, up)
        back = None if self._outside(_CORNERS @ plane.T) else _back(plane)
        if back is None:
            return
        gains = 255 * (1 + (factor - 1) * np.arange(256) / 255) / max(factor, 1.0)
        table = np.repeat(gains.astype(np.uint8)[:, None, None], 3, axis=2)
        for part in _bands(plane):
            seen = self._outline(plane, part)
            if seen is None:
                continue
            box, mask = seen
            share = np.asarray(cv2.multiply(mask, self._sample(back, box, where, (1, 1)), scale=1 / 255), np.uint8)
            gain = cv2.applyColorMap(share, table)
            self.picture[box] = cv2.multiply(self.picture[box], gain, scale=max(factor, 1.0) / 255)

    def cuboid(
        self,
        corner: Point,
        along: Point,
        depth: Point,
        height: float,
        texture: Texture,
        ramp: Ramp,
        *,
        scale: float = 1.0,
        front: tuple[Texture, Ramp | None] | None = None,
    ) -> None:
        """A box on its bottom corner; only its visible faces. Its front lies across `depth`, away from the corner.

        Args:
            corner, along, depth: metres; `along` and `depth` are level and at right angles.
            scale: metres that the texture covers.
            front: another texture for the front, once over all of it.
        """
        if not self.sees(corner, along, depth, height):
            return
        corner, along, depth = (np.asarray(v, np.float64) for v in (corner, along, depth))
        up = np.array([0, height, 0])
        faces = [
            (corner + depth, along, up, depth, 1.0),
            (corner, along, up, -depth, 0.8),
            (corner, depth, up, -along, 0.78),
            (corner + along, depth, up, along, 0.66),
            (corner + up, along, depth, up, 1.12),
            (corner, along, depth, -up, 0.45),
        ]
        for i, (origin, right, tall, outward, shade) in enumerate(faces):
            if float((self._eye - origin) @ outward) <= 0:
                continue
            if i == 0 and front is not None:
                self.quad(origin, right, tall, front[0], front[1], shade=shade)
                continue
            size = float(np.linalg.norm(right)) / scale, float(np.linalg.norm(tall)) / scale
            self.quad(origin, right, tall, texture, ramp, repeat=size, shade=shade)

    def sprite(
        self, foot: Point, width: float, height: float, texture: Texture, alpha: Texture, ramp: Ramp, shade: float = 1.0
    ) -> None:
        """An upright cut-out that faces the camera, `foot` under its middle."""
        foot = np.asarray(foot, np.float64)
        side = np.array([-foot[2], 0, foot[0]])
        side *= width / max(float(np.linalg.norm(side)), 1e-9)
        self.quad(foot - side / 2, side, (0, height, 0), texture, ramp, alpha=alpha, shade=shade)

    def _plane(self, origin: Point, along: Point, up: Point) -> Floats:
        """(3, 3): takes (s, t, 1), shares of along and up, to homogeneous pixels and depth."""
        columns = [
            np.asarray(along, np.float64),
            np.asarray(up, np.float64),
            np.asarray(origin, np.float64) - self._eye,
        ]
        return np.asarray(self._matrix @ np.stack(columns, axis=1), np.float64)

    def _aired(
        self, colours: NDArray[np.uint8], shade: float, plane: Floats, part: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        """Lit, and as pale as the air before it makes it."""
        if self.haze is None:
            return colours if shade == 1.0 else np.asarray(cv2.convertScaleAbs(colours, alpha=shade), np.uint8)
        depths = [float(plane[2] @ (s, t, 1)) for s in part[:2] for t in part[2:]]
        clear = exp(-max(max(depths) + max(min(depths), 0.0), 0.0) / 2 / self.haze[1])
        pale = self.haze[0] * (1 - clear)
        lut = np.arange(256)[:, None] * (shade * clear) + pale
        return np.asarray(cv2.LUT(colours, np.minimum(lut, 255).astype(np.uint8)[None]), np.uint8)

    def _outline(
        self, plane: Floats, part: tuple[float, float, float, float]
    ) -> tuple[tuple[slice, slice], NDArray[np.uint8]] | None:
        """The piece of the picture that a part of a plane covers, and how much of each pixel; None is nothing."""
        s0, s1, t0, t1 = part
        corners = np.array([[s0, t0, 1], [s1, t0, 1], [s1, t1, 1], [s0, t1, 1]]) @ plane.T
        if self._outside(corners):
            return None
        corners = _clipped(corners)
        if len(corners) < 3:
            return None
        points = np.clip(corners[:, :2] / corners[:, 2:], -3e4, 3e4)
        low = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(points.max(axis=0)) + 1, self.view.size_wh).astype(int)
        if (high - low < 1).any():
            return None
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        polygon = np.rint((points - low) * (1 << _BITS)).astype(np.int32)
        cv2.fillConvexPoly(mask, polygon, 255, cv2.LINE_AA, _BITS)
        return (slice(low[1], high[1]), slice(low[0], high[0])), mask

    def _outside(self, corners: Floats) -> bool:
        """Whether all corners lie beyond the same edge of the picture, or behind the camera; quick."""
        width, height = self.view.size_wh
        left = right = above = below = behind = True
        for x, y, depth in corners.tolist():
            left, right = left and x < 0, right and x > width * depth
            above, below = above and y < 0, below and y > height * depth
            behind = behind and depth < _NEAR
        return left or right or above or below or behind

    def _sample(
        self, back: Back, box: tuple[slice, slice], texture: Texture, repeat: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """The texture as a piece of the picture sees it, from the level whose texels are about as large as pixels."""
        left, top = box[1].start, box[0].start
        width, height = box[1].stop - left, box[0].stop - top
        level = texture[_level(back, box, texture, repeat)]
        rows, columns = repeat[1] * level.shape[0], repeat[0] * level.shape[1]
        s, t, w = ((x, y, z + x * left + y * top) for x, y, z in back)
        matrix = np.array(
            [
                [columns * a - 0.5 * c for a, c in zip(s, w, strict=True)],
                [(rows - 0.5) * c - rows * b for b, c in zip(t, w, strict=True)],
                w,
            ]
        )
        border = cv2.BORDER_REPLICATE if repeat == (1, 1) else cv2.BORDER_WRAP
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(level, matrix, (width, height), flags=flags, borderMode=border), np.uint8)


def _back(plane: Floats) -> Back | None:
    """What takes pixels back to (s, t, 1), up to a factor: the adjugate of the plane; None where it is seen edge on."""
    (a, b, c), (d, e, f), (g, h, i) = plane.tolist()
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return rows if abs(a * rows[0][0] + b * rows[1][0] + c * rows[2][0]) > 1e-9 else None


def _level(back: Back, box: tuple[slice, slice], texture: Texture, repeat: tuple[float, float]) -> int:
    """Which size of the texture suits the middle of the box: a homography H scales areas by det H / w³.

    On the plane's horizon w is 0 and the area has no bounds; the smallest size suits it.
    """
    x, y = (box[1].start + box[1].stop) / 2, (box[0].start + box[0].stop) / 2
    (a, b, c), (d, e, f), (g, h, i) = back
    w = abs(g * x + h * y + i)
    determinant = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    texels = repeat[0] * texture[0].shape[1] * repeat[1] * texture[0].shape[0]
    area = texels * determinant / max(w**3, 1e-30)
    return min(max(int(0.5 * log2(max(area, 1.0)) + 0.3), 0), len(texture) - 1)


def _blend(under: NDArray[np.uint8], over: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Lay `over` on `under` in place, as opaque as the mask says."""
    opaque = mask.astype(np.float32) * np.float32(1 / 255)
    under[:] = cv2.blendLinear(np.ascontiguousarray(over), np.ascontiguousarray(under), opaque, 1 - opaque)


def _bands(plane: Floats) -> list[tuple[float, float, float, float]]:
    """A plane that runs away from the camera, in pieces (s0, s1, t0, t1) whose depths differ less than threefold; the
    far ones first.
    """
    along, up, start = plane[2]
    corners = [start, start + along, start + up, start + along + up]
    if max(corners) <= _NEAR:
        return []
    if max(corners) < 3 * max(min(corners), 0.3):
        return [(0.0, 1.0, 0.0, 1.0)]
    slope, other = (along, up) if abs(along) >= abs(up) else (up, along)
    first = start + other / 2
    near, far = sorted((max(first, 0.3), max(first + slope, 0.3)))
    count = max(1, int(np.ceil(np.log(far / near) / np.log(2.5))))
    depths = np.geomspace(far, near, count + 1)
    shares = np.clip((depths - first) / slope, 0, 1)
    ends = (1.0, 0.0) if slope > 0 else (0.0, 1.0)
    shares[0], shares[-1] = ends
    pieces = [(float(min(pair)), float(max(pair))) for pair in pairwise(shares)]
    if slope == along:
        return [(low, high, 0.0, 1.0) for low, high in pieces]
    return [(0.0, 1.0, low, high) for low, high in pieces]


def _clipped(corners: Floats) -> Floats:
    """The polygon (n, 3) in front of the near plane (Sutherland and Hodgman 1974)."""
    if corners[:, 2].min() >= _NEAR:
        return corners
    kept: list[Floats] = []
    for i, a in enumerate(corners):
        b = corners[(i + 1) % len(corners)]
        if a[2] >= _NEAR:
            kept.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            kept.append(a + (b - a) * ((_NEAR - a[2]) / (b[2] - a[2])))
    return np.asarray(kept, np.float64).reshape(-1, 3)
