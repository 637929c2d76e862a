"""What can go wrong in simulation."""

from __future__ import annotations

from lotus2_ros.errors import Lotus2Error


class SimulationError(Lotus2Error):
    """MuJoCo or its OpenGL is not there, or what was asked for cannot be simulated."""
