"""`lotus2 train`: which programs there are, and how they fail."""

from __future__ import annotations

import argparse

import pytest
from recipe_runs import SETTINGS, changes

from lotus2_ros.tools import train
from lotus2_ros.tools.cli import main
from lotus2_ros.training.settings import TrainingSettings


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(arguments)


def test_nano_takes_the_recipe_of_its_own():
    args = parsed('nano', '--out', 'x', '--batch', '7', '--core-steps', '5', '--no-compile')
    settings = train.settings_from(args)
    assert isinstance(settings, TrainingSettings)
    assert (settings.batch, settings.core.steps, settings.compiled) == (7, 5, False)
    assert settings.sharpener == TrainingSettings().sharpener


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('edge_weight', 0.25),
        ('edge_radius', 2),
        ('overlap_weight', 3.0),
        ('own_state_share', 0.75),
        ('far_off_weight', 2.0),
        ('reuse', 9.0),
        ('normals_every', 6),
        ('truth_share', 0.125),
    ],
)
def test_every_number_of_nanos_recipe_is_taken(option, value):
    assert getattr(TrainingSettings(), option) != value
    args = parsed('nano', '--out', 'x', f'--{option.replace("_", "-")}', str(value))
    assert getattr(train.settings_from(args), option) == value


def test_the_share_of_wide_pictures_is_taken():
    default = train.settings_from(parsed('nano', '--out', 'x'))
    assert default.size_weights == TrainingSettings().size_weights
    chosen = train.settings_from(parsed('nano', '--out', 'x', '--wide-share', '0.125'))
    assert chosen.size_weights == (0.875, 0.125)


def test_the_cores_schedule_is_taken():
    core = train.settings_from(parsed('nano', '--out', 'x')).core
    assert core == TrainingSettings().core
    options = ('--core-cycles', '3', '--core-share', '0.25', '--core-rate', '0.75')
    core = train.settings_from(parsed('nano', '--out', 'x', *options)).core
    assert (core.cycles, core.share, core.rate) == (3, 0.25, 0.75)


def test_means_with_nothing_are_refused(tmp_path, capsys):
    assert main(['train', 'nano', '--out', str(tmp_path), '--core-cycles', '2']) == 1
    assert 'give --start' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--core-share', '--wide-share'])
@pytest.mark.parametrize('share', ['-0.1', '1.1', 'nan'])
def test_a_share_is_between_nothing_and_all(tmp_path, capsys, option, share):
    assert main(['train', 'nano', '--out', str(tmp_path), f'{option}={share}']) == 1
    assert f'{option} is {share}; allowed: 0 to 1' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [[], ['everything'], ['core'], ['sharpener', '--steps', '3']])
def test_a_wrong_command_line_is_refused(arguments):
    with pytest.raises(SystemExit) as caught:
        main(['train', *arguments])
    assert caught.value.code == 2


def test_an_error_is_one_line(tiny_base, tmp_path, capsys):
    options = changes(f'base={tiny_base}', *SETTINGS)
    assert main(['train', 'sharpener', '--out', str(tmp_path / 'x'), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith('lotus2 train: error: core: the sharpener stage refines')
    assert error.count('\n') == 1


def test_a_run_ends_with_a_model(tiny_base, tmp_path, capsys):
    out = tmp_path / 'run'
    options = changes(f'base={tiny_base}', *SETTINGS, 'steps=2')
    assert main(['train', 'core', '--out', str(out), '--quiet', *options]) == 0
    assert f'finished; model in {out / "model"}' in capsys.readouterr().out
    assert (out / 'config.yaml').is_file()
    # What was resolved is itself a configuration.
    more = ['--set', 'steps=3', '--quiet', '--out', str(out)]
    assert main(['train', 'core', '--config', str(out / 'config.yaml'), *more]) == 0
    assert 'going on from step 2' in capsys.readouterr().out
