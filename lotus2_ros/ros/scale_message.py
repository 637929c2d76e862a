"""~/scale: the scale of the last frame, as diagnostic_msgs/DiagnosticArray with one status.

No standard message has a scale and a shift. A DiagnosticArray has a header for the image's stamp
and frame, is installed wherever ROS is, is shown by every diagnostics viewer, and names each
number. It is latched: whoever comes late gets the last one.
"""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Header

from lotus2_ros.geometry.scale.tracker import ScaleReport, ScaleState

_LEVEL = {
    ScaleState.LOCKED: DiagnosticStatus.OK,
    ScaleState.COASTING: DiagnosticStatus.WARN,
    ScaleState.LOCKING: DiagnosticStatus.WARN,
    ScaleState.UNSCALED: DiagnosticStatus.WARN,
    ScaleState.LOST: DiagnosticStatus.ERROR,
}


def scale_qos() -> QoSProfile:
    """Reliable and latched."""
    return QoSProfile(
        depth=1,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
    )


def scale_values(report: ScaleReport) -> dict[str, str]:
    """Names and values of a report, as text."""
    return {
        'state': report.state.value,
        'a [1/m]': f'{report.a:.6g}',
        'b [1/m]': f'{report.b:.6g}',
        'sigma of log a': f'{report.sigma_log_a:.3g}',
        'sigma of b [1/m]': f'{report.sigma_b:.3g}',
        'source': report.source or 'none',
        'inlier share': f'{report.inlier_share:.3f}',
        'age [s]': f'{report.age_s:.3f}',
        'reason': report.reason,
    }


def scale_level(report: ScaleReport) -> bytes:
    """Of a diagnostic status."""
    return bytes(_LEVEL[report.state])


def scale_message(report: ScaleReport, header: Header, *, name: str) -> DiagnosticArray:
    """The message.

    Args:
        report: of one frame.
        header: of its image.
        name: of the status.
    """
    status = DiagnosticStatus(
        level=scale_level(report),
        name=name,
        message=f'{report.state.value}: {report.reason}' if report.reason else report.state.value,
        values=[KeyValue(key=key, value=value) for key, value in scale_values(report).items()],
    )
    return DiagnosticArray(header=header, status=[status])
