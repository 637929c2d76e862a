"""What every benchmark is to the runner: a stream of samples and the rules they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

Entry = TypeVar('Entry')


@dataclass(frozen=True)
class Sample:
    """One picture with its ground truth. Depth, or normals, or both are there.

    Attributes:
        name: of the sample within its benchmark, unique.
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) Z-depth [m]; infinite in the sky, anything where not known; or None.
        valid: (H, W) pixels whose depth is judged.
        known: (H, W) pixels whose depth is known, the sky's too: where edges are compared. None
            where the ground truth is too sparse for edges and spectra.
        normals: (H, W, 3) normals facing the camera in the optical frame (x right, y down,
            z forward), not necessarily of unit length; or None.
        surface: (H, W) pixels whose normal is judged.
    """

    name: str
    image: UInt8Array
    depth: Float32Array | None = None
    valid: BoolArray | None = None
    known: BoolArray | None = None
    normals: Float32Array | None = None
    surface: BoolArray | None = None

    @property
    def truth_size(self) -> tuple[int, int]:
        """Height and width of the ground truth: predictions are resized to it."""
        truth = self.normals if self.depth is None else self.depth
        assert truth is not None
        return truth.shape[0], truth.shape[1]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample that could not be used.

    Attributes:
        name: of the sample.
        reason: why, for people.
    """

    name: str
    reason: str


def read_or_skip(read: Callable[[Entry], Sample], entry: Entry, name: str) -> Sample | Skipped:
    """What `read` makes of an entry of a benchmark, or why it cannot be used."""
    try:
        return read(entry)
    except SampleError as error:
        return Skipped(name, str(error))


@dataclass(frozen=True, slots=True)
class Rules:
    """How a benchmark is judged.

    Attributes:
        depth_range: depths that predictions are clipped to; None where depth is not judged.
        fit_resolution: see `align_to_depth`.
        processing_side: longest side the picture is reduced to before the network sees it; None
            hands it over as it is.
        pad_multiple: pad the picture with black to a multiple of this many pixels each way.
        normals: normals are judged.
    """

    depth_range: DepthRange | None = None
    fit_resolution: int | None = None
    processing_side: int | None = None
    pad_multiple: int | None = None
    normals: bool = False


class Benchmark(Protocol):
    """Samples under common rules."""

    @property
    def name(self) -> str:
        """Short name, fit for a file."""

    @property
    def title(self) -> str:
        """What tables are headed with: says where the samples come from and which they are."""

    @property
    def rules(self) -> Rules:
        """How the samples are judged."""

    def __len__(self) -> int:
        """Number of samples, unusable ones too."""

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The first `limit` samples, or all, in an order that never changes."""
