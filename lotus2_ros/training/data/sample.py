"""What a dataset gives and what a training step takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array


class BadSample(Lotus2Error):  # noqa: N818 - it is caught, counted and listed; training goes on
    """One sample cannot be used; the stream takes the next one instead.

    Attributes:
        name: of the sample.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        """Make one; the message is 'name: reason'."""
        super().__init__(f'{name}: {reason}')
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadSample], tuple[str, str]]:
        """Pickled with both arguments: worker processes raise it too."""
        return type(self), (self.name, self.reason)


@dataclass(frozen=True)
class Record:
    """One picture as read from disk or rendered, before it is cut to the training size.

    Attributes:
        name: where it comes from, for messages.
        image: (H, W, 3) RGB.
        depth: (H, W) Z-depth [m]; +inf where `valid` says that it is known to be beyond range,
            such as the sky; anything where not valid.
        valid: (H, W) where the depth is known; sparse for lidar.
        normals: (H, W, 3) unit vectors in the training convention: x right, y down, z forward,
            outward, so that a wall that faces the camera is (0, 0, 1). Anything where not
            `surface`. None where they were not asked for.
        surface: (H, W) where normals are known; None with `normals` None.
    """

    name: str
    image: UInt8Array
    depth: Float32Array
    valid: BoolArray
    normals: Float32Array | None = None
    surface: BoolArray | None = None


class Dataset(Protocol):
    """A numbered collection of records; reading one depends on its number alone."""

    @property
    def name(self) -> str:
        """For messages and reports."""
        ...

    def __len__(self) -> int:
        """How many records there are, bad ones included."""
        ...

    def read(self, index: int) -> Record:
        """Read one record.

        Raises:
            BadSample: it cannot be used.
        """
        ...


@dataclass(frozen=True)
class Batch:
    """B samples of one size, on the CPU.

    Attributes:
        image: (B, 3, h, w) float32 in [-1, 1].
        target: (B, 3, h, w) float32 in [-1, 1]: disparity between its quantiles, three equal
            channels, larger = nearer; or normals in the training convention. Where nothing is
            known it holds the nearest known value, so that an autoencoder sees no holes.
        mask: (B, 1, h, w) bool, where the target is known.
        names: where each sample comes from.
    """

    image: Tensor
    target: Tensor
    mask: Tensor
    names: tuple[str, ...]
