"""Sizes as they are written on the command line."""

from __future__ import annotations

import pytest

from lotus2_ros.errors import SettingsError
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.sizes import parse_size, parse_training_size


def test_cameras_have_the_width_first_and_tensors_the_height():
    assert parse_size('640x480', '--size') == (480, 640)
    assert parse_training_size('480x640') == (480, 640)


@pytest.mark.parametrize('text', ['big', '640', '640x', 'x480', '-640x480', '640x480x3', '6.5x4'])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SettingsError, match=r'--world-size: .* is no size; write width x height'):
        parse_size(text, '--world-size')


@pytest.mark.parametrize('text', ['big', '640', '640x', 'x480', '-64x48', '0x16', '16x0', '100x96'])
def test_sides_of_training_are_multiples_of_16(text):
    with pytest.raises(SettingsError, match=r'--size is .*; write height x width, both multiples'):
        parse_training_size(text)


def test_the_option_that_is_wrong_is_named(capsys):
    assert main(['evaluate', '--occupancy', '--world-size', 'big']) == 1
    assert "--world-size: 'big' is no size" in capsys.readouterr().err
