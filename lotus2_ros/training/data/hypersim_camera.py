"""Hypersim's cameras, which are not all alike: 285 of 482 scenes are shot with a tilted lens.

Camera space has x right, y up and z backward. M_cam_from_uv takes (u, v, 1), u right and v up from
-1 to 1 over the picture, to a ray in camera space. With a tilted lens the picture's plane is not
camera space's xy plane. What a picture shows is seen in the frame of its own plane: there Z-depth
is measured along the plane's normal, and inverse depth of a plane is affine in the pixel. That
frame is used here, and normals are turned into it.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.types import AnyArray, Float32Array

_Float64Array = NDArray[np.float64]
_COLUMNS = tuple(f'M_cam_from_uv_{row}{column}' for row in range(3) for column in range(3))

_SLOPE = math.tan(math.pi / 6)
"""Half the width of the standard camera's picture at distance 1: 60 degrees, 886.81 px of 1024."""

STANDARD = (_SLOPE, 0.0, 0.0, 0.0, 0.75 * _SLOPE, 0.0, 0.0, 0.0, -1.0)
"""M_cam_from_uv of the standard camera, row by row."""


@dataclass(frozen=True)
class View:
    """A camera and a picture size.

    Attributes:
        rays: (H, W, 3) unit vectors through the pixels' centres in the picture's optical frame
            (x right, y down, z forward along the normal of the picture's plane).
        rotation: (3, 3) from camera space to that frame.
    """

    rays: Float32Array
    rotation: _Float64Array


@lru_cache(maxsize=4)
def view(matrix: tuple[float, ...], height: int, width: int) -> View:
    """Rays of a camera.

    Args:
        matrix: M_cam_from_uv, row by row.
        height: of the picture [px].
        width: of the picture [px].
    """
    cam_from_uv = np.array(matrix).reshape(3, 3)
    right = cam_from_uv[:, 0] / np.linalg.norm(cam_from_uv[:, 0])
    backward = np.cross(cam_from_uv[:, 0], cam_from_uv[:, 1])
    forward = -backward / np.linalg.norm(backward)
    rotation = np.stack([right, np.cross(forward, right), forward])
    u = (np.arange(width) + 0.5) * (2 / width) - 1
    v = 1 - (np.arange(height) + 0.5) * (2 / height)
    uv = np.stack([*np.meshgrid(u, v), np.ones((height, width))], -1)
    rays = uv @ (rotation @ cam_from_uv).T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return View(rays.astype(np.float32), rotation)


def outward_normals(normals: AnyArray, seen: View) -> Float32Array:
    """Unit normals in the training convention, each on the side away from the camera.

    Some of Hypersim's normals point into the surface, which is why each is turned by its ray.

    Args:
        normals: (H, W, 3) in camera space, either side, any length; those of none stay 0.
        seen: the view.
    """
    optical = normals.astype(np.float32) @ seen.rotation.T.astype(np.float32)
    inward = (optical * seen.rays).sum(-1, keepdims=True) < 0
    outward = np.where(inward, -optical, optical)
    length = np.linalg.norm(outward, axis=-1, keepdims=True)
    unit = np.divide(outward, length, out=np.zeros_like(outward), where=length > 0)
    return np.asarray(unit, np.float32)


def read_cameras(path: Path) -> dict[str, tuple[float, ...]]:
    """M_cam_from_uv by scene, from metadata_camera_parameters.csv.

    Raises:
        DataError: a column or number is missing.
    """
    with path.open(newline='', encoding='utf-8') as file:
        try:
            return {
                row['scene_name']: tuple(float(row[column]) for column in _COLUMNS)
                for row in csv.DictReader(file)
            }
        except (KeyError, TypeError, ValueError) as error:
            msg = f'{path} is not the metadata_camera_parameters.csv of ml-hypersim: {error!r}'
            raise DataError(msg) from error
