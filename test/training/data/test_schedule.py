from __future__ import annotations

from collections import Counter

import pytest

from lotus2_ros.training.data.schedule import Schedule


def schedule(lengths=(20, 7), weights=(0.9, 0.1), batch_size=3, seed=0, world_size=2):
    return Schedule(lengths, weights, batch_size=batch_size, seed=seed, world_size=world_size)


def first_choices(plan, step, rank):
    dataset = plan.dataset(step)
    return [next(plan.candidates(dataset, slot)) for slot in plan.slots(step, rank)]


def test_datasets_are_drawn_by_weight():
    plan = schedule(weights=(9, 1))
    counts = Counter(plan.dataset(step) for step in range(5000))
    assert counts[0] / 5000 == pytest.approx(0.9, abs=0.02)


def test_a_step_is_the_same_whatever_was_asked_before():
    asked = schedule()
    for step in (2500, 3, 1024, 1023, 0):
        fresh = schedule()
        assert asked.dataset(step) == fresh.dataset(step)
        for rank in range(2):
            assert asked.slots(step, rank) == fresh.slots(step, rank)
            assert first_choices(asked, step, rank) == first_choices(fresh, step, rank)


def test_ranks_draw_different_samples_and_a_pass_draws_none_twice():
    plan = schedule(lengths=(20,), weights=(1,), batch_size=3, world_size=2)
    orders = []
    for epoch in range(3):
        drawn = [
            index
            for step in range(3 * epoch, 3 * epoch + 3)
            for rank in range(2)
            for index in first_choices(plan, step, rank)
        ]
        assert len(set(drawn)) == len(drawn) == 18
        orders.append(tuple(drawn))
    assert len(set(orders)) == 3


def test_a_long_pass_draws_none_twice_either():
    plan = schedule(lengths=(2500, 9), weights=(0.9, 0.1), batch_size=1, world_size=1)
    steps = [step for step in range(2600) if plan.dataset(step) == 0]
    drawn = [first_choices(plan, step, 0)[0] for step in steps]
    assert len(set(drawn)) == len(drawn) > 2200


def test_every_sample_is_drawn_in_the_long_run():
    plan = schedule(lengths=(20,), weights=(1,))
    drawn = {i for step in range(30) for rank in range(2) for i in first_choices(plan, step, rank)}
    assert drawn == set(range(20))


def test_a_small_dataset_is_repeated_evenly():
    plan = schedule(lengths=(4,), weights=(1,), batch_size=3, world_size=2)
    drawn = Counter(
        i for step in range(8) for rank in range(2) for i in first_choices(plan, step, rank)
    )
    assert drawn == dict.fromkeys(range(4), 12)


@pytest.mark.parametrize('lengths', [(20,), (4,), (1,)])
def test_candidates_name_every_sample_once(lengths):
    plan = schedule(lengths=lengths, weights=(1,))
    for step in range(3):
        for slot in plan.slots(step, 1):
            assert sorted(plan.candidates(0, slot)) == list(range(lengths[0]))


def test_replacements_of_a_step_are_different_samples():
    plan = schedule(lengths=(24,), weights=(1,), batch_size=3, world_size=2)
    seconds = []
    for rank in range(2):
        for slot in plan.slots(0, rank):
            candidates = plan.candidates(0, slot)
            next(candidates)
            seconds.append(next(candidates))
    firsts = {i for rank in range(2) for i in first_choices(plan, 0, rank)}
    assert len(set(seconds) - firsts) == 6


def test_half_of_the_samples_are_mirrored_and_seeds_differ():
    plan, other = schedule(), schedule(seed=1)
    slots = [slot for step in range(300) for slot in plan.slots(step, 0)]
    assert sum(slot.flip for slot in slots) / len(slots) == pytest.approx(0.5, abs=0.06)
    assert [plan.dataset(step) for step in range(99)] != [other.dataset(step) for step in range(99)]
    assert first_choices(plan, 0, 0) + first_choices(plan, 1, 0) != first_choices(
        other, 0, 0
    ) + first_choices(other, 1, 0)
