from __future__ import annotations

from dataclasses import replace

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from lotus2_ros.ros.diagnostics import diagnostic_array
from lotus2_ros.ros.health import Health, State, assess
from lotus2_ros.ros.monitor import Measurements
from lotus2_ros.settings import NodeSettings

MEASURED = Measurements(
    rates={'input': 10.0, 'result': 9.0},
    ages={'input': 0.1, 'result': 0.2},
    latencies={'total': (0.1, 0.15)},
    counts={'replaced': 3},
)
HEALTHY = Health(
    lifecycle='active',
    settings=NodeSettings(scale_mode='fixed'),
    measured=MEASURED,
    worker_state='ready',
    info={'device': 'cpu', 'precision': 'float32'},
    image_topic='/image',
    image_publishers=('/camera',),
    info_topic='/camera_info',
    info_publishers=('/camera',),
    wanted=frozenset({'depth/image'}),
)
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.mark.parametrize(
    ('changes', 'state', 'level', 'reason'),
    [
        ({}, State.OK, OK, 'running'),
        ({'wanted': frozenset()}, State.OK, OK, 'nobody subscribes'),
        ({'lifecycle': 'inactive'}, State.WAIT, WARN, 'inactive'),
        ({'lifecycle': 'unconfigured'}, State.WAIT, WARN, 'unconfigured'),
        ({'fault': 'no weights'}, State.FAULT, ERROR, 'no weights'),
        (
            {'worker_state': 'loading', 'progress': ('vae', 0.5)},
            State.LOADING, WARN, 'vae 50%',
        ),
        (
            {'worker_state': 'recovering', 'worker_reason': 'killed'},
            State.RECOVERING, ERROR, 'killed',
        ),
        (
            {'measured': Measurements(), 'image_publishers': ()},
            State.WAIT, ERROR, '/image (0 publishers)',
        ),
        (
            {'measured': Measurements(), 'incompatible': {'/image': 'another RELIABILITY'}},
            State.WAIT, ERROR, 'RELIABILITY',
        ),
        (
            {'measured': replace(MEASURED, ages={'input': 2.5})},
            State.STALE, ERROR, 'no image for 2.5 s',
        ),
        (
            {'measured': replace(MEASURED, problem='bad image', problem_age=0.5)},
            State.SUSPECT, WARN, 'bad image',
        ),
        (
            {'measured': replace(MEASURED, problem='bad image', problem_age=5.0)},
            State.SUSPECT, ERROR, 'bad image',
        ),
        (
            {'image_publishers': ('/bag', '/camera')},
            State.SUSPECT, ERROR, '2 publishers share /image: /bag, /camera',
        ),
        (
            {'info_publishers': ('/bag', '/camera')},
            State.SUSPECT, ERROR, '2 publishers share /camera_info: /bag, /camera',
        ),
        ({'host_problem': ('memory is full', '')}, State.OK, WARN, 'running; memory is full'),
        (
            {'host_problem': ('memory is full', ''), 'lifecycle': 'inactive'},
            State.WAIT, WARN, 'the node is inactive',
        ),
        ({'namesakes': 1}, State.SUSPECT, ERROR, '2 nodes have the name'),
        ({'namesakes': 1, 'lifecycle': 'inactive'}, State.SUSPECT, ERROR, '2 nodes'),
        (
            {'measured': replace(MEASURED, latencies={'total': (1.0, 2.5)})},
            State.SLOW, WARN, 'p95 2.50 s',
        ),
        (
            {'measured': replace(MEASURED, ages={'input': 0.1, 'result': 4.5})},
            State.SLOW, WARN, '4.5 s ago',
        ),
        ({'settings': NodeSettings()}, State.RELATIVE, OK, 'no scale'),
        (
            {'settings': NodeSettings(), 'withheld': {'points': 'no metres'}},
            State.RELATIVE, WARN, '~/points: no metres',
        ),
        ({'withheld': {'points': 'no camera'}}, State.OK, WARN, '~/points: no camera'),
        ({'incompatible': {'/x': 'another DURABILITY'}}, State.OK, WARN, 'DURABILITY'),
    ],
)  # fmt: skip
def test_the_state_names_what_stands_in_the_way(
    changes: dict[str, object], state: State, level: bytes, reason: str
) -> None:
    verdict = assess(replace(HEALTHY, **changes))  # type: ignore[arg-type]
    assert (verdict.state, verdict.level) == (state, level)
    assert reason in verdict.reason


def test_the_message_shows_all_figures() -> None:
    health = replace(HEALTHY, withheld={'points': 'no camera'}, image_size=(640, 480))
    message = diagnostic_array([health], node='/depth_node', stamp=Time(sec=7))
    assert message.header.stamp.sec == 7
    [status] = message.status
    assert status.name == '/depth_node: output'
    assert status.hardware_id == 'cpu'
    assert status.message.startswith('OK: withheld')
    values = {item.key: item.value for item in status.values}
    assert values['input rate [Hz]'] == '10.00'
    assert values['latency total p50/p95 [ms]'] == '100.0 / 150.0'
    assert values['dropped: replaced'] == '3'
    assert values['withheld: ~/points'] == 'no camera'
    assert values['precision'] == 'float32'
    assert values['image size [px]'] == '640x480'
    assert values['scale'].startswith('fixed: z = 1 / (1 d + 0.1)')
