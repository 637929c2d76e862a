"""A MuJoCo model in the making: surfaces, meshes and solids, written out as MJCF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np

from lotus2_ros.simulation.textures import draw_texture, photograph_texture
from lotus2_ros.types import AnyArray, UInt8Array

PHOTOGRAPH = 'photograph'
"""Kind of surface that shows part of a photograph, besides the kinds of `textures`."""


class Quality(NamedTuple):
    """What pictures cost.

    Attributes:
        shadow: side of a shadow map [px].
        samples: of each pixel's antialiasing.
        slices: around a sphere or cylinder.
        largest: width and height of a picture [px].
    """

    shadow: int
    samples: int
    slices: int
    largest: tuple[int, int]


FINE = Quality(2048, 4, 64, (1280, 960))
QUICK = Quality(1024, 2, 20, (1600, 1200))
"""For frames one after the other on a CPU."""


class ModelWriter:
    """Collects what a scene consists of. Metres, z up, angles in degrees.

    Args:
        rng: decides what is drawn.
        photographs: parts of them become surfaces.
        variants: as many textures of each kind are drawn, and then used again; None draws every
            surface anew.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        photographs: Sequence[UInt8Array],
        *,
        variants: int | None = None,
    ) -> None:
        self.rng = rng
        self._variants = variants
        self._drawn: dict[tuple[str, bool], list[str]] = {}
        self.assets: dict[str, bytes] = {}
        self._photographs = photographs
        self._declarations: list[str] = []
        self._world: list[str] = []

    def surface(
        self,
        kind: str,
        *,
        flat: bool = False,
        repeat: float = 1.0,
        shine: float | None = None,
        glow: float = 0.0,
    ) -> str:
        """Declare a material with a texture of its own.

        Args:
            kind: of texture, or `PHOTOGRAPH`.
            flat: for planes; otherwise the texture is wrapped around the solid.
            repeat: on planes, repetitions a metre.
            shine: 0 is matt, 1 polished; None draws one.
            glow: share of light of its own.

        Returns:
            The material's name.
        """
        texture = self._texture(kind, flat)
        polish = float(self.rng.uniform(0, 0.6) ** 2 if shine is None else shine)
        uniform = f'texuniform="true" texrepeat="{repeat:.3f} {repeat:.3f}"' if flat else ''
        name = f'surface{len(self._declarations)}'
        self._declarations.append(
            f'<material name="{name}" texture="{texture}" {uniform}'
            f' specular="{polish:.3f}" shininess="{0.2 + 0.7 * polish:.3f}"'
            f' emission="{glow:.2f}"/>'
        )
        return name

    def sky(self, top: Sequence[float], horizon: Sequence[float]) -> None:
        """Declare what is seen where there is nothing."""
        self._declarations.append(
            '<texture type="skybox" builtin="gradient" width="256" height="1536"'
            f' rgb1="{_numbers(top)}" rgb2="{_numbers(horizon)}"/>'
        )

    def mesh(self, vertices: AnyArray, faces: AnyArray | None = None) -> str:
        """Declare a mesh (V, 3), (F, 3) counter-clockwise; without faces its convex hull."""
        name = f'mesh{len(self._declarations)}'
        listed = '' if faces is None else f' face="{" ".join(map(str, faces.ravel().tolist()))}"'
        self._declarations.append(
            f'<mesh name="{name}" vertex="{_numbers(vertices.ravel())}"{listed} inertia="shell"/>'
        )
        return name

    def solid(
        self,
        kind: str,
        surface: str,
        size: Sequence[float],
        at: Sequence[float],
        turn: Sequence[float] = (0, 0, 0),
    ) -> None:
        """Place a plane, box, sphere, ellipsoid, cylinder or capsule; MuJoCo's half sizes."""
        self._world.append(
            f'<geom type="{kind}" material="{surface}" size="{_numbers(size)}"'
            f' pos="{_numbers(at)}" euler="{_numbers(turn)}"/>'
        )

    def shape(
        self, mesh: str, surface: str, at: Sequence[float], turn: Sequence[float] = (0, 0, 0)
    ) -> None:
        """Place a mesh: `at` is where its origin comes to lie."""
        self._world.append(
            f'<geom type="mesh" mesh="{mesh}" material="{surface}" pos="{_numbers(at)}"'
            f' euler="{_numbers(turn)}"/>'
        )

    def lamp(
        self,
        at: Sequence[float],
        towards: Sequence[float],
        colour: Sequence[float],
        *,
        sun: bool = False,
        fade: float = 0.0,
    ) -> None:
        """Place a light: the sun, or a lamp that shines to all sides.

        Args:
            at: where it is; of the sun, the middle of what its shadows are drawn for is along it.
            towards: direction.
            colour: RGB.
            sun: parallel rays.
            fade: the light falls with 1 / (1 + fade d^2), and casts no shadows; 0 is a lamp that
                reaches everywhere, with shadows.
        """
        kind = 'directional" castshadow="true' if sun else 'spot" cutoff="100" exponent="1'
        if fade:
            kind += f'" castshadow="false" attenuation="1 0 {fade:.4g}'
        self._world.append(
            f'<light type="{kind}" pos="{_numbers(at)}" dir="{_numbers(towards)}"'
            f' diffuse="{_numbers(colour)}" specular="{_numbers([c / 2 for c in colour])}"/>'
        )

    @contextmanager
    def group(self, at: Sequence[float], yaw: float = 0.0) -> Iterator[None]:
        """Everything placed within is relative to a point and turned about the vertical."""
        self._world.append(f'<body pos="{_numbers(at)}" euler="0 0 {yaw:.3f}">')
        yield
        self._world.append('</body>')

    @contextmanager
    def moving(self, name: str) -> Iterator[None]:
        """Everything placed within is moved together by the name (`engine.place_body`)."""
        self._world.append(f'<body name="{name}" mocap="true">')
        yield
        self._world.append('</body>')

    def write(self, ambient: float, extent: float, quality: Quality = FINE) -> str:
        """The model as MJCF.

        Args:
            ambient: light from everywhere, 0 to 1.
            extent: size of the scene; clipping planes and shadows follow it.
            quality: of the pictures.
        """
        camera = '<body name="camera" mocap="true"><camera name="camera" fovy="60"/></body>'
        return '\n'.join(
            [
                '<mujoco><compiler angle="degree"/>',
                f'<statistic extent="{extent}" center="0 0 1"/>',
                f'<visual><global offwidth="{quality.largest[0]}"'
                f' offheight="{quality.largest[1]}"/>',
                f'<quality shadowsize="{quality.shadow}" offsamples="{quality.samples}"'
                f' numslices="{quality.slices}" numstacks="{quality.slices * 3 // 4}"/>',
                f'<map znear="{0.02 / extent}" zfar="{100 / extent}" shadowclip="1"/>',
                f'<headlight ambient="{_numbers([ambient] * 3)}" diffuse="0.1 0.1 0.1"'
                ' specular="0 0 0"/></visual>',
                '<default><geom contype="0" conaffinity="0"/></default>',
                '<asset>',
                *self._declarations,
                '</asset><worldbody>',
                *self._world,
                camera,
                '</worldbody></mujoco>',
            ]
        )

    def _texture(self, kind: str, flat: bool) -> str:
        """Name of a texture of a kind, drawn for it or, with enough variants, used again."""
        drawn = self._drawn.setdefault((kind, flat), [])
        if self._variants is not None and len(drawn) >= self._variants:
            return drawn[int(self.rng.integers(len(drawn)))]
        if kind == PHOTOGRAPH and self._photographs:
            chosen = self._photographs[int(self.rng.integers(len(self._photographs)))]
            picture = photograph_texture(chosen, self.rng)
        else:
            picture = draw_texture('label' if kind == PHOTOGRAPH else kind, self.rng)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert encoded
        name = f'texture{len(self.assets)}'
        self.assets[f'{name}.png'] = data.tobytes()
        self._declarations.append(
            f'<texture name="{name}" type="{"2d" if flat else "cube"}" file="{name}.png"/>'
        )
        drawn.append(name)
        return name


def _numbers(values: Sequence[float] | AnyArray) -> str:
    return ' '.join(f'{float(value):.5g}' for value in values)
