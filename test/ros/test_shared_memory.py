from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path

import pytest

from lotus2_ros.ros import shared_memory
from lotus2_ros.ros.shared_memory import NEEDED_BYTES, needed_bytes, shared_memory_problem
from lotus2_ros.ros.transports import (
    PROFILES,
    PROFILES_FILE,
    PROFILES_FILE_BEFORE,
    transport_environment,
)

NOBODY = 65534


def test_enough_room_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / 'fastdds_0123').touch()
    assert shared_memory_problem('rmw_fastrtps_cpp', tmp_path) == ('', '')


def test_too_little_room_is_told_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, 'NEEDED_BYTES', 1 << 60)
    problem, remedy = shared_memory_problem('rmw_fastrtps_cpp', tmp_path)
    assert f'{1 << 50} KiB are needed' in problem
    assert 'remount' in remedy


def test_a_process_with_the_profile_needs_as_much_more_as_the_profile_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (PROFILES_FILE, PROFILES_FILE_BEFORE):
        monkeypatch.delenv(name, raising=False)
    assert needed_bytes() == NEEDED_BYTES
    size = re.search('<segment_size>([0-9]+)</segment_size>', PROFILES.read_text())
    assert size is not None
    for distribution in ('kilted', 'jazzy'):
        with monkeypatch.context() as patch:
            for name, value in transport_environment({'ROS_DISTRO': distribution}).items():
                patch.setenv(name, value)
            assert needed_bytes() == NEEDED_BYTES + int(size[1])


def test_no_folder_is_told(tmp_path: Path) -> None:
    problem, remedy = shared_memory_problem('rmw_fastrtps_cpp', tmp_path / 'none')
    assert 'cannot be used' in problem
    assert 'tmpfs' in remedy


def test_who_does_not_use_it_has_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared_memory_problem('rmw_cyclonedds_cpp', tmp_path / 'none') == ('', '')
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    assert shared_memory_problem('rmw_fastrtps_cpp', tmp_path / 'none') == ('', '')


def _as_nobody(folder: Path, said: multiprocessing.SimpleQueue) -> None:  # type: ignore[type-arg]
    os.setuid(NOBODY)
    said.put(shared_memory_problem('rmw_fastrtps_cpp', folder)[0])


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_files_of_another_user_are_told(tmp_path: Path) -> None:
    folder = tmp_path / 'shm'
    folder.mkdir()
    folder.chmod(0o1777)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    port = folder / 'fastdds_port7411'
    port.touch(0o600)
    port.chmod(0o600)
    context = multiprocessing.get_context('fork')
    said = context.SimpleQueue()
    process = context.Process(target=_as_nobody, args=(folder, said))
    process.start()
    process.join()
    assert 'such as fastdds_port7411' in said.get()
