"""The affine map between the predictions of two successive frames, over pixels that stayed put.

Where a picture is at hand, optical flow tells where each pixel was before, so that a camera that
turns is followed, and how much moved at all; else pixels are compared in place. Either way the fit
is robust: what moves by itself, edges, and the content that entered do not count.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.ego_motion import depth_after_motion
from lotus2_ros.geometry.scale.line import fit_line
from lotus2_ros.geometry.scale.quantile import median, quantiles
from lotus2_ros.geometry.scale.transition import NoTransition, Transition
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

WIDTH = 160
"""Width to which disparity and picture are reduced [px]."""

_STRIDE = 3
_FEWEST = 60
_EDGE = 0.06
"""Range of disparity around a pixel, as a share of that of the image, that makes it an edge."""

_NOISE = 0.01
"""Standard deviation of disparity from frame to frame, as a share of its range in the image."""

_LEAST_SHARE = 0.4
"""Of the pixels compared, those that agree: with less, it is another picture."""

_LARGEST_RESIDUAL = 6.0
"""Residuals in units of `_NOISE` with which it is another picture."""

_LEAST_RANGE = 1e-4
"""Of disparity, of which the network uses 0 to 1: with less there is nothing to compare."""

_USUAL_CHANGE = 0.02
"""Standard deviation of the log of the network's own change of scale from one frame to the next."""

_LARGEST_CHANGE = 5.0
"""Of the range of disparity from one frame to the next."""

_NEARING = 2.5
"""Change of depth by the share that a flow of one image width stands for, if the camera drove
straight on: flow at the border of a lens of 75 degrees is 0.6 of focal length / depth."""

_FLOW_NOISE = 0.05
"""Median length of the flow where nothing moves [px]."""

_SAME_CONTRAST = 0.1
"""Change of the log of contrast up to which pictures are taken as they are: what enters and leaves
them changes it, too."""

_MOST_CONTRAST = 8.0
"""Times that contrast is raised at most."""


class _Small(NamedTuple):
    disparity: Float32Array
    grey: UInt8Array | None


class _Compared(NamedTuple):
    """Disparity on a grid: (N,) values, and (N,) bool where they are known and no edge."""

    values: Float64Array
    usable: BoolArray


class Carried(NamedTuple):
    """The last frame's disparity where it would be in the next picture; see `FrameAligner.carry`.

    Attributes:
        old: its disparity, small, where it can be compared.
        grey: (h, w) the next picture, of the same size.
        moved: how much the picture moved, in its widths.
        nearer: whether what a camera that drives on does to depth is taken into account.
        by: the frame, picture and scale it was made from.
    """

    old: _Compared
    grey: UInt8Array
    moved: float
    nearer: bool
    by: tuple[_Small, UInt8Array, tuple[float, float] | None]


class FrameAligner:
    """Remembers the last frame, small, and relates the next one to it."""

    def __init__(self) -> None:
        self._last: _Small | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = None

    def update(
        self,
        disparity: Float32Array,
        picture: UInt8Array | None = None,
        scale: tuple[float, float] | None = None,
        carried: Carried | None = None,
    ) -> Transition | NoTransition:
        """The map from the last frame's disparity to this one's.

        Args:
            disparity: (H, W) predicted, NaN where unknown.
            picture: (h, w) grey, of the same view in any size; None compares in place.
            scale: (a, b) of the last frame, as far as known. A camera that drives on comes nearer
                to everything, which looks much like another normalisation; with the scale the two
                are told apart.
            carried: what `carry` gave for this picture and this scale, ahead of time. What it gave
                for others is not used.

        Returns:
            The map; or why there is none: 'first frame', 'picture of another size', 'too little
            relief', 'picture changed'.
        """
        last = self._last
        if carried is None or not _is_for(carried, last, picture, scale):
            carried = self.carry(picture, scale)
        grey = None if carried is None else carried.grey
        small = self._last = _reduced(disparity, picture, grey)
        if last is None:
            return NoTransition('first frame')
        if last.disparity.shape != small.disparity.shape:
            return NoTransition('picture of another size')
        new = _compared(small.disparity)
        if carried is None:
            return _related(_compared(last.disparity), new, 0.0)
        measured = _related(carried.old, new, carried.moved)
        if carried.nearer and isinstance(measured, Transition):
            return _believed(measured)
        return measured

    def carry(
        self, picture: UInt8Array | None, scale: tuple[float, float] | None = None
    ) -> Carried | None:
        """All of `update` that needs no prediction for the new picture; changes nothing.

        Args:
            picture: see `update`.
            scale: see `update`.

        Returns:
            What `update` takes; None where there is nothing to follow.
        """
        last = self._last
        if last is None or last.grey is None or picture is None:
            return None
        grey = _small_picture(picture, last.grey.shape[::-1])
        old, flow = self._followed(last.disparity, *in_one_light(last.grey, grey))
        # The flow's own noise is no motion.
        lengths = np.hypot(flow[::4, ::4, 0], flow[::4, ::4, 1])
        moved = max(0.0, median(lengths.reshape(-1)) - _FLOW_NOISE) / flow.shape[1]
        nearer = None
        if scale is not None and moved > 0.0:
            a, b = np.float32(scale[0]), np.float32(scale[1])
            nearer = depth_after_motion(a * old + b, flow)
            if nearer is not None:
                old = (nearer - b) / a
        return Carried(_compared(old), grey, moved, nearer is not None, (last, picture, scale))

    def _followed(
        self, disparity: Float32Array, before: UInt8Array, now: UInt8Array
    ) -> tuple[Float32Array, Float32Array]:
        """The old disparity at the places of the new picture, and the flow there [px]."""
        height, width = disparity.shape
        flow = np.asarray(
            self._flow.calc(now, before, np.zeros((height, width, 2), np.float32)), dtype=np.float32
        )
        columns = np.arange(width, dtype=np.float32) + flow[..., 0]
        rows = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
        old = cv2.remap(
            disparity,
            columns,
            rows,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float('nan'),
        )
        return np.asarray(old, dtype=np.float32), flow


