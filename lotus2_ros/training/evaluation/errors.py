"""What can be wrong with a benchmark, a sample or a result."""

from __future__ import annotations

from lotus2_ros.errors import Lotus2Error


class EvaluationError(Lotus2Error):
    """A benchmark cannot be opened, or something given to a metric has no meaning for it."""


class SampleError(Lotus2Error):
    """One sample cannot be used: unreadable, of the wrong size, or without ground truth."""
