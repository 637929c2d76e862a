"""The options that say which model runs where, as subcommands hand them to the predictor."""

from __future__ import annotations

import argparse

import pytest
import torch

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.settings import ModelSettings
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.model_arguments import (
    add_judged_model_arguments,
    add_model_arguments,
    load_judged,
    model_settings,
)
from lotus2_ros.types import DEPTH, TASKS

CHANGED = {
    'base': 'flux',
    'device': 'cuda:1',
    'sharpener_device': 'cuda:2',
    'precision': 'fp8',
    'acceleration': 'on',
    'text_merging': 0.5,
    'cpu_threads': 3,
}


def judged(*words):
    parser = argparse.ArgumentParser()
    add_judged_model_arguments(parser)
    return parser.parse_args(words)


def test_every_option_is_the_setting_of_its_name():
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    assert model_settings(parser.parse_args([])) == ModelSettings()
    words = ['--model', 'mine', '--tasks', DEPTH, '--max-side', '64']
    for name, value in CHANGED.items():
        option = 'threads' if name == 'cpu_threads' else name.replace('_', '-')
        words += [f'--{option}', str(value)]
    found = model_settings(parser.parse_args(words))
    assert found == ModelSettings(model='mine', tasks=(DEPTH,), max_side=64, **CHANGED)


def test_normals_may_have_a_device_of_their_own():
    found = ModelSettings.from_mapping({'normals_device': 'cuda:1'})
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    assert model_settings(parser.parse_args(['--normals-device', 'cuda:1'])) == found


def test_a_judged_model_is_loaded_where_and_how_options_say():
    words = ('--device', 'cpu', '--precision', 'bfloat16', '--acceleration', 'on')
    info = load_judged(judged(*words), sharpener=False).info()
    assert (info['device'], info['precision'], info['acceleration']) == ('cpu', 'bfloat16', 'on')
    assert (info['tasks'], info['sharpener']) == (list(TASKS), False)


def test_a_judged_model_has_the_tasks_and_threads_that_are_asked_for():
    before = torch.get_num_threads()
    try:
        predictor = load_judged(judged('nano', '--threads', '2'), tasks=(DEPTH,), sharpener=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    info = predictor.info()
    assert (info['tasks'], info['sharpener']) == ([DEPTH], True)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--base', '/nowhere/flux'], '/nowhere/flux'),
        (['--text-merging', '0.1', '--device', 'cpu'], 'text_merging is 0.1'),
        (['--threads', '-1'], 'cpu_threads'),
    ],
)
def test_what_a_judged_model_cannot_be_is_said(words, message):
    with pytest.raises(Lotus2Error, match=message):
        load_judged(judged(*words), sharpener=False)


@pytest.mark.parametrize('what', [[], ['--occupancy'], ['--scale']])
def test_each_evaluation_loads_the_model_that_is_named(what, capsys):
    assert main(['evaluate', '/nowhere/model', '--device', 'cpu', *what]) == 1
    assert '/nowhere/model' in capsys.readouterr().err
