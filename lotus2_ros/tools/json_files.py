"""Figures and descriptions as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lotus2_ros.errors import Lotus2Error, naming_unwritable


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data, readable and in the order given.

    Raises:
        Lotus2Error: the file cannot be written.
    """
    text = json.dumps(content, indent=2) + '\n'
    with naming_unwritable(path, Lotus2Error):
        path.write_text(text, encoding='utf-8')
