"""The linear operator between a network's maps and the pixels that a PAF decoder looks at, as weights per axis.

Enlarging, cropping, resizing again and smoothing are each linear and separable; here they are multiplied, in float64,
into one matrix per axis, of which the native code gets the few weights of each row that are not zero.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from pose_runtime._native import native
from pose_runtime.arrays import Float64Array, FloatArray

Smooth = Literal["none", "gauss_reflect", "gauss_zero"]

_TILE: int = native.PAF_TILE
_CORE = _TILE - 2


def resize_cubic(matrix: Float64Array, target: int) -> Float64Array:
    """Rows (size, cells) resized to (target, cells) as OpenCV's INTER_CUBIC: a = -0.75, edge repeated.

    Positions are rounded to float32, as OpenCV's are.
    """
    size = len(matrix)
    position = ((np.arange(target) + 0.5) * (size / target) - 0.5).astype(np.float32)
    whole = np.floor(position)
    x = (position - whole).astype(float)
    a = -0.75
    weights = [
        ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a,
        ((a + 2) * x - (a + 3)) * x * x + 1,
        ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1,
    ]
    weights.append(1 - sum(weights))
    result = np.zeros((target, matrix.shape[1]))
    for shift, weight in zip((-1, 0, 1, 2), weights, strict=True):
        result += weight[:, None] * matrix[np.clip(whole.astype(int) + shift, 0, size - 1)]
    return result


def smooth_rows(matrix: Float64Array, smooth: Smooth) -> Float64Array:
    """Rows (size, cells) blurred along the first axis with 25 taps.

    gauss_reflect: sigma 3, edge rows repeated once (c b a | a b c), as SciPy's gaussian_filter. gauss_zero: square
    roots of 25 equal slices of the normal distribution between -3.14 and 3.14, zero beyond the edge (tf-pose).
    """
    if smooth == "none":
        return matrix
    border: Literal["symmetric", "constant"] = "constant"
    if smooth == "gauss_reflect":
        kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
        border = "symmetric"
    else:
        edges = [math.erf(x / math.sqrt(2)) for x in np.linspace(-3.14, 3.14, 26)]
        kernel = np.sqrt(np.diff(edges))
    kernel /= kernel.sum()
    padded = np.pad(matrix, ((12, 12), (0, 0)), mode=border)
    result = np.zeros_like(matrix)
    for tap, weight in enumerate(kernel):
        result += weight * padded[tap : tap + len(matrix)]
    return result


class AxisRule(NamedTuple):
    """What happens along one axis: cells, whole ratio, pixels cut off before and behind, final size (0: as it is)."""

    cells: int
    ratio: int
    cut: tuple[int, int]
    target: int
    cubic: bool

    @property
    def size(self) -> int:
        """Decoded pixels."""
        return self.target or self.cells * self.ratio - sum(self.cut)

    def matrix(self) -> Float64Array:
        """Matrix (size, cells)."""
        cells, enlarged = np.eye(self.cells), self.cells * self.ratio
        matrix = resize_cubic(cells, enlarged) if self.cubic else cells.repeat(self.ratio, axis=0)
        matrix = matrix[self.cut[0] : enlarged - self.cut[1]]
        return matrix if self.size == len(matrix) else resize_cubic(matrix, self.size)


class Table(NamedTuple):
    """Rows of a matrix without their zeros: first int32 (size,), never decreasing; weights float32 (size, taps)."""

    first: np.ndarray[Any, np.dtype[np.int32]]
    weights: FloatArray


def table_of(matrix: Float64Array) -> Table:
    """The rows' weights, all rows equally many."""
    used = matrix != 0
    cells = matrix.shape[1]
    first = np.minimum.accumulate(used.argmax(1)[::-1])[::-1]
    last = np.maximum.accumulate(cells - 1 - used[:, ::-1].argmax(1))
    taps = int((last - first).max()) + 1
    first = np.minimum(first, cells - taps)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(taps), 1)
    return Table(first.astype(np.int32), weights.astype(np.float32))


def blocks_of(table: Table, cells: int) -> Table:
    """The same weights for whole tiles with their halo: first (tiles,), weights (tiles, span, tile)."""
    size, taps = table.weights.shape
    count = -(-size // _CORE)
    pixels = np.arange(count)[:, None] * _CORE - 1 + np.arange(_TILE)
    inside = (pixels >= 0) & (pixels < size)
    pixels = pixels.clip(0, size - 1)
    starts, ends = table.first[pixels[:, 0]], table.first[pixels[:, -1]] + taps
    span = int((ends - starts).max())
    starts = np.minimum(starts, cells - span)
    weights = np.zeros((count, span, _TILE), np.float32)
    tile, column = np.nonzero(inside)
    for tap in range(taps):
        pixel = pixels[tile, column]
        weights[tile, table.first[pixel] + tap - starts[tile], column] = table.weights[pixel, tap]
    return Table(starts.astype(np.int32), weights)


class Sampling(NamedTuple):
    """Tables of both axes. native: as the decoder takes them; search_x: of the maps that peaks are searched in."""

    native: Any
    size_wh: tuple[int, int]
    search_x: Table


def make_sampling(x: AxisRule, y: AxisRule, smooth: Smooth) -> Sampling:
    """All tables of one operator."""
    matrices = [rule.matrix() for rule in (x, y)]
    searched = [smooth_rows(m, smooth) for m in matrices]
    tables = [table_of(m) for m in (*matrices, *searched)]
    blocks = blocks_of(tables[2], x.cells)
    # Each axis: the largest sums of its positive and of its negative weights; both axes: of the products.
    (plus_x, minus_x), (plus_y, minus_y) = [(m.clip(0).sum(1).max(), (-m).clip(0).sum(1).max()) for m in searched]
    margin = 1 + 1e-5  # float32 rounding
    rise = (plus_x * plus_y + minus_x * minus_y) * margin
    fall = (plus_x * minus_y + minus_x * plus_y) * margin
    tables_x, tables_y, search_x, search_y = tables
    made = native.paf_tables(x.cells, y.cells, *tables_x, *tables_y, *search_y, *blocks, rise, fall)
    return Sampling(made, (x.size, y.size), search_x)
