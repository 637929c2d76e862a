from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    'node': """
from lotus2_ros.ros import main
assert main.main(['depth_node', '--ros-args', '-p', 'no_such_parameter:=1']) == 1
""",
    'receiver': """
from lotus2_ros.ros.latency_listener import LatencyListener
from lotus2_ros.tools.domains import reserve_domain
LatencyListener('/depth_node', '/camera_info', (), domain=reserve_domain()).close()
""",
}


@pytest.mark.parametrize('program', PROGRAMS)
def test_a_thread_waits_less_than_a_millisecond_for_pythons_lock(program: str) -> None:
    code = f'import sys\n{PROGRAMS[program]}\nprint(sys.getswitchinterval())'
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 1e-3
