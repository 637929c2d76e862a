"""~/timings: where the time of one frame went, as diagnostic_msgs/DiagnosticArray with one status.

Published after everything else of its frame, under the stamp of its image, and only while somebody
subscribes: whoever measures can tell what one frame took, not only what many took on average.
"""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Header

ARRIVAL = 'arrival'
"""From the image's stamp to the node's callback, by the node's clock."""

INTAKE = 'intake'
"""From the callback until the frame lies in the worker's memory: decoded, undistorted."""

TOTAL = 'total'
"""From there until the result is back."""

WORKER = 'worker'
"""Of that: from the worker taking the frame to its result being sent. Core results only."""

MODEL = 'model'
"""Of that: the model, the frame's own time. Its stages are named beside it."""

MESSAGES, PUBLISH = 'messages', 'publish'
"""Making the frame's messages, and handing them to the middleware."""

CORE, SHARP = 'core', 'sharp'


def timings_qos() -> QoSProfile:
    """Reliable; a listener may be some frames behind."""
    return QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)


def timings_message(
    stages: Mapping[str, float], header: Header, *, name: str, sharp: bool
) -> DiagnosticArray:
    """The message.

    Args:
        stages: name to seconds.
        header: of the image.
        name: of the status.
        sharp: whether the result is a sharpened one.
    """
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK,
        name=name,
        message=SHARP if sharp else CORE,
        values=[
            KeyValue(key=f'{stage} [ms]', value=f'{1e3 * seconds:.3f}')
            for stage, seconds in stages.items()
        ],
    )
    return DiagnosticArray(header=header, status=[status])


def read_timings(message: DiagnosticArray) -> tuple[dict[str, float], bool]:
    """Stage to seconds, and whether the result is a sharpened one."""
    (status,) = message.status
    stages = {v.key.removesuffix(' [ms]'): float(v.value) / 1e3 for v in status.values}
    return stages, status.message == SHARP
