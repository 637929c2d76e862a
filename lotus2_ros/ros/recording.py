"""What a `LatencyListener` has noted: numbers only, no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Arrival(NamedTuple):
    """A message. All times are nanoseconds of the system's clock.

    Attributes:
        stamp: of its header; for a result, that of its image.
        published: when the node handed it to the middleware.
        received: when it was here, unpacked.
    """

    stamp: int
    published: int
    received: int


@dataclass
class Recording:
    """What came since the recording was begun.

    Attributes:
        sent: stamps of the camera's images.
        arrivals: output, `~/` left out, to its messages.
        core: stamp of an image to the stages of its core result [s].
        sharp: the same of sharpened results.
    """

    sent: list[int] = field(default_factory=list)
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    core: dict[int, dict[str, float]] = field(default_factory=dict)
    sharp: dict[int, dict[str, float]] = field(default_factory=dict)
