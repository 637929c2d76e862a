"""No two programs of ours share a ROS domain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.tools import domains
from lotus2_ros.tools.domains import reserve_domain

HOLD = """
import sys
from lotus2_ros.tools.domains import reserve_domain
print(*(reserve_domain() for _ in range(int(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def given_back(monkeypatch):
    """Other tests of this process have theirs; what these take is given back."""
    held = []
    monkeypatch.setattr(domains, '_held', held)
    yield
    for reservation in held:
        reservation.close()


def holder(count: int) -> tuple[subprocess.Popen[str], set[int]]:
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, {int(word) for word in process.stdout.readline().split()}


def test_two_processes_never_share_one():
    process, theirs = holder(20)
    with process:
        ours = {reserve_domain() for _ in range(20)}
        process.stdin.close()
    assert len(theirs) == len(ours) == 20
    assert theirs | ours <= set(range(1, 101))
    assert not theirs & ours


def test_one_is_free_again_when_its_process_is_killed(monkeypatch):
    process, [domain] = holder(1)
    with process:
        # The same place to begin at, so that this domain would be the first.
        monkeypatch.setattr(os, 'getpid', lambda: process.pid)
        before = reserve_domain()
        assert before != domain
        process.send_signal(signal.SIGKILL)
        process.wait()
        domains._held.pop().close()
        assert reserve_domain() == domain


def test_when_all_are_taken_it_says_so(monkeypatch):
    monkeypatch.setattr(domains, '_DOMAINS', range(90, 93))  # others need one meanwhile
    with pytest.raises(Lotus2Error, match='all taken'):
        _ = [reserve_domain() for _ in range(4)]