def relation(one: Float32Array, other: Float32Array) -> Transition | NoTransition:
    """The map from one prediction to another one of the same picture.

    Args:
        one: (H, W) disparity.
        other: (H, W) disparity.
    """
    first, second = _reduced(one, None), _reduced(other, None)
    if first.disparity.shape != second.disparity.shape:
        return NoTransition('picture of another size')
    return _related(_compared(first.disparity), _compared(second.disparity), 0.0)


def in_one_light(before: UInt8Array, now: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Two pictures with the brightness and contrast of that which has more of it.

    Optical flow takes a change of brightness for a motion, and cameras change their exposure.

    Args:
        before: (h, w) grey.
        now: (h, w) grey.
    """
    (mean_before, contrast_before), (mean_now, contrast_now) = map(_light, (before, now))
    change = math.log(max(contrast_before, 1.0) / max(contrast_now, 1.0))
    if abs(change) <= _SAME_CONTRAST:
        return before, now
    gain = min(math.exp(abs(change)), _MOST_CONTRAST)
    if change > 0:
        return before, _relit(now, mean_now, mean_before, gain)
    return _relit(before, mean_before, mean_now, gain), now


def _light(picture: UInt8Array) -> tuple[float, float]:
    """Mean and standard deviation of the grey values."""
    mean, deviation = cv2.meanStdDev(picture)
    return mean.item(), deviation.item()


def _relit(picture: UInt8Array, mean: float, wanted: float, gain: float) -> UInt8Array:
    relit = cv2.addWeighted(picture, gain, picture, 0.0, wanted - gain * mean)
    return np.asarray(relit, dtype=np.uint8)


def _is_for(
    carried: Carried,
    last: _Small | None,
    picture: UInt8Array | None,
    scale: tuple[float, float] | None,
) -> bool:
    by_last, by_picture, by_scale = carried.by
    return by_last is last and by_picture is picture and by_scale == scale


def _small_picture(picture: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _reduced(
    disparity: Float32Array, picture: UInt8Array | None, grey: UInt8Array | None = None
) -> _Small:
    """Both of one small size; `grey` is the picture already small, if its size is that one."""
    width = min(WIDTH, disparity.shape[1])
    size = width, max(1, round(width * disparity.shape[0] / disparity.shape[1]))
    small = cv2.resize(disparity, size, interpolation=cv2.INTER_AREA)
    if grey is None or grey.shape[::-1] != size:
        grey = None if picture is None else _small_picture(picture, size)
    return _Small(np.asarray(small, dtype=np.float32), grey)


def _compared(image: Float32Array) -> _Compared:
    stride = _STRIDE if min(image.shape) >= 4 * _STRIDE else 1
    kernel = np.ones((3, 3), dtype=np.uint8)
    # OpenCV makes huge numbers of NaN here.
    with np.errstate(over='ignore'):
        span = cv2.dilate(image, kernel) - cv2.erode(image, kernel)
    values, spans = (
        grid[::stride, ::stride].astype(np.float64).reshape(-1) for grid in (image, span)
    )
    finite = np.isfinite(values)
    # NaN compares false.
    smooth = spans <= _EDGE * _range(values[finite])
    return _Compared(values, finite & smooth)


def _related(old: _Compared, new: _Compared, moved: float) -> Transition | NoTransition:
    usable = np.flatnonzero(old.usable & new.usable)
    x, y = old.values[usable], new.values[usable]
    if len(x) < _FEWEST:
        return NoTransition('too little relief')
    ranges = _range(x), _range(y)
    if min(ranges) < _LEAST_RANGE:
        return NoTransition('too little relief')
    noise = _NOISE * max(ranges)
    line = fit_line(x, y, np.full(len(x), noise))
    if line is None:
        return NoTransition('too little relief')
    fits = 1.0 / _LARGEST_CHANGE < line.slope < _LARGEST_CHANGE
    if not fits or line.inlier.mean() < _LEAST_SHARE or line.scale > _LARGEST_RESIDUAL:
        return NoTransition('picture changed')
    covariance = line.log_covariance
    covariance[0, 0] += (_NEARING * moved) ** 2
    return Transition(line.slope, line.offset, covariance, moved)


def _believed(measured: Transition) -> Transition:
    """The map that is likely, given the measured one and how little a network mostly changes.

    On a moving camera the measured map is uncertain, by what the motion did to the depth. A change
    that could well be that is believed in part, as two normal distributions have it; a greater one
    is the network's.
    """
    variance = float(measured.covariance[0, 0])
    total = _USUAL_CHANGE**2 + variance
    change = math.log(measured.scale)
    if change**2 > 9.0 * total:
        return measured
    part = _USUAL_CHANGE**2 / total
    return replace(
        measured,
        scale=math.exp(part * change),
        shift=part * measured.shift,
        covariance=part * measured.covariance,
    )


def _range(values: Float64Array) -> float:
    if len(values) == 0:
        return 0.0
    low, high = quantiles(values, 0.05, 0.95)
    return high - low
