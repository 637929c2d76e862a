from __future__ import annotations

import json

import pytest
import torch
from recipe_runs import SETTINGS, changes
from tiny import JOINT_DIM, POOLED_DIM, TRANSFORMER, VAE

from lotus2_ros.tools.cli import main
from lotus2_ros.training.recipe import measure
from lotus2_ros.training.recipe.random_base import (
    FLUX_TRANSFORMER,
    FLUX_VAE,
    GUIDED,
    random_base,
)


def tiny_random_base(dtype=torch.float32, *, guided=True):
    return random_base(
        torch.device('cpu'), dtype, guidance_embeds=guided, transformer=TRANSFORMER, vae=VAE,
        text_tokens=8,
    )  # fmt: skip


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('guided', [True, False])
def test_a_random_base_is_made_in_its_precision(dtype, guided):
    before = torch.random.get_rng_state()
    base = tiny_random_base(dtype, guided=guided)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32
    assert {value.dtype for value in base.transformer.parameters()} == {dtype}
    assert all(value.isfinite().all() for value in base.transformer.parameters())
    assert base.transformer.config.guidance_embeds == guided
    assert base.conditioning.prompt.shape == (1, 8, JOINT_DIM)
    assert base.conditioning.pooled.shape == (1, POOLED_DIM)
    latent = base.encode(torch.zeros(1, 3, 32, 48))
    assert latent.shape == (1, 16, 4, 6)
    assert latent.isfinite().all()


def test_flux_shapes_are_those_of_the_published_model():
    from diffusers import AutoencoderKL, FluxTransformer2DModel

    with torch.device('meta'):
        counts = {
            name: sum(v.numel() for v in FluxTransformer2DModel(
                **FLUX_TRANSFORMER, guidance_embeds=guided
            ).parameters())
            for name, guided in GUIDED.items()
        }  # fmt: skip
        vae = sum(value.numel() for value in AutoencoderKL(**FLUX_VAE).parameters())
    # The sizes of the published weight files, in parameters.
    assert counts['black-forest-labs/FLUX.1-dev'] == 11_901_408_320
    assert counts['black-forest-labs/FLUX.1-schnell'] == 11_891_178_560
    assert vae == 83_819_683


@pytest.mark.parametrize(
    ('name', 'cached'), [('core', True), ('sharpener', True), ('sharpener', False)]
)
def test_rows_are_made_of_real_steps(settings, tmp_path, name, cached):
    chosen = settings('batch.total=1', 'batch.per_device=1')
    stage = measure.stage_to_measure(name, tiny_random_base(), chosen, tmp_path, cached=cached)
    before = {key: value.detach().clone() for key, value in stage.parameters().items()}
    rows = list(measure.measure(stage, chosen, (32, 48), [1, 2], [1, 3], 2))
    assert [(row.batch, row.accumulation) for row in rows] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for row in rows:
        assert not row.out_of_memory
        assert row.allocated_gib is None  # not counted on a CPU, and not made up
        samples = row.batch * row.accumulation
        assert row.samples_per_second == pytest.approx(samples / row.seconds_per_step)
    after = stage.parameters()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    if name == 'sharpener':
        assert len(stage.coarse._store) == (2 if cached else 0)


def test_what_does_not_fit_is_said_so(settings, tmp_path):
    chosen = settings('batch.total=1', 'batch.per_device=1')
    stage = measure.stage_to_measure('core', tiny_random_base(), chosen, tmp_path, cached=True)
    genuine = stage.losses

    def losses(trained, batch, place):
        if len(batch.names) > 1:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return genuine(trained, batch, place)

    stage.losses = losses
    fits, too_large, again = measure.measure(stage, chosen, (32, 48), [1, 2, 1], [1], 1)
    assert too_large == measure.Row(2, 1, out_of_memory=True)
    assert 'out of memory' in measure.markdown(too_large)
    assert fits.samples_per_second > 0
    assert again.samples_per_second > 0


def test_the_command_prints_a_table_and_writes_json(tiny_base, tmp_path, capsys):
    out = tmp_path / 'table.json'
    code = main(
        [
            *('train', 'measure', '--stage', 'core', '--batch', '1,2', '--size', '32x48'),
            *('--steps', '1', '--out', str(out), *changes(f'base={tiny_base}', *SETTINGS)),
        ]
    )
    assert code == 0
    assert capsys.readouterr().out.count('\n|') == 3
    about = json.loads(out.read_text())
    assert [row['batch'] for row in about['rows']] == [1, 2]
    assert (about['height'], about['width'], about['rank']) == (32, 48, 4)


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU is taken unasked')
def test_flux_is_not_measured_on_a_cpu_unasked(capsys):
    assert main(['train', 'measure', '--preset', 'flux-dev']) == 1
    assert '11901 million parameters are too slow on a CPU' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('option', 'value'), [('--size', '30x48'), ('--size', 'big'), ('--batch', '0')]
)
def test_a_wrong_option_is_named(tiny_base, capsys, option, value):
    options = changes(f'base={tiny_base}', *SETTINGS)
    assert main(['train', 'measure', option, value, *options]) == 1
    assert f"{option} is '{value}'" in capsys.readouterr().err
