"""Images that show nothing, or nothing new: a covered, blinded or stuck camera. No ROS here."""

from __future__ import annotations

import math
import zlib

import numpy as np

from lotus2_ros.errors import ImageError
from lotus2_ros.types import UInt8Array

BLACK, WHITE = 16, 250
"""Grey levels at and beyond which a pixel tells nothing: noise in the dark, or a full well."""

_SAMPLES = 64
"""Rows and columns that are looked at, at least, where the image has them."""

_OUTLIERS = 5.0
"""Percent of the pixels at either end that do not count: hot pixels, a lamp, a clock drawn in."""

_MOST_REPEATED = 3
"""So often in a row an image may come unchanged, however slowly."""


class ImageContentError(ImageError):
    """An image that can be read, but should not be believed.

    Attributes:
        cause: short name, to be counted by.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, reason: str, remedy: str) -> None:
        super().__init__(f'{cause}: {reason}')
        self.cause = cause
        self.remedy = remedy


class ImageContent:
    """Looks at the images of one camera, one after another.

    What the model makes of an image without content is invented, and of an image that was seen
    before it is old under a new stamp. Silence is safer than either.
    """

    def __init__(self) -> None:
        self._samples = b''
        self._checksum: int | None = None
        self._first_s = 0.0
        self._times = 0
        self._unfollowed_s: float | None = None

    def reset(self) -> None:
        """Forget the images before."""
        self._samples = b''

    def check(
        self, rgb: UInt8Array, now_s: float, *, min_contrast: float, frozen_timeout_s: float
    ) -> None:
        """Refuse an image that shows nothing, or that has been the same for too long.

        What it takes to know the next one again may be left to `follow`.

        Args:
            rgb: (H, W, 3) as it came from the camera, contiguous.
            now_s: when, on a steady clock.
            min_contrast: grey levels, of 255, that all but the outliers must span; 0 takes any.
            frozen_timeout_s: for so long an image may be repeated; 0 is for ever.

        Raises:
            ImageContentError: saying which it is.
        """
        self._unfollowed_s = None
        rows, columns = (max(1, side // _SAMPLES) for side in rgb.shape[:2])
        samples = rgb[::rows, ::columns]
        if min_contrast > 0:
            _check_contrast(samples, min_contrast)
        taken = samples.tobytes()
        if taken != self._samples:
            self._samples, self._checksum = taken, None
            self._first_s, self._times = now_s, 1
            return
        self._unfollowed_s = now_s

        def is_frozen() -> bool:
            return 0 < frozen_timeout_s < now_s - self._first_s and self._times >= _MOST_REPEATED

        if is_frozen():  # so far; and if all of this image is what the last one was
            self.follow(rgb)
            if is_frozen():
                raise ImageContentError(
                    'frozen image',
                    f'the same bytes for more than {frozen_timeout_s:g} s',
                    'restart the camera or its driver; for still pictures set frozen_timeout_s: 0',
                )

    def follow(self, rgb: UInt8Array) -> None:
        """Count how often, and since when, the image has been the same.

        After `check`, with the same image; there is time for it once the model has the image.
        """
        now_s, self._unfollowed_s = self._unfollowed_s, None
        if now_s is None:  # its samples are not those of the one before, or it was counted
            return
        checksum = zlib.crc32(rgb.data)
        if self._checksum not in (None, checksum):
            self._first_s, self._times = now_s, 0
        self._checksum = checksum
        self._times += 1


def _check_contrast(samples: UInt8Array, min_contrast: float) -> None:
    low, high = _span(samples)
    if high - low >= min_contrast:
        return
    if high < BLACK + min_contrast:
        raise ImageContentError(
            'black image',
            'hardly a pixel is bright enough',
            'uncover the camera, or light the scene',
        )
    if low > WHITE - min_contrast:
        raise ImageContentError(
            'overexposed image',
            'nearly all pixels are white',
            "check the camera's exposure and lens",
        )
    raise ImageContentError(
        'uniform image',
        f'its grey values span {high - low:.0f} of 255 levels',
        'uncover or clean the lens; min_contrast is the limit',
    )


def _span(samples: UInt8Array) -> tuple[float, float]:
    """The grey levels between which all but the outliers lie, clipped to what tells something."""
    pixels = samples.reshape(-1, 3).astype(np.uint16)  # of three channels, at most 765
    sums = pixels[:, 0] + pixels[:, 1] + pixels[:, 2]
    # The two are found faster than all are sorted or counted: this runs before every frame.
    ranks = [math.ceil(share / 100.0 * len(sums)) - 1 for share in (_OUTLIERS, 100.0 - _OUTLIERS)]
    ends = np.partition(sums, ranks)[ranks]
    low, high = np.clip(ends / 3.0, BLACK, WHITE)
    return float(low), float(high)
