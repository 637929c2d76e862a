from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus2_ros.ros.robot_schedule import Schedule, Stream


class Day:
    """A clock, and a diary of what happened at which time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.diary: list[tuple[str, float]] = []

    def clock(self) -> float:
        return self.now

    def note(self, name: str, takes: float = 0.0) -> Callable[[float], None]:
        def act(at: float) -> None:
            self.diary.append((name, round(at, 6)))
            self.now += takes

        return act

    def pass_to(self, end: float, schedule: Schedule) -> None:
        while self.now < end:
            schedule.work()
            self.now += 0.01

    def times(self, name: str) -> list[float]:
        return [at for what, at in self.diary if what == name]


def test_each_stream_happens_at_whole_multiples_of_its_period() -> None:
    day = Day()
    camera = Stream('camera', 2.0, day.note('camera'))
    imu = Stream('imu', 4.0, day.note('imu'), light=True)
    silent = Stream('silent', 0.0, day.note('silent'))
    day.pass_to(1.05, Schedule(camera, [imu, silent], day.clock))
    assert day.times('camera') == [0.5, 1.0]
    assert day.times('imu') == [0.25, 0.5, 0.75, 1.0]
    assert day.times('silent') == []


def test_late_light_streams_are_made_up_for_in_order_and_late_heavy_ones_left_out() -> None:
    day = Day()
    camera = Stream('camera', 10.0, day.note('camera', takes=0.45))
    light = [Stream(name, 10.0, day.note(name), light=True) for name in ('imu', 'odometry')]
    day.pass_to(1.5, Schedule(camera, light, day.clock))
    assert day.times('imu') == pytest.approx([0.1 * i for i in range(1, len(day.times('imu')) + 1)])
    assert len(day.times('imu')) >= 14
    assert 3 <= len(day.times('camera')) <= 4
    of_light = [at for what, at in day.diary if what != 'camera']
    assert of_light == sorted(of_light)


def test_heavy_streams_of_the_leader_s_rate_happen_at_its_times_only() -> None:
    day = Day()
    camera = Stream('camera', 10.0, day.note('camera', takes=0.25))
    depth = Stream('depth', 10.0, day.note('depth'))
    lidar = Stream('lidar', 10.0, day.note('lidar'), delay=0.1)
    other = Stream('other', 1.0, day.note('other'))
    day.pass_to(3.0, Schedule(camera, [depth, lidar, other], day.clock))
    assert len(day.times('camera')) < 20
    assert set(day.times('depth')) <= set(day.times('camera'))
    assert set(day.times('lidar')) <= set(day.times('camera'))
    assert len(day.times('depth')) >= len(day.times('camera')) - 1
    assert day.times('other') == [1.0, 2.0]


def test_streams_that_miss_their_rates_are_named_once_a_period() -> None:
    day = Day()
    camera = Stream('camera', 10.0, day.note('camera', takes=0.5))
    imu = Stream('imu', 5.0, day.note('imu'), light=True)
    schedule = Schedule(camera, [imu], day.clock)
    day.pass_to(9.0, schedule)
    assert schedule.too_slow(10.0) == []
    day.pass_to(10.1, schedule)
    [slow] = schedule.too_slow(10.0)
    assert slow.startswith('camera 1.')
    assert slow.endswith('of 10 Hz')
    assert schedule.too_slow(10.0) == []


def test_a_late_stream_leaves_out_what_is_too_old_unless_it_is_light() -> None:
    heavy = Stream('camera', 5.0, print)
    light = Stream('imu', 50.0, print, light=True)
    lidar = Stream('lidar', 5.0, print, delay=0.1)
    assert (heavy.due, light.due, lidar.due) == (0.2, 0.02, 0.2 + 0.1)
    heavy.advance(1.05)
    assert heavy.time == 1.0
    light.advance(0.9)
    assert light.time == 0.04
    light.advance(3.0)
    assert light.time == 2.0
    lidar.advance(0.31)
    assert lidar.time == 0.4
    follower = Stream('lidar', 5.0, print, delay=0.1, follows=True, count=7)
    assert follower.due == 1.4 + 0.1
    follower.advance(3.0)
    assert follower.due == float('inf')  # until the camera's next image
