"""All settings of `depth_node`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.base import setting
from lotus2_ros.settings.model import ModelSettings
from lotus2_ros.settings.navigation import NavigationSettings
from lotus2_ros.settings.scale import ScaleSettings

_NAME = re.compile('[A-Za-z][A-Za-z0-9_]*')
_SHARED = ('sharpen_rate_hz', 'sharpen_steps', 'diagnostics_rate_hz')
"""Live parameters of the model's process and of the node: there is one of each."""


@dataclass(frozen=True)
class NodeSettings(NavigationSettings, ScaleSettings, ModelSettings):
    """All parameters of `depth_node`."""

    autostart: bool = setting(
        True, 'Configure and activate at start, without a lifecycle manager', live=False
    )
    cameras: tuple[str, ...] = setting(
        (),
        'Names of cameras that share the model in turns; each has topics of its own below its name,'
        ' and parameters <name>.<parameter>; empty is one camera without a name',
        live=False,
    )
    image_transport: str = setting(
        'raw',
        'Subscribe to image (raw) or to image/compressed (compressed)',
        choices=('raw', 'compressed'),
        live=False,
    )
    input_rectified: bool = setting(
        False, 'The image topic is already rectified: use P and do not undistort'
    )
    fallback_hfov_deg: float = setting(
        0.0,
        'Horizontal field of view assumed where no valid CameraInfo comes; 0 withholds clouds',
        unit='deg',
        minimum=0.0,
        maximum=170.0,
    )
    max_image_age_s: float = setting(
        2.0,
        'Older images are dropped (by stamp, against the node clock); 0 accepts any age',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    min_contrast: float = setting(
        4.0,
        'Images whose grey values span fewer levels of 255 (black, overexposed, covered) are'
        ' dropped; 0 takes any',
        minimum=0.0,
        maximum=255.0,
    )
    frozen_timeout_s: float = setting(
        3.0,
        'The same image for longer means a stuck camera: dropped until it changes; 0 takes any, and'
        ' so does simulated time',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    output_scale: float = setting(
        1.0, 'Size of what is published relative to the input image', minimum=0.1, maximum=1.0
    )
    disparity_scale: float = setting(
        1.0, 'a in z = 1 / (a d + b)', unit='1/m', minimum=1e-6, maximum=1e6
    )
    disparity_shift: float = setting(
        0.1, 'b in z = 1 / (a d + b)', unit='1/m', minimum=-1e6, maximum=1e6
    )
    relative_cloud: bool = setting(
        False,
        'In relative mode publish ~/points too, shaped by disparity_scale and disparity_shift, NOT'
        ' metric, in a frame of its own (<frame>_relative)',
    )
    cloud_color: bool = setting(True, 'Add rgb to ~/points')
    cloud_normals: bool = setting(False, 'Add normal_x, normal_y, normal_z to ~/points')
    colormap: str = setting(
        'turbo',
        'Colours of ~/depth/color',
        choices=('turbo', 'inferno', 'viridis', 'magma', 'gray'),
    )
    color_min: float = setting(
        0.0, 'Disparity at the far end of the colour map', minimum=-10.0, maximum=10.0
    )
    color_max: float = setting(
        1.0, 'Disparity at the near end of the colour map', minimum=-10.0, maximum=10.0
    )
    sharpen_rate_hz: float = setting(
        0.0,
        'How often a frame is sharpened; 0 is only on ~/sharpen',
        unit='Hz',
        minimum=0.0,
        maximum=100.0,
    )
    sharpen_steps: int = setting(
        10, 'Rectified-flow steps of the detail sharpener', minimum=1, maximum=10
    )
    diagnostics_rate_hz: float = setting(
        1.0, 'Rate of /diagnostics', unit='Hz', minimum=0.1, maximum=50.0
    )
    stale_timeout_s: float = setting(
        2.0,
        'Without an image for this long the input is stale',
        unit='s',
        minimum=0.1,
        maximum=3600.0,
    )
    load_timeout_s: float = setting(
        900.0,
        'Loading that takes longer has failed',
        unit='s',
        minimum=1.0,
        maximum=86400.0,
        live=False,
    )
    frame_timeout_s: float = setting(
        30.0,
        'A frame that takes longer means a hung device: the worker is replaced',
        unit='s',
        minimum=0.5,
        maximum=3600.0,
        live=False,
    )
    max_worker_restarts: int = setting(
        5,
        'Worker restarts allowed within a minute before the node gives up',
        minimum=0,
        maximum=100,
        live=False,
    )
    max_worker_growth_mib: int = setting(
        4096,
        "The worker is replaced when its memory (the host's, not the GPU's) has grown by more since"
        ' it was ready; 0 is any growth',
        unit='MiB',
        minimum=0,
        maximum=1 << 20,
        live=False,
    )

    def _validate_together(self) -> None:
        super()._validate_together()
        for name in self.cameras:
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f'cameras has {name!r}; a name is letters, digits and _, a letter first'
                )
        if len(set(self.cameras)) != len(self.cameras):
            raise SettingsError(f'cameras is {list(self.cameras)}; name each camera once')
        if self.color_min >= self.color_max:
            raise SettingsError(
                f'color_min {self.color_min} must be below color_max {self.color_max}'
            )
        if self.sharpen_rate_hz > 0 and not self.load_sharpener:
            raise SettingsError('sharpen_rate_hz is above 0 but load_sharpener is false')

    @classmethod
    def per_camera(cls) -> tuple[str, ...]:
        """Parameters that a camera of `cameras` may have a value of its own for."""
        return tuple(
            name for name, about in cls.parameters().items() if about.live and name not in _SHARED
        )

    def model_settings(self) -> ModelSettings:
        """The part the model's process needs."""
        names = ModelSettings.parameters()
        return ModelSettings(**{name: getattr(self, name) for name in names})
