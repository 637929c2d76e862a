"""MuJoCo, loaded where it is needed: models, rays that give exact depth, and pictures."""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.simulation.errors import SimulationError
from lotus2_ros.types import AnyArray, Float32Array

Float64Array = NDArray[np.float64]

NO_OPENGL = (
    'MuJoCo cannot render here; on a machine without display set MUJOCO_GL=egl (Debian: libegl1'
    ' libgl1-mesa-dri) or MUJOCO_GL=osmesa (libosmesa6)'
)


@functools.cache
def load_mujoco() -> ModuleType:
    """The mujoco module.

    Raises:
        SimulationError: it, or OpenGL for it, is not installed.
    """
    # Read when mujoco is imported; without a display its default, a window, cannot work.
    if 'DISPLAY' not in os.environ:
        os.environ.setdefault('MUJOCO_GL', 'egl')
    try:
        import mujoco  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise SimulationError(f'MuJoCo is needed: pip install mujoco ({error})') from error
    except Exception as error:  # OpenGL's loaders raise anything, AttributeError included
        raise SimulationError(f'{NO_OPENGL}: {error}') from error
    return mujoco  # type: ignore[no-any-return]


class RayHits(NamedTuple):
    """Where rays end.

    Attributes:
        distances: (N,) float64 along unit directions [m]; infinite where nothing is hit.
        normals: (N, 3) float64 of the surfaces, in the world, not turned to the viewer; 0 if none.
        geoms: (N,) int32 numbers of the geoms; -1 if none.
    """

    distances: Float64Array
    normals: Float64Array
    geoms: NDArray[np.int32]


def trace(model: Any, data: Any, origin: AnyArray, directions: AnyArray) -> RayHits:
    """Follow rays from one point by MuJoCo's own ray casting: exact, and independent of OpenGL.

    Args:
        model: a MuJoCo model.
        data: its state.
        origin: (3,) in the world [m].
        directions: (N, 3) unit vectors in the world.
    """
    count = len(directions)
    geoms, distances = np.full(count, -1, np.int32), np.empty(count)
    normals = np.zeros(3 * count)
    load_mujoco().mj_multiRay(
        model, data, np.asarray(origin, dtype=np.float64),
        np.ascontiguousarray(directions, dtype=np.float64).ravel(), None, True, -1,
        geoms, distances, normals, count, 1e9,
    )  # fmt: skip
    distances[geoms < 0] = np.inf
    return RayHits(distances, normals.reshape(-1, 3), geoms)


def view(
    model: Any, data: Any, origin: AnyArray, rotation: AnyArray, rays: AnyArray
) -> tuple[Float32Array, Float32Array, NDArray[np.int32]]:
    """Exact Z-depth, normals and geoms along a camera's rays.

    Args:
        model: a MuJoCo model.
        data: its state.
        origin: (3,) of the camera in the world [m].
        rotation: (3, 3), optical frame (x right, y down, z forward) to the world.
        rays: (H, W, 3) in the optical frame, z = 1.

    Returns:
        (H, W) float32 depth [m], infinite in the sky; (H, W, 3) float32 unit normals that face the
        camera, in the optical frame, 0 in the sky; (H, W) geoms, -1 in the sky.
    """
    shape = rays.shape[:2]
    flat = rays.reshape(-1, 3)
    lengths = np.linalg.norm(flat, axis=1)
    hits = trace(model, data, origin, flat / lengths[:, None] @ rotation.T)
    found = hits.normals @ rotation
    facing = found * np.where((found * flat).sum(1) > 0, -1.0, 1.0)[:, None]
    facing[hits.geoms < 0] = 0
    return (
        (hits.distances / lengths).reshape(shape).astype(np.float32),
        facing.reshape(*shape, 3).astype(np.float32),
        hits.geoms.reshape(shape),
    )


def place_camera(
    model: Any, data: Any, position: AnyArray, rotation: AnyArray, fovy_deg: float
) -> None:
    """Move the model's camera (`ModelWriter.write`).

    Args:
        model: a MuJoCo model.
        data: its state; brought up to date.
        position: (3,) in the world [m].
        rotation: (3, 3), columns are the camera's right, up and back in the world.
        fovy_deg: vertical field of view [deg].
    """
    mujoco = load_mujoco()
    model.camera('camera').fovy[:] = fovy_deg
    place_body(model, data, 'camera', position, rotation)
    mujoco.mj_forward(model, data)


def place_body(model: Any, data: Any, name: str, position: AnyArray, rotation: AnyArray) -> None:
    """Move a mocap body; `mj_forward` or `place_camera` has to follow."""
    quaternion = np.zeros(4)
    load_mujoco().mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    index = int(model.body(name).mocapid[0])
    data.mocap_pos[index], data.mocap_quat[index] = position, quaternion
