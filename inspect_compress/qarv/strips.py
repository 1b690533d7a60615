"""Layers applied strip by strip, so that a strip stays in the processor's cache and memory stays small.

Every layer is computed for all of a picture before the next one, from whole rows of the one before: there are no
tiles, so no seams, nothing is computed twice, and a picture has only one way of being computed. A strip's height
depends on the picture's size alone.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inspect_compress.qarv.threads import side_by_side

POSITIONS = 1024
"""Positions in a strip at most: some hundred kilobytes a tensor. Floats may come out otherwise with another."""


def in_strips(work: Callable[[int, int], object], height: int, positions: int, most: int = POSITIONS) -> None:
    """Call `work(start, stop)` for rows from start to before stop, side by side; a row has `positions` positions.

    A strip has at most `most` positions, or is one row; more than POSITIONS are never one strip.

    While gradients are recorded there is one strip, of all rows.
    """
    step = max(1, height if torch.is_grad_enabled() else _rows_in_strip(height, positions, most))
    side_by_side(lambda start: work(start, min(height, start + step)), range(0, height, step))


def by_strips(
    rows: Callable[[int, int], Tensor], like: Tensor, height: int, width: int, *shape: int, most: int = POSITIONS
) -> Tensor:
    """`(B, height, *shape)`, B as in `like`, of which `rows(start, stop)` makes the rows from start to before stop.

    `width` is the number of positions in a row. The result has the type of `like`.
    """
    positions = like.shape[0] * width
    if torch.is_grad_enabled() or _rows_in_strip(height, positions, most) >= height:
        return rows(0, height)
    out = like.new_empty(like.shape[0], height, *shape)

    def fill(start: int, stop: int) -> None:
        out[:, start:stop] = rows(start, stop)

    in_strips(fill, height, positions, most)
    return out


def _rows_in_strip(height: int, positions: int, most: int) -> int:
    """So many that the strips are even in number, where there is more than one, and nearly alike."""
    strips = max(-(-height * positions // most), 1 if height * positions <= POSITIONS else 2)
    return -(-height // (strips + strips % 2)) if strips > 1 else height


def with_halo(x: Tensor, start: int, stop: int, halo: int) -> Tensor:
    """Rows of `(B, H, W, C)` with `halo` more on each side, zero where the picture ends."""
    above, below = max(0, halo - start), max(0, stop + halo - x.shape[1])
    part = x[:, max(0, start - halo) : stop + halo]
    return F.pad(part, (0, 0, 0, 0, above, below)) if above or below else part


def rows_of(table: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a table, `(B, H, …)`; all of it where it is the same for all positions, `(B, 1, …)`."""
    return table if table.shape[1] == 1 else table[:, start:stop]
