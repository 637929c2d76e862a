"""Predictors of random weights, as the benchmark draws them, at tiny size."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import TEXT_TOKENS, TRANSFORMER, VAE

from lotus2_ros.errors import SettingsError
from lotus2_ros.model.inference.fast.text_merging import ROWS_TOGETHER
from lotus2_ros.settings import ModelSettings
from lotus2_ros.tools.random_layouts import RANDOM_LAYOUTS
from lotus2_ros.tools.random_predictor import random_predictor


def predictor(model='random-merged', *, sharpener=True, **settings):
    chosen = ModelSettings.from_mapping({'model': model, 'device': 'cpu', **settings})
    return random_predictor(
        chosen, sharpener=sharpener, transformer=TRANSFORMER, vae=VAE, text_tokens=TEXT_TOKENS
    )


def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize('model', RANDOM_LAYOUTS)
@pytest.mark.parametrize(
    ('precision', 'acceleration'),
    [('float32', 'off'), ('bfloat16', 'off'), ('bfloat16', 'on'), ('fp8', 'on'), ('int8', 'on')],
)
def test_runs_in_every_mode_and_is_the_same_each_time(model, precision, acceleration):
    results = [
        predictor(model, precision=precision, acceleration=acceleration).predict(
            image(), sharpen_steps=2
        )
        for _ in range(2)
    ]
    first, second = results
    assert np.isfinite(first.disparity).all()
    assert first.disparity.std() > 1e-4
    assert first.disparity.tobytes() == second.disparity.tobytes()
    assert first.normals.tobytes() == second.normals.tobytes()


def test_only_the_shared_layout_shares_its_base():
    for model, shared in RANDOM_LAYOUTS.items():
        tasks = predictor(model)._stages.model.tasks
        depth, normals = tasks['depth'], tasks['normals']
        weights = [
            network.doubles[0].image.out.weight.data_ptr()
            for network in (
                depth.core_transformer,
                depth.sharpener_transformer,
                normals.core_transformer,
                normals.sharpener_transformer,
            )
        ]
        assert len(set(weights)) == (1 if shared else 4)
        common = {
            network.core_transformer.singles[0].up.weight.data_ptr() for network in tasks.values()
        }
        assert len(common) == 1


def test_ranks_of_differences_are_those_of_the_published_adapters():
    tasks = predictor('random-shared')._stages.model.tasks
    sizes = {
        name: [
            len(network.doubles[0].image.out.down)
            for network in (tasks[name].core_transformer, tasks[name].sharpener_transformer)
            if hasattr(network.doubles[0].image.out, 'down')
        ]
        for name in tasks
    }
    assert sizes == {'depth': [256], 'normals': [384, 384]}


def test_what_is_not_wanted_is_not_there():
    made = predictor(sharpener=False, tasks=('normals',))
    assert made.tasks == ('normals',)
    with pytest.raises(SettingsError, match='sharpener is not loaded'):
        made.predict(image(), sharpen_steps=1)


@pytest.mark.parametrize('precision', ['fp8', 'int8'])
def test_eight_bits_need_acceleration(precision):
    with pytest.raises(SettingsError, match=precision):
        predictor(precision=precision, acceleration='off')


def test_text_is_padding_that_can_be_merged():
    whole = predictor(acceleration='on')
    merged = predictor(acceleration='on', text_merging=0.05)
    assert (whole.info()['text_tokens'], merged.info()['text_tokens']) == (
        TEXT_TOKENS,
        ROWS_TOGETHER,
    )
    found, expected = (p.predict(image()).disparity for p in (merged, whole))
    assert 0 < np.linalg.norm(found - expected) < 1e-2 * np.linalg.norm(expected)


def test_merging_text_needs_acceleration():
    with pytest.raises(SettingsError, match='text_merging'):
        predictor(acceleration='off', text_merging=0.05)
