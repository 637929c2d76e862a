"""Held-out scenes kept in a file, rendered by several processes, and the ablation on them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_stages import TINY

from lotus2_ros.training import settings as training_settings
from lotus2_ros.training.evaluation.boundary import boundary_score
from lotus2_ros.training.evaluation.built_in import HeldOut
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.evaluation.normal_metrics import normal_angles
from lotus2_ros.training.held_out import held_out_scenes
from lotus2_ros.training.held_out_file import (
    HeldOutFileError,
    kept_scenes,
    read_held_out,
    write_held_out,
)
from lotus2_ros.training.held_out_rendering import rendered_together

SIZE = {'height': 32, 'width': 48}


@pytest.fixture(scope='module')
def scenes():
    return list(held_out_scenes(5, **SIZE))


def test_processes_render_the_same_scenes(scenes):
    shared = rendered_together(5, processes=2, **SIZE)
    assert len(shared) == 5
    for own, other in zip(scenes, shared, strict=True):
        assert np.abs(own.rgb.astype(int) - other.rgb).max() <= 1
        np.testing.assert_allclose(own.depth, other.depth, rtol=1e-4)
        assert np.array_equal(own.valid, other.valid)


def test_a_file_gives_the_same_figures(scenes, tmp_path):
    path = tmp_path / 'held.npz'
    write_held_out(path, scenes)
    rng = np.random.default_rng(0)
    for own, kept in zip(scenes, read_held_out(path, 5, **SIZE), strict=True):
        assert np.array_equal(own.rgb, kept.rgb)
        assert np.array_equal(own.valid, kept.valid)
        assert np.array_equal(own.surface, kept.surface)
        assert np.array_equal(np.isinf(own.depth), np.isinf(kept.depth))
        if not own.valid.any():
            continue
        predicted = np.where(own.valid, own.depth, 1) * rng.uniform(0.8, 1.3, own.depth.shape)
        first, second = (depth_errors(predicted, s.depth, s.valid) for s in (own, kept))
        assert first.abs_rel == pytest.approx(second.abs_rel, abs=1e-4)
        edges = [boundary_score(predicted, s.depth, s.valid).f1 for s in (own, kept)]
        assert edges[0] == pytest.approx(edges[1], abs=2e-3)
        normals = own.normals + 0.2 * rng.normal(size=own.normals.shape)
        angles = [normal_angles(normals, s.normals, s.surface).mean() for s in (own, kept)]
        assert angles[0] == pytest.approx(angles[1], abs=1e-3)


def test_the_benchmark_writes_the_file_once_and_names_it(scenes, tmp_path):
    path = tmp_path / 'new' / 'held.npz'
    benchmark = HeldOut(1, 32, 48, path)
    assert str(path) in benchmark.title
    (first,) = benchmark.samples()
    written = path.stat().st_mtime_ns
    (second,) = benchmark.samples()
    assert path.stat().st_mtime_ns == written
    assert first.name == second.name == 'scene_0000'
    assert str(path) not in HeldOut(1, 32, 48).title
    assert [p.name for p in path.parent.iterdir()] == ['held.npz']


def test_files_that_do_not_fit_are_refused(scenes, tmp_path):
    path = tmp_path / 'held.npz'
    write_held_out(path, scenes[:2])
    for count, size in ((3, SIZE), (2, {'height': 48, 'width': 32})):
        with pytest.raises(HeldOutFileError, match='2 scenes of 48x32'):
            kept_scenes(path, count, **size)
    write_held_out(path, scenes[1:2])
    with pytest.raises(HeldOutFileError, match='rendered otherwise'):
        kept_scenes(path, 1, **SIZE)
    path.write_bytes(b'PK nothing')
    with pytest.raises(HeldOutFileError, match='no file of held-out scenes'):
        kept_scenes(path, 1, **SIZE)


def test_a_stopped_ablation_keeps_its_variants_and_goes_on(scenes, tmp_path, monkeypatch, capsys):
    import dataclasses

    import torch

    from lotus2_ros.tools import ablation
    from lotus2_ros.tools.cli import main
    from lotus2_ros.training.export import export_model
    from lotus2_ros.training.network import TwoStageNetwork, build_vae

    export_model(tmp_path / 'model', TwoStageNetwork(TINY, 'cpu'), build_vae(TINY), TINY)
    plan = dataclasses.replace(
        training_settings.TrainingSettings(), architecture=TINY, textures=4, stored_samples=8
    )
    monkeypatch.setattr(ablation, 'TrainingSettings', lambda: plan)
    held = tmp_path / 'held.npz'
    write_held_out(held, scenes)
    out = tmp_path / 'out'
    command = ['train', 'ablation', '--out', str(out), '--start', str(tmp_path / 'model')]
    command += ['--device', 'cpu', '--steps', '2', '--batch', '2', '--scenes', '5']
    command += ['--size', '32x48', '--held-out', str(held)]
    assert main([*command, '--variants', '1']) == 0
    first = json.loads((out / 'ablation.json').read_text())['variants']
    assert len(first) == 1
    trained = []
    real = torch.optim.AdamW.__init__
    monkeypatch.setattr(
        torch.optim.AdamW, '__init__', lambda *a, **k: (trained.append(1), real(*a, **k))[1]
    )
    assert main([*command, '--variants', '2']) == 0
    assert len(trained) == 1
    second = json.loads((out / 'ablation.json').read_text())['variants']
    assert list(second.items())[:1] == list(first.items())
    assert len(second) == 2
    assert (out / 'ablation.jpg').stat().st_size > 0
    command[command.index('--steps') + 1] = '3'
    assert main(command) == 1
    assert 'another --out' in capsys.readouterr().err
