"""Figures and descriptions as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lotus2_ros.errors import Lotus2Error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data, readable and in the order given.

    Raises:
        Lotus2Error: the file cannot be written.
    """
    text = json.dumps(content, indent=2) + '\n'
    try:
        path.write_text(text, encoding='utf-8')
    except OSError as error:
        raise Lotus2Error(f'{path}: cannot be written: {error.strerror or error}') from error
