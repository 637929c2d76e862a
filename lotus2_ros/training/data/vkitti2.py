"""Virtual KITTI 2 as it is distributed (vkitti_2.0.3_rgb.tar and vkitti_2.0.3_depth.tar).

Under the root:

    SceneXX/<variation>/frames/rgb/Camera_{0,1}/rgb_IIIII.jpg
    SceneXX/<variation>/frames/depth/Camera_{0,1}/depth_IIIII.png    uint16 [cm], 65535 in the sky
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.training.data.depth_normals import normals_from_depth
from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.files import read_raster, read_rgb
from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.types import Float32Array

CAMERA = Intrinsics(725.0087, 725.0087, 620.5, 187.0, 1242, 375)
"""The same in all scenes, variations and cameras."""

SCENES = ('Scene02', 'Scene06', 'Scene18', 'Scene20')
"""For training; Scene01 is kept for validation."""

VARIATIONS = ('15-deg-left', '15-deg-right', 'clone', 'morning', 'overcast', 'sunset')
"""Without fog and rain, which hide what is to be learnt, and the widest turns: the paper's 20 K."""

CAMERAS = ('Camera_0', 'Camera_1')

FAR = 80.0
"""Metres beyond which depth is as the sky's, as KITTI is judged up to there."""

_CENTIMETRE = np.float32(0.01)
_CROP_HEIGHT, _CROP_WIDTH = 352, 1216


class VirtualKitti2:
    """Pictures cut to KITTI's benchmark size, 1216x352 at the bottom centre."""

    def __init__(
        self,
        root: Path,
        *,
        scenes: Sequence[str] = SCENES,
        variations: Sequence[str] = VARIATIONS,
        normals: bool = False,
        far: float = FAR,
    ) -> None:
        """Open it; lists the pictures.

        Args:
            root: folder of the scenes.
            scenes: folder names.
            variations: folder names.
            normals: compute normals from depth, as the dataset has none.
            far: farthest depth [m] that is told apart; what is beyond is known to be far.

        Raises:
            DataError: a scene or variation is not there, or there are no pictures.
        """
        self._root = root
        self._normals = normals
        self._far = far
        self._frames: list[tuple[str, str]] = []
        for scene in scenes:
            for variation in variations:
                frames = root / scene / variation / 'frames'
                if not (frames / 'rgb').is_dir():
                    msg = f'{frames / "rgb"} is missing: unpack vkitti_2.0.3_rgb.tar in {root}'
                    raise DataError(msg)
                for camera in CAMERAS:
                    folder = f'{scene}/{variation}/frames/{{}}/{camera}'
                    pictures = sorted((root / folder.format('rgb')).glob('rgb_*.jpg'))
                    numbers = (picture.stem.removeprefix('rgb_') for picture in pictures)
                    self._frames += [(folder, number) for number in numbers]
        if not self._frames:
            raise DataError(f'{root} has no pictures: unpack vkitti_2.0.3_rgb.tar there')
        self.name = f'vkitti2, {len(scenes)} scenes, {len(variations)} variations'

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, index: int) -> Record:
        """Read a picture.

        Raises:
            BadSample: a file is missing, damaged or of another size, or holds no depth.
        """
        folder, number = self._frames[index]
        path = self._root / folder.format('rgb') / f'rgb_{number}.jpg'
        name = f'vkitti2 {path.relative_to(self._root)}'
        image = read_rgb(path, name)
        raw = read_raster(self._root / folder.format('depth') / f'depth_{number}.png', name)
        expected = (CAMERA.height, CAMERA.width)
        if image.shape[:2] != expected or raw.shape != expected:
            reason = f'size mismatch: image {image.shape[:2]}, depth {raw.shape}, not {expected}'
            raise BadSample(name, reason)
        if raw.dtype != np.uint16:
            raise BadSample(name, f'unreadable: depth is {raw.dtype}, not 16-bit centimetres')
        record = self._record(name, image[_CROP], raw[_CROP].astype(np.float32) * _CENTIMETRE)
        if not np.isfinite(record.depth[record.valid]).any():
            raise BadSample(name, 'empty depth: only sky or nothing')
        return record

    def _record(self, name: str, image: np.ndarray, depth: Float32Array) -> Record:  # type: ignore[type-arg]
        valid = depth > 0
        near = valid & (depth < self._far)
        normals, surface = None, None
        if self._normals:
            normals, surface = normals_from_depth(depth, near, _CROPPED_CAMERA)
        depth[~near] = np.inf
        return Record(name, np.ascontiguousarray(image), depth, valid, normals, surface)


def _cropped() -> tuple[tuple[slice, slice], Intrinsics]:
    """The bottom centre of the picture, as KITTI's depth benchmark cuts it, and its camera."""
    top = CAMERA.height - _CROP_HEIGHT
    left = (CAMERA.width - _CROP_WIDTH) // 2
    camera = Intrinsics(
        CAMERA.fx, CAMERA.fy, CAMERA.cx - left, CAMERA.cy - top, _CROP_WIDTH, _CROP_HEIGHT
    )
    return (slice(top, None), slice(left, left + _CROP_WIDTH)), camera


_CROP, _CROPPED_CAMERA = _cropped()
