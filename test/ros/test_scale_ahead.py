"""The thread on which the scale is prepared."""

from __future__ import annotations

import threading
import time

from rig import wait_until

from lotus2_ros.ros.scale_ahead import Ahead


def never(error: Exception) -> None:
    raise error


def test_it_asks_again_until_nothing_is_lacking() -> None:
    answers = iter([False, False, True])
    asked: list[bool] = []

    def prepare() -> bool:
        asked.append(next(answers))
        return asked[-1]

    with Ahead(prepare, never) as ahead:
        time.sleep(0.03)
        assert asked == [], 'nothing has woken it'
        ahead.wake()
        wait_until(lambda: asked == [False, False, True])
        time.sleep(0.03)
        assert len(asked) == 3


def test_who_wakes_it_does_not_wait_for_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def prepare() -> bool:
        begun.set()
        return go_on.wait(10.0)

    with Ahead(prepare, never) as ahead:
        ahead.wake()
        assert begun.wait(10.0)
        start = time.monotonic()
        for _ in range(100):
            ahead.wake()
        assert time.monotonic() - start < 1.0
        go_on.set()


def test_it_ends_while_something_is_still_lacking() -> None:
    before = set(threading.enumerate())
    ahead = Ahead(lambda: False, never)
    ahead.wake()
    time.sleep(0.02)
    ahead.close()
    ahead.close()
    ahead.wake()
    assert set(threading.enumerate()) <= before


def test_what_cannot_be_prepared_is_told_and_ends_nothing() -> None:
    errors: list[Exception] = []
    calls: list[int] = []

    def prepare() -> bool:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError('no good')
        return True

    with Ahead(prepare, errors.append) as ahead:
        ahead.wake()
        wait_until(lambda: len(errors) == 1)
        ahead.wake()
        wait_until(lambda: calls == [0, 1])
    assert [str(error) for error in errors] == ['no good']
