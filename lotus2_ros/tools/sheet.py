"""Contact sheets: pictures side by side, a row for each photograph, with captions."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lotus2_ros.types import UInt8Array

_PAPER = (24, 26, 30)
_INK = (230, 230, 230)
_GAP = 6
_CAPTION = 26
_FONT_SCALE = 0.5


def sheet_row(
    tiles: Sequence[UInt8Array | None], caption: str, *, tile_size: tuple[int, int]
) -> UInt8Array:
    """One row: a caption, and under it each picture fitted into a tile.

    Args:
        tiles: (H, W, 3) uint8 RGB of any size; None leaves the tile empty.
        caption: text above the row.
        tile_size: width and height of a tile [px].

    Returns:
        (h, w, 3) uint8 RGB, of the same width for the same number of tiles.
    """
    width, height = tile_size
    row = _paper(_CAPTION + height + _GAP, _GAP + len(tiles) * (width + _GAP))
    _write(row, caption, _GAP, _CAPTION)
    for index, tile in enumerate(tiles):
        if tile is None:
            continue
        scale = min(width / tile.shape[1], height / tile.shape[0])
        size = max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale))
        fitted = cv2.resize(
            tile, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        left = _GAP + index * (width + _GAP) + (width - size[0]) // 2
        top = _CAPTION + (height - size[1]) // 2
        row[top : top + size[1], left : left + size[0]] = fitted
    return row


def contact_sheet(
    rows: Sequence[UInt8Array], titles: Sequence[str], *, tile_size: tuple[int, int]
) -> UInt8Array:
    """Rows of `sheet_row` under the titles of their columns, (H, W, 3) uint8 RGB."""
    head = _paper(_CAPTION, rows[0].shape[1])
    for index, title in enumerate(titles):
        _write(head, title, _GAP + index * (tile_size[0] + _GAP), _CAPTION)
    return np.concatenate([head, *rows])


def _paper(height: int, width: int) -> UInt8Array:
    paper = np.empty((height, width, 3), dtype=np.uint8)
    paper[:] = _PAPER
    return paper


def _write(picture: UInt8Array, text: str, left: int, bottom: int) -> None:
    # OpenCV's own letters are ASCII only.
    shown = text.encode('ascii', errors='replace').decode()
    cv2.putText(
        picture,
        shown,
        (left, bottom - 8),
        cv2.FONT_HERSHEY_SIMPLEX,
        _FONT_SCALE,
        _INK,
        1,
        cv2.LINE_AA,
    )
