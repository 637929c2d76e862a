"""All settings of `camera_player`."""

from __future__ import annotations

from dataclasses import dataclass

from lotus2_ros.settings.base import Settings, setting


@dataclass(frozen=True)
class PlayerSettings(Settings):
    """All parameters of `camera_player`."""

    source: str = setting(
        'sample',
        'sample (bundled photographs), a folder of images, a video file, or webcam:N',
        live=False,
    )
    rate_hz: float = setting(
        10.0, 'Frames per second', unit='Hz', minimum=0.05, maximum=1000.0, live=False
    )
    loop: bool = setting(True, 'Start again at the end', live=False)
    image_transport: str = setting(
        'raw',
        'Publish image (raw) or image/compressed (compressed)',
        choices=('raw', 'compressed'),
        live=False,
    )
    jpeg_quality: int = setting(
        90, 'JPEG quality of the compressed transport', minimum=1, maximum=100, live=False
    )
    frame_id: str = setting('camera_optical_frame', 'Optical frame of the images', live=False)
    width: int = setting(
        0,
        'Width of the frames; 0 keeps that of the source',
        unit='px',
        minimum=0,
        maximum=8192,
        live=False,
    )
    height: int = setting(
        0,
        'Height of the frames; 0 keeps that of the source',
        unit='px',
        minimum=0,
        maximum=8192,
        live=False,
    )
    hfov_deg: float = setting(
        60.0,
        'Horizontal field of view in CameraInfo where the source has no calibration',
        unit='deg',
        minimum=1.0,
        maximum=170.0,
        live=False,
    )
    camera_info: bool = setting(True, 'Publish camera_info beside the image', live=False)
    hold_frames: int = setting(
        1, 'Show each picture for this many frames', minimum=1, maximum=100000, live=False
    )
