from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lotus2_ros.errors import WorkerError
from lotus2_ros.worker.ledger import FrameLedger
from lotus2_ros.worker.ring import IMAGE_SLOTS


class LedgerMachine(RuleBasedStateMachine):
    """Any order of commits, answers and growth: no slot is lost, none is given twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = FrameLedger(4)
        self.now_s = 0.0
        self.waiting: dict[int, tuple[int, int]] = {}
        self.answered: set[int] = set()
        self.rings: list[int] = []

    def teardown(self) -> None:
        # Hypothesis keeps the machine; the rings must not stay mapped in the tests after this one.
        del self.ledger

    @rule(height=st.integers(1, 100), width=st.integers(1, 100), commit=st.booleans())
    def write(self, height: int, width: int, commit: bool) -> None:
        grown = self.ledger.grow(height, width)
        if grown is not None:
            os.close(grown[1])
            self.rings.append(grown[0].number)
        view = self.ledger.begin(height, width)
        in_current = [s for r, s in self.waiting.values() if r == self.rings[-1]]
        assert (view is None) == (len(in_current) == IMAGE_SLOTS + 1)
        if view is None or not commit:
            return
        assert view.shape == (height, width, 3)
        self.now_s += 1.0
        entry = self.ledger.commit('context', self.now_s)
        assert (entry.ring, entry.slot) not in self.waiting.values()
        self.waiting[entry.sequence] = entry.ring, entry.slot

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
