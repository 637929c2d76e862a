"""The Fast DDS profile: read without complaint, and shared memory is as large as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lotus2_ros.ros.transports import (
    PROFILES,
    PROFILES_FILE,
    PROFILES_FILE_BEFORE,
    TRANSPORTS,
    chosen_transports,
    transport_environment,
)
from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1 << 20

# A node, and the sizes of all shared memory of Fast DDS that is mapped.
MAPPED = """
import re, rclpy
rclpy.init()
node = rclpy.create_node('one')
for line in open('/proc/self/maps'):
    if re.search('/dev/shm/fast(dds|rtps)_[0-9a-f]+$', line.strip()):
        begin, end = line.split()[0].split('-')
        print(int(end, 16) - int(begin, 16))
"""


def mapped(added: dict[str, str]) -> tuple[int, str]:
    """The largest shared memory of a node, and what it complained of."""
    environment = {n: v for n, v in os.environ.items() if n not in chosen_names()}
    environment['ROS_DOMAIN_ID'] = str(reserve_domain())
    done = subprocess.run(
        [sys.executable, '-c', MAPPED], env=environment | added, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return max(map(int, done.stdout.split())), done.stderr


def chosen_names() -> tuple[str, ...]:
    return TRANSPORTS, PROFILES_FILE, PROFILES_FILE_BEFORE


def test_shared_memory_holds_all_outputs_of_an_image():
    small, _ = mapped({})
    large, complaints = mapped(transport_environment({}))
    assert small < MEBIBYTE
    assert large > 16 * MEBIBYTE
    assert 'XML' not in complaints.replace(PROFILES.name, '')


@pytest.mark.parametrize(
    ('distribution', 'names'),
    [
        ('jazzy', [PROFILES_FILE_BEFORE]),
        ('kilted', [PROFILES_FILE]),
        ('rolling', [PROFILES_FILE]),
        (None, [PROFILES_FILE, PROFILES_FILE_BEFORE]),
    ],
)
def test_the_variable_is_the_one_that_the_distribution_knows(distribution, names):
    environment = {} if distribution is None else {'ROS_DISTRO': distribution}
    assert transport_environment(environment) == dict.fromkeys(names, str(PROFILES))


@pytest.mark.parametrize('name', chosen_names())
def test_what_the_user_has_chosen_stays(name):
    assert transport_environment({name: 'own'}) == {}
    assert chosen_transports({name: 'own'}) == f'{name}=own'
    assert chosen_transports({name: ''}) == ''
