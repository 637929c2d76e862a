"""Models of random weights: every file of a published model, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TRANSFORMER, VAE

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.random_model import write_random_model


def write(out, ranks):
    write_random_model(
        out,
        {**TRANSFORMER, 'guidance_embeds': True},
        VAE,
        ranks,
        text_tokens=8,
        device=torch.device('cpu'),
    )


def test_it_loads_and_predicts(tmp_path, capsys):
    write(tmp_path / 'made', {'depth': 2, 'normals': 4})
    assert main(['models', str(tmp_path / 'made')]) == 0
    text = capsys.readouterr().out
    assert text.count('LoRA of rank 2') == text.count('LoRA of rank 4') == 2
    predictor = Lotus2Predictor.from_pretrained(tmp_path / 'made', device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    core, sharp = (predictor.predict(image, sharpen_steps=steps) for steps in (0, 2))
    assert np.isfinite(core.disparity).all()
    assert core.disparity.std() > 0
    assert not np.array_equal(core.disparity, sharp.disparity)


def test_the_same_files_each_time_and_no_global_random_state(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for name in ('first', 'second'):
        write(tmp_path / name, {'depth': 2})
    assert torch.equal(torch.rand(1), expected)
    first, second = (tmp_path / name for name in ('first', 'second'))
    names = [p.relative_to(first) for p in first.rglob('*') if p.is_file()]
    assert len(names) == 10
    assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names)


def test_nothing_is_overwritten_and_tasks_are_wanted(tmp_path):
    with pytest.raises(ModelFileError, match='exists'):
        write(tmp_path, {'depth': 2})
    with pytest.raises(SettingsError, match='tasks is empty'):
        write(tmp_path / 'made', {})
