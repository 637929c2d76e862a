"""Shared memory between the node and the model's process: image slots in, result slots out.

One anonymous segment (memfd) per ring: it has no name, so nothing is left behind however either
side dies. Its size is sealed, so neither side can be hit by the other truncating it. When images
outgrow a ring, a larger one with the next number takes over.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lotus2_ros.errors import ImageError, WorkerError
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array
from lotus2_ros.worker.host_memory import available_bytes

IMAGE_SLOTS = 4
"""Of a single stream: with the model, on its way, being written, and waiting."""

FURTHER_SLOTS = 2
"""There are so many more for each further stream, and so many are left to each by the others,
however fast their cameras are."""

RESULT_SLOTS = 3
"""One being written, one on its way, one being read."""

MAX_IMAGE_PIXELS = 1 << 26
"""Larger images are refused before anything is allocated: 67 megapixels."""

_ALIGNMENT = 4096
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class RingLayout:
    """How a segment is divided: all image slots, then all result slots.

    Attributes:
        image_slots: number of image slots.
        image_bytes: capacity of one, a multiple of the page size.
        result_slots: number of result slots.
        result_bytes: capacity of one, a multiple of the page size.
    """

    image_slots: int
    image_bytes: int
    result_slots: int
    result_bytes: int

    @classmethod
    def for_pixels(cls, pixels: int, result_channels: int, streams: int = 1) -> RingLayout:
        """For images of up to `pixels`, that many float32 `result_channels` a pixel, and a mask."""
        return cls(
            IMAGE_SLOTS + FURTHER_SLOTS * (streams - 1),
            _rounded_up(pixels * 3),
            RESULT_SLOTS,
            _rounded_up(pixels * (4 * result_channels + 1)),
        )

    @property
    def total_bytes(self) -> int:
        """Size of the segment."""
        return self.image_slots * self.image_bytes + self.result_slots * self.result_bytes

    def holds(self, other: RingLayout) -> bool:
        """True if everything that fits into `other` fits here too."""
        return self.image_bytes >= other.image_bytes and self.result_bytes >= other.result_bytes


def _rounded_up(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def check_image_size(height: int, width: int) -> None:
    """Refuse sizes that no camera has.

    Raises:
        ImageError: a side is zero or negative, or the area is beyond `MAX_IMAGE_PIXELS`.
    """
    if height < 1 or width < 1 or height * width > MAX_IMAGE_PIXELS:
        raise ImageError(
            f'image of {width}x{height}: sides must be at least 1 px and the area at most'
            f' {MAX_IMAGE_PIXELS} px'
        )


class ResultViews(NamedTuple):
    """What lies in a result slot.

    Attributes:
        disparity: (H, W) float32, or None.
        normals: (H, W, 3) float32, or None.
        flying: (H, W) bool, or None.
    """

    disparity: Float32Array | None
    normals: Float32Array | None
    flying: BoolArray | None


class Ring:
    """A mapped segment. Memory is given back when the ring and all its views are gone."""

    def __init__(self, number: int, layout: RingLayout, descriptor: int) -> None:
        """Map `descriptor`, which is closed here whatever happens.

        Raises:
            WorkerError: the segment is smaller than the layout says, or cannot be mapped.
        """
        self.number = number
        self.layout = layout
        try:
            if os.fstat(descriptor).st_size < layout.total_bytes:
                raise WorkerError(f'ring {number} is smaller than its layout {layout}')
            # Populated, so that no frame pays for page faults.
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            self._memory = mmap.mmap(descriptor, layout.total_bytes, flags=flags)
        except (OSError, ValueError) as err:
            raise WorkerError(f'ring {number} cannot be mapped: {err}') from err
        finally:
            os.close(descriptor)

    def image(self, slot: int, height: int, width: int) -> UInt8Array:
        """(height, width, 3) uint8 view of an image slot.

        Raises:
            WorkerError: no such slot, or too small a one.
        """
        layout = self.layout
        size = height * width * 3
        self._check(slot, layout.image_slots, min(height, width), size, layout.image_bytes)
        flat = np.frombuffer(self._memory, np.uint8, size, slot * layout.image_bytes)
        return flat.reshape(height, width, 3)

    def result(
        self,
        slot: int,
        height: int,
        width: int,
        *,
        disparity: bool,
        normals: bool,
        flying: bool = False,
    ) -> ResultViews:
        """Views of a result slot, each only if asked for.

        Raises:
            WorkerError: no such slot, or too small a one.
        """
        if not (disparity or normals or flying):
            return ResultViews(None, None, None)
        layout = self.layout
        pixels = height * width
        count = pixels * (disparity + 3 * normals)
        size = count * 4 + pixels * flying
        self._check(slot, layout.result_slots, min(height, width), size, layout.result_bytes)
        offset = layout.image_slots * layout.image_bytes + slot * layout.result_bytes
        flat = np.frombuffer(self._memory, np.float32, count, offset)
        mask = np.frombuffer(self._memory, np.bool_, pixels * flying, offset + count * 4)
        return ResultViews(
            flat[:pixels].reshape(height, width) if disparity else None,
            flat[count - 3 * pixels :].reshape(height, width, 3) if normals else None,
            mask.reshape(height, width) if flying else None,
        )

    def _check(self, slot: int, slots: int, side: int, size: int, capacity: int) -> None:
        if not 0 <= slot < slots or side < 1 or size > capacity:
            raise WorkerError(
                f'slot {slot} of ring {self.number} with {size} bytes does not fit {self.layout}'
            )


def create_ring(number: int, layout: RingLayout) -> tuple[Ring, int]:
    """A new segment and a descriptor to send to the peer, which the caller must close.

    Memory is reserved now: running out of it later would kill the process by a bus error.

    Raises:
        WorkerError: not enough memory; says how much is needed.
    """
    available = available_bytes()
    if layout.total_bytes > available:
        # Asked to reserve it all the same, the kernel would start killing processes.
        raise WorkerError(
            f'{layout.total_bytes >> 20} MiB of shared memory for images cannot be had:'
            f' {available >> 20} MiB are available'
        )
    descriptor = os.memfd_create(f'lotus2-ring-{number}', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(descriptor, 0o600)
        os.posix_fallocate(descriptor, 0, layout.total_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return Ring(number, layout, os.dup(descriptor)), descriptor
    except OSError as err:
        os.close(descriptor)
        if err.errno not in (errno.ENOMEM, errno.ENOSPC):
            raise
        msg = f'{layout.total_bytes >> 20} MiB of shared memory for images cannot be had: {err}'
        raise WorkerError(msg) from err
    except BaseException:
        os.close(descriptor)
        raise


class SlotPool:
    """Which slots of one kind are free."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = list(range(slots))

    @property
    def free(self) -> int:
        """How many slots are free."""
        return len(self._free)

    def take(self) -> int | None:
        """A free slot, now taken; None if there is none."""
        return self._free.pop() if self._free else None

    def give(self, slot: int) -> None:
        """Make a taken slot free again.

        Raises:
            WorkerError: it is free already, or there is no such slot.
        """
        if not 0 <= slot < self._slots or slot in self._free:
            raise WorkerError(f'slot {slot} was given back but is not taken')
        self._free.append(slot)
