"""Which transports Fast DDS uses between the node, its cameras and its consumers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PROFILES = Path(__file__).with_name('fastdds.xml')
"""Shared memory large enough for images and clouds; it says why."""

PROFILE_BYTES = 16 << 20
"""Of shared memory that a process with these profiles takes."""

TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
PROFILES_FILE = 'FASTDDS_DEFAULT_PROFILES_FILE'
PROFILES_FILE_BEFORE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""What Fast DDS 2 (Jazzy and before) knows; Fast DDS 3 takes it, too, and warns."""

_BEFORE = ('humble', 'iron', 'jazzy')


def chosen_transports(environment: Mapping[str, str]) -> str:
    """What the user has chosen, as NAME=value; empty if nothing."""
    for name in (TRANSPORTS, PROFILES_FILE, PROFILES_FILE_BEFORE):
        if environment.get(name):
            return f'{name}={environment[name]}'
    return ''


def uses_profiles(environment: Mapping[str, str]) -> bool:
    """Whether processes with this environment take `PROFILES`."""
    files = (environment.get(PROFILES_FILE), environment.get(PROFILES_FILE_BEFORE))
    return any(file and Path(file).name == PROFILES.name for file in files)


def transport_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of ROS processes; nothing if the user has chosen."""
    if chosen_transports(environment):
        return {}
    distribution = environment.get('ROS_DISTRO')
    added = {}
    if distribution not in _BEFORE:
        added[PROFILES_FILE] = str(PROFILES)
    if distribution is None or distribution in _BEFORE:
        added[PROFILES_FILE_BEFORE] = str(PROFILES)
    return added
