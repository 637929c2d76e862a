"""Pictures and depth by OpenGL, of any size, from one OpenGL context.

MuJoCo's own Renderer is for one size, and each takes seconds to load the textures anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lotus2_ros.simulation.engine import NO_OPENGL, load_mujoco
from lotus2_ros.simulation.errors import SimulationError
from lotus2_ros.types import Float32Array, UInt8Array

_MOST_GEOMS = 10_000


class GlRenderer:
    """Draws what the model's camera sees; use it from one thread, and close it there.

    Args:
        model: a MuJoCo model (`ModelWriter.write`).

    Raises:
        SimulationError: OpenGL is not there.
    """

    def __init__(self, model: Any) -> None:
        mujoco = load_mujoco()
        size = self._largest = (model.vis.global_.offwidth, model.vis.global_.offheight)
        self._model = model
        self._scene = mujoco.MjvScene(model=model, maxgeom=_MOST_GEOMS)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = int(model.camera('camera').id)
        try:
            self._gl = mujoco.GLContext(*size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # OpenGL's loaders raise anything, AttributeError included
            raise SimulationError(f'{NO_OPENGL}: {error}') from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # The far plane at 0: a float has its precision there, where depths are far apart.
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR

    def close(self) -> None:
        """Give OpenGL's memory back."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def picture(self, data: Any, width: int, height: int, *, shadows: bool) -> UInt8Array:
        """(H, W, 3) uint8 RGB.

        Raises:
            SimulationError: it is too large.
        """
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        mujoco = load_mujoco()
        flags = {mujoco.mjtRndFlag.mjRND_SHADOW: shadows}
        mujoco.mjr_readPixels(pixels, None, self._draw(data, width, height, flags), self._context)
        return np.ascontiguousarray(pixels[::-1])

    def depth(self, data: Any, width: int, height: int) -> Float32Array:
        """(H, W) float32 Z-depth [m], infinite where nothing is.

        Raises:
            SimulationError: it is too large.
        """
        values = np.empty((height, width), dtype=np.float32)
        mujoco = load_mujoco()
        # Plain colours take no light and no antialiasing, which would blur the depth of edges.
        flags = {mujoco.mjtRndFlag.mjRND_SEGMENT: True, mujoco.mjtRndFlag.mjRND_IDCOLOR: True}
        mujoco.mjr_readPixels(None, values, self._draw(data, width, height, flags), self._context)
        view, extent = self._model.vis.map, self._model.stat.extent
        near, far = float(np.float32(view.znear * extent)), float(np.float32(view.zfar * extent))
        # 1 at the near plane, 0 at the far one, affine in 1 / z.
        inverse = values[::-1].astype(np.float64) * (1 / near - 1 / far) + 1 / far
        depth = np.reciprocal(inverse).astype(np.float32)
        depth[values[::-1] == 0] = np.inf
        return depth

    def _draw(self, data: Any, width: int, height: int, flags: dict[Any, bool]) -> Any:
        if width > self._largest[0] or height > self._largest[1]:
            most = 'x'.join(map(str, self._largest))
            msg = f'a picture of {width}x{height} px is larger than {most}: ask for a smaller one'
            raise SimulationError(msg)
        mujoco = load_mujoco()
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )  # fmt: skip
        usual = self._scene.flags.copy()
        rectangle = mujoco.MjrRect(0, 0, width, height)
        try:
            for flag, value in flags.items():
                self._scene.flags[flag] = int(value)
            mujoco.mjr_render(rectangle, self._scene, self._context)
        finally:
            np.copyto(self._scene.flags, usual)
        return rectangle
