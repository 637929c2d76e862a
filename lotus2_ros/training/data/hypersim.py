"""Hypersim as it is distributed (apple/ml-hypersim).

Under the root: `metadata_images_split_scene_v1.csv` (which frames are published and which part
they belong to), optionally `metadata_camera_parameters.csv` (each scene's camera), and the scenes:

    ai_VVV_NNN/images/scene_cam_XX_final_preview/frame.IIII.tonemap.jpg
    ai_VVV_NNN/images/scene_cam_XX_final_hdf5/frame.IIII.color.hdf5        if the preview is missing
    ai_VVV_NNN/images/scene_cam_XX_geometry_hdf5/frame.IIII.depth_meters.hdf5
    ai_VVV_NNN/images/scene_cam_XX_geometry_hdf5/frame.IIII.normal_cam.hdf5        for normals
    ai_VVV_NNN/images/scene_cam_XX_geometry_hdf5/frame.IIII.render_entity_id.hdf5  if no preview
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.files import read_hdf5, read_rgb
from lotus2_ros.training.data.hypersim_camera import (
    STANDARD,
    View,
    outward_normals,
    read_cameras,
    view,
)
from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.training.data.tone_mapping import tone_mapped
from lotus2_ros.types import AnyArray, BoolArray, Float32Array, UInt8Array

SPLITS = ('train', 'val', 'test')
SPLIT_FILE = 'metadata_images_split_scene_v1.csv'
CAMERA_FILE = 'metadata_camera_parameters.csv'

_NO_ENTITY = -1
_SHORTEST_NORMAL = 0.5


class Frame(NamedTuple):
    """One published picture."""

    scene: str
    camera: str
    number: int

    def path(self, root: Path, folder: str, content: str) -> Path:
        """Where one of its files lies."""
        name = f'frame.{self.number:04d}.{content}'
        return root / self.scene / 'images' / f'scene_{self.camera}_{folder}' / name


class Hypersim:
    """The published frames of one split whose scenes are there.

    Attributes:
        absent: scenes of the split that are not under the root.
    """

    def __init__(
        self, root: Path, *, split: str = 'train', normals: bool = False, max_holes: float = 0.0
    ) -> None:
        """Open it; reads the tables only.

        Args:
            root: folder of the tables and the scenes.
            split: 'train', 'val' or 'test', as the official table says.
            normals: read normals too.
            max_holes: share of a frame's pixels that may have no depth. 0 leaves out every frame
                with a hole, which makes the paper's 39 K frames of the train split.

        Raises:
            DataError: a table is missing or not what it should be, or none of the scenes is there.
        """
        if split not in SPLITS:
            raise DataError(f'Hypersim has no split {split!r}; it has {", ".join(SPLITS)}')
        self._root = root
        self._normals = normals
        self._max_holes = max_holes
        frames = list(_published(root / SPLIT_FILE, split))
        scenes = sorted({frame.scene for frame in frames})
        present = {scene for scene in scenes if (root / scene / 'images').is_dir()}
        self.absent = tuple(scene for scene in scenes if scene not in present)
        self._frames = [frame for frame in frames if frame.scene in present]
        if not self._frames:
            raise DataError(f'{root} has none of the {len(scenes)} scenes of Hypersim {split}')
        self._cameras = self._opened_cameras(present)
        self.name = f'hypersim {split}, {len(present)} of {len(scenes)} scenes'

    def _opened_cameras(self, scenes: set[str]) -> dict[str, tuple[float, ...]]:
        """Each scene's own camera where the table is there, the standard one where it is not."""
        path = self._root / CAMERA_FILE
        if not path.is_file():
            return dict.fromkeys(scenes, STANDARD)
        cameras = read_cameras(path)
        unknown = sorted(scenes - cameras.keys())
        if unknown:
            raise DataError(f'{path} has no camera for {", ".join(unknown)}')
        return {scene: cameras[scene] for scene in scenes}

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, index: int) -> Record:
        """Read a frame.

        Raises:
            BadSample: a file is missing, damaged or of another size, or there are too many holes.
        """
        frame = self._frames[index]
        name = f'hypersim {frame.scene}/{frame.camera}/{frame.number:04d}'
        distance = self._hdf5(frame, 'depth_meters', name)
        if distance.ndim != 2:
            raise BadSample(name, f'size mismatch: depth_meters has shape {distance.shape}')
        known = self._known(distance, name)
        image = self._image(frame, name)
        if image.shape[:2] != distance.shape:
            reason = f'size mismatch: image {image.shape[:2]}, depth {distance.shape}'
            raise BadSample(name, reason)
        seen = view(self._cameras[frame.scene], *distance.shape)
        # Files hold the length of the ray; its share along the optical axis is the Z-depth.
        depth = np.where(known, distance, 0).astype(np.float32) * seen.rays[..., 2]
        if not self._normals:
            return Record(name, image, depth, known)
        normals, surface = self._read_normals(frame, name, seen, distance.shape)
        return Record(name, image, depth, known, normals, surface)

    def _known(self, distance: AnyArray, name: str) -> BoolArray:
        known = np.isfinite(distance) & (distance > 0)
        if not known.any():
            raise BadSample(name, 'empty depth')
        holes = 1 - float(known.mean())
        if holes > self._max_holes:
            reason = f'NaN: {holes:.2%} of the depth is missing, {self._max_holes:.2%} may be'
            raise BadSample(name, reason)
        return known

    def _image(self, frame: Frame, name: str) -> UInt8Array:
        preview = frame.path(self._root, 'final_preview', 'tonemap.jpg')
        if preview.is_file():
            return read_rgb(preview, name)
        path = frame.path(self._root, 'final_hdf5', 'color.hdf5')
        if not path.is_file():
            raise BadSample(name, f'unreadable: neither {preview} nor {path} is there')
        linear = read_hdf5(path, name)
        entity = self._hdf5(frame, 'render_entity_id', name)
        if linear.shape != (*entity.shape, 3):
            reason = f'size mismatch: color {linear.shape}, render_entity_id {entity.shape}'
            raise BadSample(name, reason)
        if not np.isfinite(linear).all():
            raise BadSample(name, 'NaN in the colour')
        return tone_mapped(linear, entity != _NO_ENTITY)

    def _read_normals(
        self, frame: Frame, name: str, seen: View, shape: tuple[int, ...]
    ) -> tuple[Float32Array, BoolArray]:
        raw = self._hdf5(frame, 'normal_cam', name).astype(np.float32)
        if raw.shape != (*shape, 3):
            raise BadSample(name, f'size mismatch: normal_cam {raw.shape}, depth {shape}')
        surface = np.isfinite(raw).all(-1)
        raw[~surface] = 0
        surface &= np.linalg.norm(raw, axis=-1) > _SHORTEST_NORMAL
        return outward_normals(raw, seen), surface

    def _hdf5(self, frame: Frame, content: str, name: str) -> AnyArray:
        return read_hdf5(frame.path(self._root, 'geometry_hdf5', f'{content}.hdf5'), name)


def _published(path: Path, split: str) -> Iterator[Frame]:
    """The frames of a split that the table calls published."""
    if not path.is_file():
        msg = (
            f'{path} is missing: copy evermotion_dataset/analysis/{SPLIT_FILE} of '
            'github.com/apple/ml-hypersim there'
        )
        raise DataError(msg)
    with path.open(newline='', encoding='utf-8') as file:
        try:
            for row in csv.DictReader(file):
                published = row['included_in_public_release'] == 'True'
                if published and row['split_partition_name'] == split:
                    yield Frame(row['scene_name'], row['camera_name'], int(row['frame_id']))
        except (KeyError, ValueError) as error:
            raise DataError(f'{path} is not the split table of ml-hypersim: {error!r}') from error
