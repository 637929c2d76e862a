"""Every setting of the node and of the camera player: the only place a default lives.

A setting is a dataclass field whose metadata is a `Parameter`: description, unit, range or choices,
and whether it may change while the node is active. `ros/parameters.py` turns these into ROS
descriptors; launch and YAML files hold overrides only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lotus2_ros.errors import SettingsError
from lotus2_ros.types import TASKS

DEFAULT_MAX_SIDE = 1024
"""Longest side in pixels the released model is run at; a model folder may name a smaller one."""

AUTO_CPU_PARAMETER_LIMIT = 100_000_000
"""`device: auto` runs models up to this size on the CPU; larger ones must be asked for."""

CPU_THREAD_ENVIRONMENT = {'GOMP_SPINCOUNT': '5000'}
"""Put into the environment of what runs the model, before torch loads, where the user has not.

The model's CPU threads then wait for each other asleep. Spinning, they take the cores from camera,
node and listeners, and on a busy machine a frame takes many times as long.
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a user needs to know about one setting.

    Attributes:
        description: one line, no full stop.
        unit: SI symbol or 'px'; empty for none.
        minimum: smallest allowed value of a number, inclusive.
        maximum: largest allowed value of a number, inclusive.
        choices: allowed values of a string, or of each item of a list of strings.
        live: True if it may change while the node is configured; False needs a cleanup first.
    """

    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True


def _setting(default: Any, description: str, **about: Any) -> Any:
    return field(default=default, metadata={'parameter': Parameter(description, **about)})


class _Settings:
    """Validation and conversion shared by the settings dataclasses."""

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Name to description of every setting, in order of declaration."""
        return {f.name: f.metadata['parameter'] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Name to default value of every setting."""
        return {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build validated settings from names and values; names left out take their default.

        Raises:
            SettingsError: a name is unknown, a value has the wrong type or is out of range, or two
                values contradict each other.
        """
        unknown = sorted(set(values) - set(cls.parameters()))
        if unknown:
            msg = f'unknown parameter {", ".join(unknown)}; known: {", ".join(cls.parameters())}'
            raise SettingsError(msg)
        normal = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        settings = cls(**normal)
        settings.validate()
        return settings

    def replaced(self, **changes: Any) -> Self:
        """A validated copy with some values changed; nothing is half-applied.

        Raises:
            SettingsError: see `from_mapping`.
        """
        return self.from_mapping({**dataclasses.asdict(self), **changes})  # type: ignore[call-overload]

    def validate(self) -> None:
        """Check every value alone, then together.

        Raises:
            SettingsError: naming the parameter, its value and what is allowed.
        """
        for name, about in self.parameters().items():
            _check(name, getattr(self, name), self.defaults()[name], about)
        self._validate_together()

    def _validate_together(self) -> None:
        pass


def _check(name: str, value: Any, default: Any, about: Parameter) -> None:
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f'{name} must be a list of strings, not {value!r}')
        items = value
    else:
        # An integer is a fine float; a bool is an int to Python but not to a user.
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, wanted) or (isinstance(value, bool) != isinstance(default, bool)):
            raise SettingsError(f'{name} must be {type(default).__name__}, not {value!r}')
        items = (value,)
    for item in items:
        if about.choices and item not in about.choices:
            raise SettingsError(f'{name} is {item!r}; allowed: {", ".join(about.choices)}')
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SettingsError(f'{name} is {value}; it must be finite')
        low, high = about.minimum, about.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise SettingsError(
                f'{name} is {value}; allowed: {low} to {high} {about.unit}'.rstrip()
            )


