from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lotus2_ros.errors import WorkerError
from lotus2_ros.worker.ledger import FrameLedger
from lotus2_ros.worker.ring import FURTHER_SLOTS, IMAGE_SLOTS

STREAMS = 3


class LedgerMachine(RuleBasedStateMachine):
    """Any order of commits, answers and growth: no slot is lost, none is given twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = FrameLedger(4, STREAMS)
        self.now_s = 0.0
        self.waiting: dict[int, tuple[int, int]] = {}
        self.streams: dict[int, int] = {}
        self.answered: set[int] = set()
        self.rings: list[int] = []

    def teardown(self) -> None:
        # Hypothesis keeps the machine; the rings must not stay mapped in the tests after this one.
        del self.ledger

    @rule(
        height=st.integers(1, 100),
        width=st.integers(1, 100),
        stream=st.integers(0, STREAMS - 1),
        commit=st.booleans(),
    )
    def write(self, height: int, width: int, stream: int, commit: bool) -> None:
        grown = self.ledger.grow(height, width)
        if grown is not None:
            os.close(grown[1])
            self.rings.append(grown[0].number)
        view = self.ledger.begin(height, width, stream)
        held = [self.streams[n] for n, (r, _) in self.waiting.items() if r == self.rings[-1]]
        free = IMAGE_SLOTS + FURTHER_SLOTS * (STREAMS - 1) - len(held)
        owed = [max(0, FURTHER_SLOTS - held.count(n)) for n in range(STREAMS)]
        assert (view is None) == (free == sum(owed) - owed[stream])
        if view is None or not commit:
            return
        assert view.shape == (height, width, 3)
        self.now_s += 1.0
        entry = self.ledger.commit('context', self.now_s)
        assert (entry.ring, entry.slot) not in self.waiting.values()
        self.waiting[entry.sequence] = entry.ring, entry.slot
        self.streams[entry.sequence] = stream

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.ledger.answer(sequence).context == 'context'
        del self.waiting[sequence]
        self.answered.add(sequence)
        with pytest.raises(WorkerError, match='twice'):
            self.ledger.answer(sequence)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.answered)))
        self.ledger.retire(sequence)
        self.answered.remove(sequence)
        with pytest.raises(WorkerError, match='unknown frame'):
            self.ledger.frame(sequence)

    @precondition(lambda self: len(self.rings) > 1)
    @rule()
    def release_oldest_ring(self) -> None:
        oldest = self.rings[0]
        if any(ring == oldest for ring, _ in self.waiting.values()):
            with pytest.raises(WorkerError, match='in use'):
                self.ledger.release_ring(oldest)
        else:
            self.ledger.release_ring(oldest)
            self.rings.pop(0)

    @invariant()
    def busy_exactly_while_answers_are_owed(self) -> None:
        assert (self.ledger.busy_since_s is None) == (not self.waiting)
        assert {entry.sequence for entry in self.ledger.waiting()} == set(self.waiting)


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedger = LedgerMachine.TestCase


def test_a_worker_that_speaks_of_unknown_things_is_refused() -> None:
    ledger = FrameLedger(4)
    for call in (ledger.answer, ledger.retire, ledger.frame, ledger.ring, ledger.release_ring):
        with pytest.raises(WorkerError, match='unknown'):
            call(3)


def test_a_frame_must_be_begun_before_it_is_committed() -> None:
    with pytest.raises(WorkerError, match='begin_frame'):
        FrameLedger(4).commit(None, 0.0)


def test_a_fast_stream_leaves_slots_to_a_slow_one() -> None:
    ledger = FrameLedger(4, 2)
    grown = ledger.grow(10, 10)
    assert grown is not None
    os.close(grown[1])

    def commit(stream: int) -> bool:
        if ledger.begin(10, 10, stream) is None:
            return False
        ledger.commit(None, 0.0)
        return True

    assert [commit(0) for _ in range(6)] == [True] * IMAGE_SLOTS + [False] * 2
    assert [commit(1) for _ in range(3)] == [True] * FURTHER_SLOTS + [False]
    ledger.answer(1)
    assert [commit(1), commit(0)] == [True, False], 'there is one ring'


def test_two_fast_streams_leave_slots_to_a_slow_one() -> None:
    ledger = FrameLedger(4, 3)
    grown = ledger.grow(10, 10)
    assert grown is not None
    os.close(grown[1])
    for _ in range(9):
        for fast in (0, 1):
            if ledger.begin(10, 10, fast) is not None:
                ledger.commit(None, 0.0)
    for _ in range(FURTHER_SLOTS):
        assert ledger.begin(10, 10, 2) is not None
        ledger.commit(None, 0.0)
    assert ledger.begin(10, 10, 2) is None
