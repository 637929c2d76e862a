from __future__ import annotations

import pytest

from lotus2_ros.worker.restart_budget import RestartBudget


def test_delays_double_from_a_fifth_of_a_second() -> None:
    budget = RestartBudget(5)
    assert [budget.next_delay_s(0.0) for _ in range(5)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2])


def test_the_budget_ends() -> None:
    budget = RestartBudget(2)
    budget.next_delay_s(0.0)
    budget.next_delay_s(10.0)
    assert budget.next_delay_s(20.0) is None


def test_no_restarts_allowed_means_none() -> None:
    assert RestartBudget(0).next_delay_s(1000.0) is None


def test_a_minute_of_service_forgives() -> None:
    budget = RestartBudget(1)
    assert budget.next_delay_s(0.0) == pytest.approx(0.2)
    assert budget.next_delay_s(59.9) is None
    assert budget.next_delay_s(60.0) == pytest.approx(0.2)


def test_a_worker_that_is_never_ready_is_not_restarted_for_ever() -> None:
    budget = RestartBudget(3)
    delays = [budget.next_delay_s(0.0) for _ in range(4)]
    assert delays[-1] is None


def test_delays_are_bounded() -> None:
    budget = RestartBudget(100)
    delays = [budget.next_delay_s(0.0) for _ in range(100)]
    assert max(d for d in delays if d is not None) == pytest.approx(10.0)