@dataclass(frozen=True)
class ModelSettings(_Settings):
    """What is loaded, where it runs and how: all that the model's process needs to start."""

    model: str = _setting(
        'nano', 'Model: nano (bundled), a folder, or a hub id such as jingheya/Lotus-2', live=False
    )
    base: str = _setting(
        '', 'FLUX base: a folder or hub id; empty if the model folder holds it', live=False
    )
    tasks: tuple[str, ...] = _setting(
        TASKS, 'Tasks to load; each takes memory of its own', choices=TASKS, live=False
    )
    device: str = _setting(
        'auto',
        'Device: cuda, cuda:N, cpu, or auto (a GPU if present; the CPU only for a small model)',
        live=False,
    )
    precision: str = _setting(
        'auto',
        'Precision of weights and arithmetic; auto is bfloat16 on a GPU, float32 on a CPU',
        choices=('auto', 'float32', 'bfloat16'),
        live=False,
    )
    load_sharpener: bool = _setting(
        True, 'Load the detail sharpener too; without it sharpening is refused', live=False
    )
    cpu_threads: int = _setting(
        0, 'CPU threads of the model; 0 is all cores', minimum=0, maximum=1024, live=False
    )
    max_side: int = _setting(
        0,
        "Longest side the model sees; larger images are reduced; 0 is the model's own limit",
        unit='px',
        minimum=0,
        maximum=4096,
    )

    def _validate_together(self) -> None:
        if not self.model:
            raise SettingsError('model is empty; give nano, a folder or a hub id')
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise SettingsError(f'tasks is {list(self.tasks)}; name each wanted task once')
        if 0 < self.max_side < 32:
            raise SettingsError(f'max_side is {self.max_side}; allowed: 0, or 32 to 4096 px')


