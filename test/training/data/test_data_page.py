"""What docs/data.md shows, done."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml
from data_files import picture

from lotus2_ros.training.data.opening import _KINDS
from lotus2_ros.training.data.recording import Recording
from lotus2_ros.training.data.vkitti2 import SCENES, VARIATIONS

PAGE = (Path(__file__).resolve().parents[3] / 'docs' / 'data.md').read_text(encoding='utf-8')


def block(language: str) -> str:
    found = re.search(rf'```{language}\n(.*?)```', PAGE, re.DOTALL)
    assert found
    return found.group(1)


def test_the_entries_it_shows_have_known_keys_with_usable_values():
    for entry in yaml.safe_load(block('yaml'))['data']:
        keys, _ = _KINDS[entry.pop('kind')]
        entry.pop('weight')
        entry.pop('root', None)
        for name, value in entry.items():
            keys[name].read(value)


def test_it_names_every_key():
    for kind, (keys, _) in _KINDS.items():
        for key in keys:
            assert f'`{key}`' in PAGE or f'{key}:' in PAGE, f'{kind}.{key}'


def test_it_names_the_default_scenes_and_variations():
    for name in (*VARIATIONS, *(scene.removeprefix('Scene') for scene in SCENES)):
        assert name in PAGE


def test_the_writer_it_shows_makes_a_recording(tmp_path):
    namespace: dict = {}
    exec(block('python'), namespace)  # noqa: S102
    rgb = picture(48, 64)
    metres = np.linspace(1, 4, 48, dtype=np.float32)[:, None] * np.ones((1, 64), np.float32)
    metres[0, :3] = (np.nan, np.inf, 0)
    namespace['write_camera'](tmp_path, 64, 48, [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1])
    namespace['write_frame'](tmp_path, '000001', rgb[..., ::-1], metres)
    record = Recording(tmp_path, normals=True).read(0)
    assert np.array_equal(record.image, rgb)
    assert (~record.valid).sum() == 3
    np.testing.assert_allclose(record.depth[1:], metres[1:], atol=0.00051)
