"""The simulated robot's settings, as a user writes them."""

from __future__ import annotations

import argparse

import pytest

from lotus2_ros.errors import SettingsError
from lotus2_ros.tools.robot_arguments import add_robot_argument, robot_settings


def test_the_option_may_be_given_again():
    parser = argparse.ArgumentParser()
    add_robot_argument(parser, only='--world')
    assert robot_settings(parser.parse_args([]).robot) == robot_settings([])
    args = parser.parse_args(['--robot', 'width=160', '--robot', 'seed=7'])
    settings = robot_settings(args.robot)
    assert (settings.width, settings.seed) == (160, 7)
    assert 'parameter of sim_robot, with --world,' in ' '.join(parser.format_help().split())


def test_settings_of_the_robot_are_read_by_their_type():
    pairs = ['distortion=-0.2', 'shadows=false', 'lidar=64', 'width=160', 'lidar_rate_hz=1']
    settings = robot_settings(pairs, camera_rate_hz=2.0, lidar_rate_hz=2.0)
    assert (settings.distortion, settings.shadows, settings.lidar) == (-0.2, False, '64')
    assert (settings.width, settings.camera_rate_hz, settings.lidar_rate_hz) == (160, 2.0, 1.0)


@pytest.mark.parametrize(
    ('pair', 'said'),
    [
        ('distortion', 'NAME=VALUE'),
        ('distorsion=1', 'distorsion'),
        ('shadows=no', 'true, false'),
        ('width=wide', 'width must be int'),
        ('distortion=3', 'distortion is 3.0'),
    ],
)
def test_what_the_robot_cannot_use_is_named(pair, said):
    with pytest.raises(SettingsError, match=said):
        robot_settings([pair])
