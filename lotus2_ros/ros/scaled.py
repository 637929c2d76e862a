"""A disparity together with its scale: steady, or sharpened, with the scale of the core result."""

from __future__ import annotations

import math
from typing import NamedTuple

from lotus2_ros.geometry.scale.frame_alignment import relation
from lotus2_ros.geometry.scale.steady import SteadyMap
from lotus2_ros.geometry.scale.transition import NoTransition
from lotus2_ros.ros.products import FrameScale
from lotus2_ros.ros.scale_history import Predicted
from lotus2_ros.types import Float32Array


class Scaled(NamedTuple):
    """What is published of one result.

    Attributes:
        disparity: (H, W) float32, as predicted or steady; None if there is none.
        scale: of that disparity.
        shift: b / a of the disparity as predicted; NaN without a scale, or of a sharpened one.
    """

    disparity: Float32Array | None
    scale: FrameScale
    shift: float = math.nan


def sharpened(core: Predicted, disparity: Float32Array) -> Scaled:
    """A sharpened disparity has the scale of the core's, by the map between the two.

    Args:
        core: the core result of the same image.
        disparity: (H, W) as the sharpener gave it.
    """
    settings = core.frame.settings
    way = relation(core.disparity, disparity)
    if isinstance(way, NoTransition):
        if settings.references():
            return Scaled(disparity, FrameScale(math.nan, math.nan, 'lost'))
        return Scaled(disparity, FrameScale.of(settings))
    steady = SteadyMap(
        core.steady.gain / way.scale, core.steady.offset - core.steady.gain / way.scale * way.shift
    )
    if not settings.references():
        return steadied(disparity, FrameScale.of(settings), steady)
    if math.isnan(core.a):
        return Scaled(disparity, FrameScale(math.nan, math.nan, 'unscaled'))
    a = core.a / way.scale
    scale = FrameScale(a, core.b - a * way.shift, 'locked')
    return steadied(disparity, scale, steady if settings.steady else SteadyMap())


def steadied(disparity: Float32Array, scale: FrameScale, steady: SteadyMap) -> Scaled:
    """The steady disparity. What was measured is of the predicted one; parameters are not.

    Args:
        disparity: (H, W) as predicted.
        scale: measured, or by parameters.
        steady: makes it steady.
    """
    if scale.is_measured:
        scale = FrameScale(*steady.scale(scale.a, scale.b), scale.state)
    # a (gain d + offset) + b is proportional to d plus this.
    shift = (steady.offset + scale.b / scale.a) / steady.gain
    return Scaled(steady.apply(disparity), scale, shift)
