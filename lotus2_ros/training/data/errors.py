"""What can be wrong with training data as a whole; one sample's trouble is a `BadSample`."""

from __future__ import annotations

from lotus2_ros.errors import Lotus2Error


class DataError(Lotus2Error):
    """A dataset cannot be opened, has no usable sample, or does not serve the task."""
