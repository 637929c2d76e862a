"""The figures of `lotus2 benchmark node`, on recordings whose times are known."""

from __future__ import annotations

import pytest

from lotus2_ros.ros.recording import Arrival, Recording
from lotus2_ros.tools.node_figures import STEPS, phase_figures, quantiles

MS = 1_000_000
STAGES = {
    'arrival': 0.002, 'intake': 0.001, 'encode': 0.03, 'decode': 0.01, 'model': 0.04,
    'worker': 0.043, 'total': 0.05, 'messages': 0.02, 'publish': 0.004,
}  # fmt: skip


def message(stamp: int, published_ms: float, received_ms: float) -> Arrival:
    """Times after the stamp."""
    return Arrival(stamp, stamp + round(published_ms * MS), stamp + round(received_ms * MS))


def recording() -> Recording:
    """Ten images, one every 100 ms; the fourth gave way to a newer one, the fifth is slow."""
    made = Recording(sent=[n * 100 * MS for n in range(10)])
    made.core = {stamp: dict(STAGES) for n, stamp in enumerate(made.sent) if n != 3}
    made.core[400 * MS] |= {'model': 0.09, 'worker': 0.093, 'total': 0.1}
    made.arrivals = {
        'depth/image': [
            message(stamp, 1e3 * stages['total'] + 8, 1e3 * stages['total'] + 10)
            for stamp, stages in made.core.items()
        ],
        'points': [message(stamp, 70, 80) for stamp in list(made.core)[:6]],
        'points/clearing': [],
        'sharp/points': [message(0, 900, 950)],
        '/diagnostics': [message(50 * MS, 1, 2), message(550 * MS, 1, 4)],
    }
    made.sharp = {0: {'model': 0.5, 'total': 0.8}}
    return made


def test_latency_less_the_time_of_that_very_frame():
    found = phase_figures(recording(), begin=0, end=1000 * MS)
    # The slow frame is as late beyond its own time as all the others.
    assert found['depth_beyond_own_time']['p50'] == pytest.approx(20)
    assert found['depth_beyond_own_time']['p99'] == pytest.approx(20)
    assert found['outputs']['depth/image']['latency']['p50'] == pytest.approx(60)
    assert found['outputs']['depth/image']['latency']['p99'] > 100
    assert found['core']['p50'] == pytest.approx(50)
    assert found['model']['number'] == 9
    assert found['model_stages']['encode']['p95'] == pytest.approx(30)


def test_the_parts_of_the_latency_add_up():
    found = phase_figures(recording(), begin=0, end=1000 * MS)
    parts = {name: found['depth_latency_made_of'][name]['p50'] for name in STEPS}
    expected = {
        'camera to node': 2, 'intake': 1, 'waiting': 7, 'model': 40, 'copying': 3,
        'depth message': 5, 'node to receiver': 2,
    }  # fmt: skip
    assert parts == pytest.approx(expected)
    assert sum(parts.values()) == pytest.approx(60)


def test_shares_are_of_the_frames_that_were_worked_on():
    found = phase_figures(recording(), begin=0, end=1000 * MS)
    assert found['images'] == 10
    assert found['image_rate'] == pytest.approx(10)
    assert found['worked_on'] == pytest.approx(0.9)
    outputs = found['outputs']
    assert outputs['depth/image']['received'] == 1
    assert outputs['points']['received'] == pytest.approx(6 / 9)
    assert outputs['points']['rate'] == pytest.approx(6)
    assert outputs['sharp/points']['received'] == 1
    assert outputs['/diagnostics']['received'] is None
    assert outputs['/diagnostics']['latency']['p50'] == pytest.approx(3)
    assert outputs['points/clearing'] == {
        'messages': 0, 'received': 0, 'rate': 0, 'latency': None, 'after_publishing': None,
        'may_be_silent': True,
    }  # fmt: skip


def test_images_count_by_their_stamp_not_by_the_arrival_of_results():
    found = phase_figures(recording(), begin=150 * MS, end=450 * MS)
    assert found['images'] == 3
    assert found['worked_on'] == pytest.approx(2 / 3)
    # The second of the two came after the end.
    assert found['outputs']['depth/image']['messages'] == 2
    assert found['outputs']['/diagnostics']['messages'] == 0
    assert found['sharpened'] == 0
    assert found['outputs']['sharp/points']['received'] is None


def test_a_span_without_images_has_no_shares():
    found = phase_figures(recording(), begin=5000 * MS, end=6000 * MS)
    assert found['worked_on'] is None
    assert found['core'] is None
    assert found['outputs']['points']['received'] is None


def test_quantiles_of_nothing():
    assert quantiles([]) is None
    assert quantiles([0.001, 0.003])['p50'] == pytest.approx(2)
