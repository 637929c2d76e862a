"""What all sources of scale have in common: they do ahead of time what needs no prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.ros.scale_history import Predicted, Taken
from lotus2_ros.types import Float32Array

Made = TypeVar('Made')


class ScaleSource(Protocol):
    """Gives an estimate for each prediction; the same one, prepared or not."""

    def prepare(self, coming: Taken) -> bool:
        """Do what needs no prediction, as far as references have come.

        Nothing but time depends on it: what turns out otherwise is done again.

        Args:
            coming: the image that will be predicted next; it knows its size.

        Returns:
            False if something is lacking that may still come.
        """
        ...

    def estimate(
        self, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """What the source says about the newest prediction.

        Args:
            newest: the prediction.
            normals: (H, W, 3) of the same image, or None.

        Returns:
            The estimate; why there is none; None if no reference has come.
        """
        ...

    def forget_images(self) -> None:
        """Forget what belongs to earlier images."""
        ...


class Last(Generic[Made]):
    """What was made last; it is made again only of other things."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] | None = None
        self._made: Made | None = None

    def of(self, things: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """What is made of these things, which are compared.

        Args:
            things: all that it depends on.
            make: makes it.
        """
        if self._made is None or self._of != things:
            self._made, self._of = make(), things
        return self._made

    def forget(self) -> None:
        """Let go of it and of what it was made of."""
        self._of = self._made = None
