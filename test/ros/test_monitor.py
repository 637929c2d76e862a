from __future__ import annotations

import pytest

from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.problems import REPEAT_S, ProblemLog


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_count_the_last_seconds_and_fall_to_zero() -> None:
    time = FakeTime()
    monitor = Monitor(time)
    for _ in range(50):
        monitor.event('input')
        time.now += 0.1
    assert monitor.snapshot().rates['input'] == pytest.approx(10.0, abs=0.3)
    time.now += 6.0
    assert monitor.snapshot().rates['input'] == 0.0
    assert monitor.snapshot().ages['input'] == pytest.approx(6.1)


def test_latencies_are_median_and_95th_percentile() -> None:
    monitor = Monitor()
    monitor.durations([('core', i / 100) for i in range(101)])
    assert monitor.snapshot().latencies['core'] == (pytest.approx(0.5), pytest.approx(0.95))


def test_a_problem_has_an_age_and_ends() -> None:
    time = FakeTime()
    monitor = Monitor(time)
    monitor.input_problem('bad')
    time.now += 3.0
    monitor.input_problem('worse')
    assert monitor.snapshot().problem == 'worse'
    assert monitor.snapshot().problem_age == pytest.approx(3.0)
    monitor.input_problem('')
    assert monitor.snapshot().problem == ''


def test_a_lasting_condition_is_logged_once_per_change_and_again_much_later() -> None:
    time = FakeTime()
    lines: list[str] = []
    log = ProblemLog(lines.append, time)
    for text in ['a', 'a', '', 'a', 'b', 'b']:
        log.report(text)
        time.now += 0.1
    assert lines == ['a', 'b']
    time.now += REPEAT_S
    log.report('b')
    assert lines == ['a', 'b', 'b']
