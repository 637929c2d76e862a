"""Scale from a registered depth image: an RGB-D camera's or a stereo camera's, holes and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.choice import some
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.sampling import Places, places_at, sample_disparity
from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_LOOKED_AT = 9000
"""Pixels on a grid over the image; with half of them holes, enough are left."""

_MOST = 1300
"""Pixels that are chosen; beside edges of the prediction some of them do not count."""

_FEWEST = 30

_ASPECT_WITHIN = 0.02
"""Relative difference of the aspect ratios of two images of the same view: rounding of sizes."""

_REACH = 2.0
"""How far prediction and depth image may disagree about the place of an edge [px of either]."""

_EDGE = 0.1
"""A pixel's 1 / z differs by more than this share from a line through its neighbours: an edge."""

_EDGE_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class DepthNoise:
    """Standard deviation of a depth z: a share of it, and what grows with its square.

    Attributes:
        relative: share of z, as from an error of calibration.
        quadratic: per z^2, as triangulation has it (stereo, structured light) [1/m].
        smallest: at any depth [m].
    """

    relative: float = 0.01
    quadratic: float = 0.003
    smallest: float = 0.002

    def of_inverse(self, inverse_depth: Float64Array) -> Float64Array:
        """Standard deviation of 1 / z, which is that of z over z^2 [1/m]."""
        r = inverse_depth
        return np.sqrt((self.relative * r) ** 2 + self.quadratic**2 + (self.smallest * r * r) ** 2)


class DepthSamples(NamedTuple):
    """What is taken of a depth image, whatever is predicted for it; see `depth_samples`.

    Attributes:
        places: of N points in the prediction.
        inverse_depth: (N,) there [1/m].
        sigma: (N,) standard deviation of it [1/m].
        seed: of what is drawn.
    """

    places: Places
    inverse_depth: Float64Array
    sigma: Float64Array
    seed: int


def depth_samples(
    depth: NDArray[np.floating],
    size: tuple[int, int],
    *,
    noise: DepthNoise | None = None,
    min_range: float = 0.05,
    max_range: float = 50.0,
    seed: int = 0,
) -> DepthSamples | NoScale:
    """Choose pixels of a depth image, away from its edges.

    Args:
        depth: (h, w) Z-depth [m]; NaN, 0, negative and infinite where unknown.
        size: (height, width) of the prediction; any, as long as both show the same view.
        noise: None is `DepthNoise()`.
        min_range: nearer depth is not used [m].
        max_range: farther depth is not used [m].
        seed: of the choice among many pixels.

    Returns:
        The samples, or why there are none: 'empty depth image', 'no valid depth', 'no prediction',
        'depth image of another shape'.
    """
    noise = noise or DepthNoise()
    if depth.ndim != 2 or min(depth.shape) < 3:
        return NoScale('empty depth image')
    row, column = _grid(depth, min_range, max_range)
    if len(row) == 0:
        return NoScale('no valid depth')
    if min(size) < 3:
        return NoScale('no prediction')
    aspect = depth.shape[1] / depth.shape[0] * size[0] / size[1]
    # Sizes are rounded to pixels, which weighs in small images.
    if abs(np.log(aspect)) > _ASPECT_WITHIN + 1.0 / min(*depth.shape, *size):
        return NoScale('depth image of another shape')
    inverse_depth = 1.0 / depth[row, column].astype(np.float64)
    sigma = noise.of_inverse(inverse_depth)
    flat = np.flatnonzero(_away_from_edges(depth, row, column, inverse_depth, sigma))
    chosen = flat[some(len(flat), _MOST, seed)]
    ratio = size[1] / depth.shape[1], size[0] / depth.shape[0]
    # Pixels have their centres at whole numbers, in both sizes.
    pixels = np.column_stack(
        [(column[chosen] + 0.5) * ratio[0] - 0.5, (row[chosen] + 0.5) * ratio[1] - 0.5]
    )
    places = places_at(pixels, size, reach=_REACH * max(1.0, ratio[0]))
    return DepthSamples(places, inverse_depth[chosen], sigma[chosen], seed)


def depth_scale(
    disparity: Float32Array, samples: DepthSamples | NoScale
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to a depth image of the same view.

    Args:
        disparity: (H, W) predicted, NaN where unknown.
        samples: what `depth_samples` gave for the depth image.

    Returns:
        The estimate; or why there is none: what `depth_samples` says, 'prediction of another size',
        'no prediction', 'too few samples', or what `fit_scale` says.
    """
    if isinstance(samples, NoScale):
        return samples
    if disparity.shape != samples.places.size:
        return NoScale('prediction of another size')
    sampled = sample_disparity(disparity, samples.places)
    if not np.isfinite(sampled.value).any():
        return NoScale('no prediction' if len(sampled.value) else 'too few samples')
    smooth = np.flatnonzero(sampled.smooth)
    if len(smooth) < _FEWEST:
        return NoScale('too few samples')
    references = References(
        sampled.value[smooth], samples.inverse_depth[smooth], samples.sigma[smooth]
    )
    return fit_scale(references, source='depth', seed=samples.seed)


def _grid(
    depth: NDArray[np.floating], min_range: float, max_range: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of valid pixels of a grid, none at the border."""
    stride = max(1, int(np.sqrt(depth.size / _LOOKED_AT)))
    step = round(_REACH)
    some = depth[step:-step:stride, step:-step:stride]
    # NaN compares false; so does 0, which stands for a hole.
    row, column = np.nonzero((some >= min_range) & (some <= max_range))
    return row * stride + step, column * stride + step


def _away_from_edges(
    depth: NDArray[np.floating],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    inverse_depth: Float64Array,
    sigma: Float64Array,
) -> BoolArray:
    """Where 1 / z lies on a straight line with its neighbours, as far as they are known.

    A registered depth image is smeared and misplaced at edges; prediction and depth then belong to
    two surfaces.
    """
    step = round(_REACH)
    allowed = np.maximum(_EDGE * inverse_depth, _EDGE_SIGMAS * sigma)
    flat = np.ones(len(row), dtype=np.bool_)
    for down, right in ((0, step), (step, 0)):
        with np.errstate(divide='ignore', invalid='ignore'):
            one = 1.0 / depth[row - down, column - right].astype(np.float64)
            other = 1.0 / depth[row + down, column + right].astype(np.float64)
            bend = np.abs(0.5 * (one + other) - inverse_depth)
        # A hole (NaN, or 0 and so infinite) says nothing.
        flat &= ~(bend > allowed) | ~np.isfinite(bend)
    return flat
