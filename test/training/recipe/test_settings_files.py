from __future__ import annotations

import dataclasses

import pytest
import yaml

from lotus2_ros.errors import SettingsError
from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.settings_files import as_mapping, load_settings, preset_names


def written(tmp_path, text):
    path = tmp_path / 'run.yaml'
    path.write_text(text)
    return path


def test_flux_preset_holds_the_values_of_the_paper():
    settings = load_settings(preset='flux-dev')
    assert settings.base == 'black-forest-labs/FLUX.1-dev'
    assert settings.optimiser.lr == 1e-4
    assert settings.batch.total == 64
    assert settings.rank == 128
    assert load_settings(preset='flux-dev', changes=['task=normals']).rank == 256
    assert not settings.flow.inference_times
    assert not settings.adapter.full


def test_every_preset_is_valid_and_names_a_base():
    assert preset_names() == ['flux-dev', 'flux-schnell', 'nano']
    bases = {name: load_settings(preset=name).base for name in preset_names()}
    assert bases['flux-schnell'] == 'black-forest-labs/FLUX.1-schnell'
    assert bases['nano'] == 'nano'


def test_a_file_changes_a_preset_and_the_command_line_changes_the_file(tmp_path):
    path = written(tmp_path, 'preset: nano\nsteps: 7\noptimiser: {lr: 2e-4, clip: 0}\n')
    settings = load_settings(path, changes=['optimiser.lr=3e-4'])
    assert settings.base == 'nano'
    assert settings.steps == 7
    assert settings.optimiser.clip == 0
    assert settings.optimiser.lr == 3e-4


def test_what_is_written_is_read_back_equal(tmp_path):
    settings = load_settings(
        preset='flux-dev', changes=['data=[{kind: synthetic, size: [32, 48]}]', 'seed=5']
    )
    path = written(tmp_path, yaml.safe_dump(as_mapping(settings)))
    assert load_settings(path) == settings


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('optimizer: {lr: 1}', ('unknown key optimizer', 'optimiser')),
        ('optimiser: {rate: 1}', ('unknown key optimiser.rate', 'known in optimiser: lr')),
        ('optimiser: 3', ('optimiser must hold settings by name',)),
        ('steps: many', ('steps', "'many'", 'a whole number')),
        ('steps: 1.5', ('steps is 1.5', 'a whole number')),
        ('steps: true', ('steps is True', 'a whole number')),
        ('optimiser: {lr: fast}', ('optimiser.lr', "'fast'", 'a number')),
        ('optimiser: {betas: [0.9]}', ('optimiser.betas', 'a list of 2')),
        ('optimiser: {betas: [0.9, x]}', ('optimiser.betas[1]', 'a number')),
        ('checkpointing: 1', ('checkpointing is 1', 'true or false')),
        ('base: 3', ('base is 3', 'text')),
        ('data: {kind: synthetic}', ('data', 'a list')),
        ('data: [synthetic]', ('data[0]', 'settings by name')),
        ('task: depths', ('task', "'depths'", 'depth, normals')),
        ('optimiser: {lr: -1}', ('optimiser.lr is -1.0', 'positive')),
        ('steps: 0', ('steps is 0',)),
        ('preset: huge', ('preset', "'huge'", 'flux-dev')),
        ('[1, 2]', ('must hold settings by name',)),
        ('a: [', ('no YAML',)),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_file(tmp_path, text, parts):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


@pytest.mark.parametrize('change', ['steps', '=3', 'steps.more=1', 'optimiser.lr=', 'seed=[1'])
def test_a_wrong_change_is_refused_by_name(change):
    with pytest.raises(SettingsError, match='--set ' + change.replace('[', r'\[')):
        load_settings(changes=[change])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r'absent\.yaml cannot be read'):
        load_settings(tmp_path / 'absent.yaml')


def test_every_setting_is_documented():
    def check(kind):
        for field in dataclasses.fields(kind):
            assert f'        {field.name}: ' in kind.__doc__, f'{kind.__name__}.{field.name}'
            if dataclasses.is_dataclass(field.default_factory):
                check(field.default_factory)

    check(RecipeSettings)


@pytest.mark.parametrize(
    ('total', 'per_device', 'devices', 'expected'), [(64, 2, 8, 4), (64, 8, 8, 1), (4, 4, 1, 1)]
)
def test_batch_is_accumulated_to_its_total(total, per_device, devices, expected):
    batch = load_settings(changes=[f'batch.total={total}', f'batch.per_device={per_device}']).batch
    assert batch.accumulation(devices) == expected


def test_a_batch_that_cannot_be_shared_out_is_refused():
    batch = load_settings(changes=['batch.total=64', 'batch.per_device=3']).batch
    with pytest.raises(ValueError, match=r'batch\.total 64 is no multiple'):
        batch.accumulation(2)


def test_learning_rate_warms_up_and_follows_its_schedule():
    constant = load_settings(changes=['optimiser.lr=0.5', 'optimiser.warmup=4']).optimiser
    assert [constant.rate(step, 100) for step in range(6)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]
    cosine = load_settings(changes=['optimiser.lr=0.5', 'optimiser.schedule=cosine']).optimiser
    assert cosine.rate(0, 100) == 0.5
    assert cosine.rate(50, 100) == pytest.approx(0.25)
    assert cosine.rate(99, 100) < 0.001
