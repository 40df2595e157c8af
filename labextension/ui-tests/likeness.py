"""Whether two pictures of a page look the same, to somebody who looks closely.

Other versions of a browser draw the edges of letters and lines a little differently, so single pixels
say nothing. Both pictures are divided into small cells; a cell differs if its mean colour does,
wherever the second picture is moved to by up to a pixel. The pictures differ when too many cells do,
in all or within a small part: a row that is missing is little of the whole panel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

CELL = 4  # pixels, each way
NEAR = 16  # of 255: colours of cells that are this near are the same
SHARE = 0.005  # of all cells: fewer may differ
WINDOW = 12  # cells, each way: the part that is looked at by itself
CROWD = 10  # cells that may differ within such a part
SLACK = 4  # pixels by which sizes may differ

Cells = np.ndarray[Any, np.dtype[Any]]


class Difference(NamedTuple):
    """What was found; ``why`` is "" where both look the same."""

    why: str
    cells: Cells  # which differ


def compare(expected: Image.Image, actual: Image.Image) -> Difference:
    """Look for differences between two pictures in RGB."""
    sizes = list(zip(expected.size, actual.size, strict=True))
    width, height = ((min(pair) - 2) // CELL * CELL for pair in sizes)

    def means(picture: Image.Image, dx: int, dy: int) -> Cells:
        part = picture.crop((1 + dx, 1 + dy, 1 + dx + width, 1 + dy + height))
        return np.asarray(part.reduce(CELL), np.int16)

    wanted = means(expected, 0, 0)
    steps = (-1, 0, 1)
    moved = [np.abs(means(actual, x, y) - wanted).max(axis=2) for x in steps for y in steps]
    cells = np.minimum.reduce(moved) > NEAR
    if any(abs(a - b) > SLACK for a, b in sizes):
        (w, other_w), (h, other_h) = sizes
        return Difference(f"it is {other_w} × {other_h} pixels large, not {w} × {h}", cells)
    crowds = _crowds(cells)
    y, x = np.unravel_index(int(crowds.argmax()), crowds.shape)
    share = float(cells.mean())
    if share <= SHARE and crowds[y, x] <= CROWD:
        return Difference("", cells)
    place = f"x = {(x + WINDOW // 2) * CELL}, y = {(y + WINDOW // 2) * CELL}"
    return Difference(f"{share:.2%} of it looks different, most around {place}", cells)


def _crowds(cells: Cells) -> Cells:
    """How many differ in each window, by its upper left cell."""
    sums = np.pad(cells.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    h, w = (min(WINDOW, n) for n in cells.shape)
    counts: Cells = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    return counts


def marked(actual: Image.Image, cells: Cells) -> Image.Image:
    """The picture, pale, with the cells that differ in red."""
    pale = Image.blend(actual, Image.new("RGB", actual.size, "#888"), 0.6)
    height, width = cells.shape
    mask = Image.fromarray(np.where(cells, 255, 0).astype(np.uint8))
    mask = mask.resize((width * CELL, height * CELL), Image.Resampling.NEAREST)
    pale.paste("#f00", (1, 1), mask)
    return pale


def save(picture: Image.Image, path: Any) -> None:
    """In few colours, which nobody sees: a quarter of the size."""
    few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
