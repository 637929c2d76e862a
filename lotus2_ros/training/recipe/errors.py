"""What can go wrong while training."""

from __future__ import annotations

from lotus2_ros.errors import Lotus2Error


class TrainingError(Lotus2Error):
    """A training cannot start, go on or be resumed: state, data or numbers are not usable."""
