"""Coloured point clouds as binary PLY files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lotus2_ros.errors import ImageError, naming_unwritable
from lotus2_ros.types import Float32Array, UInt8Array


def write_ply(
    path: Path,
    points: Float32Array,
    rgb: UInt8Array,
    normals: Float32Array | None = None,
    *,
    comments: Sequence[str] = (),
) -> int:
    """Write the finite points of a cloud, little-endian.

    Args:
        path: the file.
        points: (..., 3) float32.
        rgb: (..., 3) uint8.
        normals: (..., 3) float32, or None for none.
        comments: lines for the header.

    Returns:
        How many points were written.

    Raises:
        ImageError: the file cannot be written.
    """
    finite = np.isfinite(points).all(axis=-1)
    kinds = [('x', '<f4'), ('y', '<f4'), ('z', '<f4')]
    if normals is not None:
        kinds += [('nx', '<f4'), ('ny', '<f4'), ('nz', '<f4')]
    kinds += [('red', 'u1'), ('green', 'u1'), ('blue', 'u1')]
    vertices = np.empty(int(finite.sum()), dtype=kinds)
    columns = [points] + ([] if normals is None else [normals]) + [rgb]
    for index, (name, _) in enumerate(kinds):
        vertices[name] = columns[index // 3][finite][:, index % 3]
    header = [
        'ply',
        'format binary_little_endian 1.0',
        *(f'comment {line}' for line in comments),
        f'element vertex {len(vertices)}',
        *(f'property {"float" if kind == "<f4" else "uchar"} {name}' for name, kind in kinds),
        'end_header\n',
    ]
    with naming_unwritable(path, ImageError), path.open('wb') as file:
        file.write('\n'.join(header).encode('ascii', errors='replace'))
        file.write(vertices.tobytes())
    return len(vertices)
