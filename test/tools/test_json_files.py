from __future__ import annotations

import json

import pytest

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.tools.json_files import write_json


def test_json_file_is_readable_and_keeps_the_order(tmp_path):
    path = tmp_path / 'figures.json'
    write_json(path, {'z': 1.5, 'a': ['é', None]})
    lines = path.read_text(encoding='utf-8').split('\n')
    assert lines[:2] == ['{', '  "z": 1.5,']
    assert lines[-2:] == ['}', '']
    assert json.loads('\n'.join(lines)) == {'z': 1.5, 'a': ['é', None]}


def test_json_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / 'missing' / 'figures.json'
    with pytest.raises(Lotus2Error, match=r'figures\.json: cannot be written: No such file'):
        write_json(path, {})
