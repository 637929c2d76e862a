"""Small datasets written in the very formats in which the real ones are distributed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np

HYPERSIM_SIZE = (96, 128)
STANDARD_CAMERA = np.diag([0.5773502886169104, 0.4330127164626828, -1.0])
# ai_031_003 of metadata_camera_parameters.csv: shifted and tilted both ways.
SHIFTED_CAMERA = np.array([[0.5777, 0, -0.0116], [0, 0.4328, -0.0346], [0.0058, -0.0196, -1.0005]])
# ai_024_004, the most tilted of all.
TILTED_CAMERA = np.array([[0.7315, 0, 0], [0, 0.4396, 0], [0, -0.3282, -1.267]])
SCENE = 'ai_001_001'

SPLIT_HEADER = (
    *('scene_name', 'camera_name', 'frame_id'),
    *('included_in_public_release', 'exclude_reason', 'split_partition_name'),
)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, which JPEG keeps well."""
    coarse = np.random.default_rng(seed).integers(40, 215, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))


def write_raster(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


def write_hdf5(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        file.create_dataset('dataset', data=values, compression='gzip')


def damage(path: Path) -> None:
    """Leave the first half, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *rows])


def write_split(root: Path, rows: Sequence[tuple[str, str, int, str, str]]) -> None:
    """Rows of (scene, camera, frame, 'True' or 'False', split)."""
    table = [
        (scene, camera, frame, public, '', part) for scene, camera, frame, public, part in rows
    ]
    write_csv(root / 'metadata_images_split_scene_v1.csv', SPLIT_HEADER, table)


def write_cameras(root: Path, cameras: dict[str, np.ndarray]) -> None:
    columns = [f'M_cam_from_uv_{row}{column}' for row in range(3) for column in range(3)]
    rows = [(scene, 768.0, 1024.0, *matrix.ravel()) for scene, matrix in cameras.items()]
    header = ['scene_name', 'settings_output_img_height', 'settings_output_img_width', *columns]
    write_csv(root / 'metadata_camera_parameters.csv', header, rows)


def camera_rays(matrix: np.ndarray) -> np.ndarray:
    """Unit rays (H, W, 3) in Hypersim's camera space: x right, y up, z backward.

    As apple's 01_casting_rays_that_match_hypersim_images.ipynb casts them.
    """
    height, width = HYPERSIM_SIZE
    u_step, v_step = 2 / width, 2 / height
    u = np.linspace(-1 + u_step / 2, 1 - u_step / 2, width)
    v = np.linspace(-1 + v_step / 2, 1 - v_step / 2, height)[::-1]
    uv = np.stack([*np.meshgrid(u, v), np.ones(HYPERSIM_SIZE)], -1)
    rays = uv @ matrix.T
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def wall(matrix: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """Distance (H, W) along each ray to the plane normal . P = offset in camera space."""
    return offset / (camera_rays(matrix) @ normal)


def hypersim_path(root: Path, frame: int, folder: str, content: str) -> Path:
    name = f'frame.{frame:04d}.{content}'
    return root / SCENE / 'images' / f'scene_cam_00_{folder}' / name


def write_hypersim_frame(root: Path, frame: int, distance: np.ndarray, normals: np.ndarray) -> None:
    """A preview, depth_meters (float16, as released) and normal_cam."""
    write_image(
        hypersim_path(root, frame, 'final_preview', 'tonemap.jpg'), picture(*HYPERSIM_SIZE, frame)
    )
    geometry = {'depth_meters': distance.astype(np.float16), 'normal_cam': normals}
    for content, values in geometry.items():
        write_hdf5(hypersim_path(root, frame, 'geometry_hdf5', f'{content}.hdf5'), values)


def write_vkitti_frame(
    root: Path,
    number: int,
    centimetres: np.ndarray,
    *,
    scene: str = 'Scene02',
    variation: str = 'clone',
    camera: str = 'Camera_0',
) -> None:
    frames = root / scene / variation / 'frames'
    rgb = picture(375, 1242, number)
    write_image(frames / 'rgb' / camera / f'rgb_{number:05d}.jpg', rgb)
    write_raster(frames / 'depth' / camera / f'depth_{number:05d}.png', centimetres)


def vkitti_road() -> np.ndarray:
    """Centimetres of a level road 1.5 m below the camera, under a sky."""
    row = np.arange(375)[:, None] * np.ones((1, 1242))
    with np.errstate(divide='ignore'):
        metres = 1.5 * 725.0087 / (row - 187.0)
    return np.where((metres > 0) & (metres < 655.35), metres * 100, 65535).round().astype(np.uint16)


def write_camera_json(root: Path, **changes: object) -> None:
    content = {'width': 64, 'height': 48, 'fx': 50.0, 'fy': 50.0, 'cx': 31.5, 'cy': 23.5}
    root.mkdir(parents=True, exist_ok=True)
    (root / 'camera.json').write_text(json.dumps({**content, **changes}), encoding='utf-8')
