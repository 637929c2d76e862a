"""Preparing model folders for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lotus2_ros.model import loading
from lotus2_ros.model.prepared.manifest import Manifest
from lotus2_ros.model.prepared.preparing import Preparation, prepare
from lotus2_ros.runtime.preprocess import working_sizes
from lotus2_ros.types import TASKS

SIZES = ((48, 64), (32, 48))


def prepare_folder(
    model: str | Path,
    out: Path,
    *,
    base: Path | None = None,
    tasks: Sequence[str] = TASKS,
    sharpener: bool = True,
    **plan: Any,
) -> Manifest:
    """Prepare on the CPU, for images of `SIZES` unless the plan says other ones."""
    chosen = Preparation(**{'sizes': SIZES, 'tasks': tuple(tasks), 'sharpener': sharpener, **plan})
    folders = loading.locate(model, base, tasks, sharpener=sharpener)
    seen = [working_sizes(size, folders.max_side)[-1] for size in chosen.sizes]
    tokens = [height // 16 * (width // 16) for height, width in seen]
    return prepare(folders, chosen, tokens, out, device=torch.device('cpu'))
