from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from lotus2_ros.ros.lanes import Lane

PATIENCE_S = 30.0


class Log:
    """What happened, in order; work of the name 'slow' waits until it is let go."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def work(self, name: str) -> tuple[Callable[[], None], Callable[[], None]]:
        def run() -> None:
            if name == 'slow':
                self.begun.set()
                assert self.go.wait(PATIENCE_S)
            if name == 'broken':
                raise ValueError('broken')
            self.said.append(name)

        return run, lambda: self.said.append(f'{name} given up')


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def lane(log: Log) -> Iterator[Lane]:
    with Lane('test', lambda error: log.said.append(str(error))) as made:
        yield made
        log.go.set()


def blocked(lane: Lane, log: Log) -> None:
    lane.put('core', *log.work('slow'))
    assert log.begun.wait(PATIENCE_S)


def finish(lane: Lane, log: Log) -> None:
    """Let go and wait for all that waits."""
    ended = threading.Event()
    lane.put('last', ended.set, lambda: None)
    log.go.set()
    assert ended.wait(PATIENCE_S)


def test_newer_work_replaces_what_waits_of_its_kind_only(lane: Lane, log: Log) -> None:
    blocked(lane, log)
    for name in ('one', 'two'):
        lane.put('core', *log.work(name))
    lane.put('sharp ', *log.work('sharp'))
    lane.put('core', *log.work('three'))
    assert log.said == ['one given up', 'two given up']
    finish(lane, log)
    # The sharp one waited longest: a kind that comes often does not hold up a rare one.
    assert log.said[2:] == ['slow', 'sharp', 'three']


def test_work_that_fails_is_told_and_the_lane_goes_on(lane: Lane, log: Log) -> None:
    blocked(lane, log)
    lane.put('core', *log.work('broken'))
    lane.put('sharp ', *log.work('next'))
    finish(lane, log)
    assert log.said == ['slow', 'broken', 'next']


def test_closing_ends_what_is_under_way_and_gives_up_the_rest(lane: Lane, log: Log) -> None:
    blocked(lane, log)
    lane.put('core', *log.work('waiting'))
    closing = threading.Thread(target=lane.close)
    closing.start()
    log.go.set()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert set(log.said) == {'waiting given up', 'slow'}
    lane.put('core', *log.work('late'))
    assert log.said[-1] == 'late given up'
    lane.close()
