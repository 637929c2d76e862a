"""/diagnostics from the node's health: the state in front, and all figures. Pure building."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lotus2_ros.ros.health import Health, assess
from lotus2_ros.ros.scale_message import scale_values
from lotus2_ros.settings import NodeSettings

_INFO_NAMES = {
    'model': 'model folder',
    'tasks': 'tasks loaded',
    'sharpener': 'sharpener loaded',
    'max_side': 'model max_side [px]',
    'gpu_memory_bytes': 'GPU memory [B]',
    'worker_memory_bytes': 'worker memory [B]',
}


def diagnostic_array(healths: Sequence[Health], *, node: str, stamp: Time) -> DiagnosticArray:
    """The message: one status for each camera."""
    message = DiagnosticArray(status=[_status(health, node) for health in healths])
    message.header.stamp = stamp
    return message


def _status(health: Health, node: str) -> DiagnosticStatus:
    """The state in front of the text, and all figures as values."""
    verdict = assess(health)
    status = DiagnosticStatus()
    status.level = verdict.level
    status.name = f'{node}: {health.name} output' if health.name else f'{node}: output'
    status.message = f'{verdict.state.value}: {verdict.reason}'
    status.hardware_id = str(health.info.get('device', ''))
    values = {'state': verdict.state.value, 'reason': verdict.reason, 'remedy': verdict.remedy}
    values |= _values(health)
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return status


def _values(health: Health) -> dict[str, str]:
    measured, settings = health.measured, health.settings
    values = {
        'lifecycle': health.lifecycle,
        'worker': health.worker_state,
        'worker restarts': str(health.restarts),
        'loading': f'{health.progress[0]} {100 * health.progress[1]:.0f}%',
        'model': settings.model,
        'tasks': ', '.join(settings.tasks),
        'scale': _scale(settings),
        'camera': health.camera or 'none',
        'camera problem': health.camera_problem,
        'image topic': health.image_topic,
        'image publishers': _names(health.image_publishers),
        'camera_info topic': health.info_topic,
        'camera_info publishers': _names(health.info_publishers),
        'image size [px]': _size(health.image_size),
        'output size [px]': _size(health.output_size),
        'subscribed': ', '.join(sorted(health.wanted)) or 'none',
        'sharpening': f'{settings.sharpen_steps} steps at {settings.sharpen_rate_hz:g} Hz',
    }
    if health.scale is not None:
        values |= {f'scale {key}': value for key, value in scale_values(health.scale).items()}
        values['scale references'] = health.scale_detail or 'good'
    values |= health.notes
    for key, value in health.info.items():
        values[_INFO_NAMES.get(key, key)] = str(value)
    for event in ('input', 'result', 'sharp result'):
        values[f'{event} rate [Hz]'] = f'{measured.rates.get(event, 0.0):.2f}'
        age = measured.ages.get(event)
        values[f'{event} age [s]'] = 'never' if age is None else f'{age:.3f}'
    for stage, (median, high) in sorted(measured.latencies.items()):
        values[f'latency {stage} p50/p95 [ms]'] = f'{1e3 * median:.1f} / {1e3 * high:.1f}'
    for cause, count in sorted(measured.counts.items()):
        values[f'dropped: {cause}'] = str(count)
    for cause, (number, share) in sorted(measured.pixels.items()):
        values[f'pixels: {cause}'] = f'{number} ({100 * share:.1f}% of the last image)'
    for topic, why in health.withheld.items():
        values[f'withheld: ~/{topic}'] = why
    for topic, why in health.incompatible.items():
        values[f'incompatible: {topic}'] = why
    return values


def _scale(settings: NodeSettings) -> str:
    if settings.scale_mode == 'fixed':
        return f'fixed: z = 1 / ({settings.disparity_scale:g} d + {settings.disparity_shift:g})'
    if settings.references():
        return f'measured from {", ".join(settings.references())}'
    return 'relative: no metres' + (', cloud not metric' if settings.relative_cloud else '')


def _size(size: tuple[int, int] | None) -> str:
    return 'none' if size is None else f'{size[0]}x{size[1]}'


def _names(names: tuple[str, ...]) -> str:
    return f'{len(names)}: {", ".join(names)}' if names else '0'
