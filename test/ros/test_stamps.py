from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lotus2_ros.ros.stamps import FUTURE_TOLERANCE_NS, STAMP_REMEDY, StampGate

SECOND = 1_000_000_000
NOW = 1000 * SECOND


def verdict(gate: StampGate, stamp_ns: int, *, now_ns: int = NOW, max_age_s: float = 2.0):
    return gate.reject(stamp_ns // SECOND, stamp_ns % SECOND, now_ns=now_ns, max_age_s=max_age_s)


def test_stamps_that_grow_are_accepted() -> None:
    gate = StampGate()
    assert [verdict(gate, NOW - 5 + i) for i in range(5)] == [None] * 5


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'cause'),
    [
        (0, 0, 'zero stamp'),
        (999, SECOND, 'invalid stamp'),
        (-1, 5, 'invalid stamp'),
        (1000, FUTURE_TOLERANCE_NS + 1, 'future stamp'),
        (997, 999_999_999, 'old stamp'),
    ],
)
def test_unusable_stamps_are_named(sec: int, nanosec: int, cause: str) -> None:
    assert StampGate().reject(sec, nanosec, now_ns=NOW, max_age_s=2.0) == cause
    assert STAMP_REMEDY[cause]


def test_any_age_is_accepted_when_asked_for() -> None:
    assert verdict(StampGate(), 1, max_age_s=0.0) is None


def test_simulated_time_that_has_not_begun_is_named_as_such() -> None:
    assert verdict(StampGate(), NOW, now_ns=0) == 'no clock'


def test_the_same_image_twice_and_a_late_packet_are_dropped() -> None:
    gate = StampGate()
    assert verdict(gate, NOW) is None
    assert verdict(gate, NOW) == 'duplicate stamp'
    assert verdict(gate, NOW - SECOND // 2) == 'out of order'
    assert gate.clock_resets == 0


def test_a_camera_whose_clock_restarts_is_followed() -> None:
    gate = StampGate()
    assert verdict(gate, NOW, max_age_s=0.0) is None
    assert verdict(gate, NOW - 100 * SECOND, max_age_s=0.0) is None
    assert gate.clock_resets == 1


def test_a_reset_makes_an_old_stamp_new() -> None:
    gate = StampGate()
    assert verdict(gate, NOW) is None
    gate.reset()
    assert verdict(gate, NOW - SECOND // 2) is None
    assert gate.clock_resets == 0


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine drawing may be
@given(st.lists(st.integers(1, 2 * NOW), max_size=30))
def test_no_accepted_stamp_lies_in_the_future_or_beyond_the_limit(stamps: list[int]) -> None:
    gate = StampGate()
    for stamp in stamps:
        if verdict(gate, stamp) is None:
            assert NOW - 2 * SECOND <= stamp <= NOW + FUTURE_TOLERANCE_NS
