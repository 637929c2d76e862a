"""A robot's own recording: rectified images with registered depth, or with lidar points.

camera.json             width, height, fx, fy, cx, cy; with lidar also camera_from_lidar (4x4)
images/NAME.png         or .jpg, free of distortion
depth/NAME.png          16 bit, millimetres, 0 where unknown; or NAME.tiff or NAME.npy, metres
lidar/NAME.npy          (N, 3) or wider, x y z in metres in the lidar's frame
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.training.data.depth_normals import normals_from_depth
from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.files import read_array, read_raster, read_rgb
from lotus2_ros.training.data.lidar import sparse_depth
from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.types import BoolArray, Float32Array

DEPTH_FOLDER, LIDAR_FOLDER = 'depth', 'lidar'
_IMAGES = ('.png', '.jpg', '.jpeg')
_DEPTHS = ('.png', '.tiff', '.tif', '.npy')
_MILLIMETRE = np.float32(0.001)
_NORMALS_RADIUS = 4
"""Real sensors are noisy: a larger window than exact depth needs."""


class Recording:
    """One folder of one camera."""

    def __init__(
        self,
        root: Path,
        *,
        source: str | None = None,
        normals: bool = False,
        max_range: float = np.inf,
    ) -> None:
        """Open it; reads camera.json and lists the images.

        Args:
            root: the folder.
            source: 'depth' or 'lidar'; None takes the one that is there.
            normals: compute normals from depth.
            max_range: measurements farther away [m] are not believed.

        Raises:
            DataError: camera.json or a folder is missing or says nothing usable, or normals are
                asked of lidar points, which are too sparse.
        """
        self._root = root
        self._normals = normals
        self._max_range = max_range
        self._source = _source(root, source)
        if normals and self._source == LIDAR_FOLDER:
            msg = f'{root}: lidar is too sparse for normals; use it for depth, or give depth images'
            raise DataError(msg)
        self._intrinsics, self._camera_from_lidar = _camera(root / 'camera.json', self._source)
        folder = root / 'images'
        if not folder.is_dir():
            raise DataError(f'{folder} is missing: the images of the recording belong there')
        self._images = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
        if not self._images:
            raise DataError(f'{folder} has no {", ".join(_IMAGES)} files')
        self.name = f'recording {root.name} with {self._source}'

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Record:
        """Read an image and its depth.

        Raises:
            BadSample: a file is missing, damaged or of another size, or nothing is measured.
        """
        path = self._images[index]
        name = f'recording {self._root.name}/{path.name}'
        image = read_rgb(path, name)
        expected = (self._intrinsics.height, self._intrinsics.width)
        if image.shape[:2] != expected:
            reason = f'size mismatch: image {image.shape[:2]}, camera.json {expected}'
            raise BadSample(name, reason)
        depth, valid = self._depth(path.stem, name)
        if depth.shape != expected:
            reason = f'size mismatch: depth {depth.shape}, image {expected}; is it registered?'
            raise BadSample(name, reason)
        valid &= depth <= self._max_range
        if not valid.any():
            raise BadSample(name, 'empty depth')
        if not self._normals:
            return Record(name, image, depth, valid)
        normals, surface = normals_from_depth(
            depth, valid, self._intrinsics, radius=_NORMALS_RADIUS
        )
        return Record(name, image, depth, valid, normals, surface)

    def _depth(self, stem: str, name: str) -> tuple[Float32Array, BoolArray]:
        """(H, W) Z-depth [m] and where it is known."""
        if self._source == LIDAR_FOLDER:
            return self._lidar(self._root / LIDAR_FOLDER / f'{stem}.npy', name)
        folder = self._root / DEPTH_FOLDER
        found = [path for suffix in _DEPTHS if (path := folder / f'{stem}{suffix}').is_file()]
        if len(found) != 1:
            reason = f'unreadable: {len(found)} files {folder / stem}{{{",".join(_DEPTHS)}}}, not 1'
            raise BadSample(name, reason)
        path = found[0]
        raw = read_array(path, name) if path.suffix == '.npy' else read_raster(path, name)
        if path.suffix == '.png' and raw.dtype != np.uint16:
            raise BadSample(name, f'unreadable: {path} is {raw.dtype}, not 16-bit millimetres')
        if path.suffix != '.png' and raw.dtype.kind != 'f':
            raise BadSample(
                name, f'unreadable: {path} is {raw.dtype}, not metres in floating point'
            )
        depth = raw.astype(np.float32)
        if path.suffix == '.png':
            depth *= _MILLIMETRE
        return depth, np.isfinite(depth) & (depth > 0)

    def _lidar(self, path: Path, name: str) -> tuple[Float32Array, BoolArray]:
        points = read_array(path, name)
        if points.ndim != 2 or points.shape[1] < 3:
            raise BadSample(name, f'unreadable: {path} has shape {points.shape}, not (N, 3)')
        return sparse_depth(points[:, :3], self._camera_from_lidar, self._intrinsics)


def _source(root: Path, asked: str | None) -> str:
    """Which of the two folders is read."""
    there = [name for name in (DEPTH_FOLDER, LIDAR_FOLDER) if (root / name).is_dir()]
    if asked is not None:
        if asked not in there:
            raise DataError(f'source {asked!r} of {root}: there is {" and ".join(there) or "none"}')
        return asked
    if len(there) != 1:
        msg = (
            f'{root} has {" and ".join(there) or "neither depth nor lidar"}: '
            'give one of the folders depth and lidar, or say which with `source`'
        )
        raise DataError(msg)
    return there[0]


def _camera(path: Path, source: str) -> tuple[Intrinsics, NDArray[np.float64]]:
    """Intrinsics and camera_from_lidar (4, 4) of a camera.json."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        fx, fy, cx, cy = (float(content[key]) for key in ('fx', 'fy', 'cx', 'cy'))
        intrinsics = Intrinsics(fx, fy, cx, cy, int(content['width']), int(content['height']))
    except (OSError, ValueError, TypeError, KeyError, CameraInfoError) as error:
        msg = f'{path} must hold width, height, fx, fy, cx and cy: {error!r}'
        raise DataError(msg) from error
    if np.any(content.get('distortion', 0)):
        raise DataError(f'{path}: the camera has distortion; rectify the images first')
    if source != LIDAR_FOLDER:
        return intrinsics, np.eye(4)
    try:
        matrix = np.array(content['camera_from_lidar'], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{path} must hold camera_from_lidar, 4x4: {error!r}') from error
    if not _is_rigid_motion(matrix):
        msg = f'{path}: camera_from_lidar is no rigid motion (4x4: rotation, shift, 0 0 0 1)'
        raise DataError(msg)
    return intrinsics, matrix


def _is_rigid_motion(matrix: NDArray[np.float64]) -> bool:
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], (0, 0, 0, 1)):
        return False
    rotation = matrix[:3, :3]
    orthogonal = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    return orthogonal and bool(np.linalg.det(rotation) > 0)