@dataclass(frozen=True)
class NodeSettings(ModelSettings):
    """All parameters of `depth_node`."""

    autostart: bool = _setting(
        True, 'Configure and activate at start, without a lifecycle manager', live=False
    )
    image_transport: str = _setting(
        'raw',
        'Subscribe to image (raw) or to image/compressed (compressed)',
        choices=('raw', 'compressed'),
        live=False,
    )
    input_rectified: bool = _setting(
        False, 'The image topic is already rectified: use P and do not undistort'
    )
    fallback_hfov_deg: float = _setting(
        0.0,
        'Horizontal field of view assumed where no valid CameraInfo comes; 0 withholds clouds',
        unit='deg',
        minimum=0.0,
        maximum=170.0,
    )
    max_image_age_s: float = _setting(
        2.0,
        'Older images are dropped (by stamp, against the node clock); 0 accepts any age',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    output_scale: float = _setting(
        1.0, 'Size of what is published relative to the input image', minimum=0.1, maximum=1.0
    )
    scale_mode: str = _setting(
        'relative',
        'relative: disparity only; fixed: metres by z = 1 / (disparity_scale d + disparity_shift)',
        choices=('relative', 'fixed'),
    )
    disparity_scale: float = _setting(
        1.0, 'a in z = 1 / (a d + b)', unit='1/m', minimum=1e-6, maximum=1e6
    )
    disparity_shift: float = _setting(
        0.1, 'b in z = 1 / (a d + b)', unit='1/m', minimum=-1e6, maximum=1e6
    )
    relative_cloud: bool = _setting(
        False,
        'In relative mode publish ~/points too, shaped by disparity_scale and disparity_shift, NOT'
        ' metric, in a frame of its own (<frame>_relative)',
    )
    min_range: float = _setting(
        0.1, 'Nearer depth is invalid (NaN)', unit='m', minimum=0.0, maximum=1000.0
    )
    max_range: float = _setting(
        40.0, 'Farther depth is beyond range (+Inf)', unit='m', minimum=0.01, maximum=10000.0
    )
    cloud_edge_threshold: float = _setting(
        0.1,
        'Cloud points at a relative depth jump larger than this are removed; 0 keeps all',
        minimum=0.0,
        maximum=10.0,
    )
    cloud_color: bool = _setting(True, 'Add rgb to ~/points')
    cloud_normals: bool = _setting(False, 'Add normal_x, normal_y, normal_z to ~/points')
    nav_stride: int = _setting(
        4, '~/points/nav keeps every n-th pixel of every n-th row', unit='px', minimum=1, maximum=64
    )
    colormap: str = _setting(
        'turbo',
        'Colours of ~/depth/color',
        choices=('turbo', 'inferno', 'viridis', 'magma', 'gray'),
    )
    color_min: float = _setting(
        0.0, 'Disparity at the far end of the colour map', minimum=-10.0, maximum=10.0
    )
    color_max: float = _setting(
        1.0, 'Disparity at the near end of the colour map', minimum=-10.0, maximum=10.0
    )
    sharpen_rate_hz: float = _setting(
        0.0,
        'How often a frame is sharpened; 0 is only on ~/sharpen',
        unit='Hz',
        minimum=0.0,
        maximum=100.0,
    )
    sharpen_steps: int = _setting(
        10, 'Rectified-flow steps of the detail sharpener', minimum=1, maximum=10
    )
    diagnostics_rate_hz: float = _setting(
        1.0, 'Rate of /diagnostics', unit='Hz', minimum=0.1, maximum=50.0
    )
    stale_timeout_s: float = _setting(
        2.0,
        'Without an image for this long the input is stale',
        unit='s',
        minimum=0.1,
        maximum=3600.0,
    )
    load_timeout_s: float = _setting(
        900.0,
        'Loading that takes longer has failed',
        unit='s',
        minimum=1.0,
        maximum=86400.0,
        live=False,
    )
    frame_timeout_s: float = _setting(
        30.0,
        'A frame that takes longer means a hung device: the worker is replaced',
        unit='s',
        minimum=0.5,
        maximum=3600.0,
        live=False,
    )
    max_worker_restarts: int = _setting(
        5,
        'Worker restarts allowed within a minute before the node gives up',
        minimum=0,
        maximum=100,
        live=False,
    )

    def _validate_together(self) -> None:
        super()._validate_together()
        if self.min_range >= self.max_range:
            raise SettingsError(
                f'min_range {self.min_range} must be below max_range {self.max_range}'
            )
        if self.color_min >= self.color_max:
            raise SettingsError(
                f'color_min {self.color_min} must be below color_max {self.color_max}'
            )
        if self.sharpen_rate_hz > 0 and not self.load_sharpener:
            raise SettingsError('sharpen_rate_hz is above 0 but load_sharpener is false')

    def model_settings(self) -> ModelSettings:
        """The part the model's process needs."""
        names = ModelSettings.parameters()
        return ModelSettings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class PlayerSettings(_Settings):
    """All parameters of `camera_player`."""

    source: str = _setting(
        'sample',
        'sample (bundled photographs), a folder of images, a video file, or webcam:N',
        live=False,
    )
    rate_hz: float = _setting(
        10.0, 'Frames per second', unit='Hz', minimum=0.05, maximum=1000.0, live=False
    )
    loop: bool = _setting(True, 'Start again at the end', live=False)
    image_transport: str = _setting(
        'raw',
        'Publish image (raw) or image/compressed (compressed)',
        choices=('raw', 'compressed'),
        live=False,
    )
    jpeg_quality: int = _setting(
        90, 'JPEG quality of the compressed transport', minimum=1, maximum=100, live=False
    )
    frame_id: str = _setting('camera_optical_frame', 'Optical frame of the images', live=False)
    width: int = _setting(
        0,
        'Width of the frames; 0 keeps that of the source',
        unit='px',
        minimum=0,
        maximum=8192,
        live=False,
    )
    height: int = _setting(
        0,
        'Height of the frames; 0 keeps that of the source',
        unit='px',
        minimum=0,
        maximum=8192,
        live=False,
    )
    hfov_deg: float = _setting(
        60.0,
        'Horizontal field of view in CameraInfo where the source has no calibration',
        unit='deg',
        minimum=1.0,
        maximum=170.0,
        live=False,
    )
    camera_info: bool = _setting(True, 'Publish camera_info beside the image', live=False)
    hold_frames: int = _setting(
        1, 'Show each picture for this many frames', minimum=1, maximum=100000, live=False
    )
