from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_runs import SETTINGS
from tiny import make_tiny_model

from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.recipe.build import make_base
from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.settings_files import load_settings


@pytest.fixture(scope='session', autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads that wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with adapters of both tasks; training looks at the base alone unless told to."""
    return make_tiny_model(tmp_path_factory.mktemp('base') / 'tiny', max_side=64)


@pytest.fixture(scope='session')
def tiny_schnell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of base without a guidance embedding."""
    folder = tmp_path_factory.mktemp('base') / 'schnell'
    return make_tiny_model(folder, guidance_embeds=False, max_side=64)


@pytest.fixture
def settings(tiny_base: Path) -> Any:
    """Settings of a short run on the tiny base; takes changes as `--set` does."""

    def make(*changes: str) -> RecipeSettings:
        return load_settings(changes=[f'base={tiny_base}', *SETTINGS, *changes])

    return make


@pytest.fixture
def base(settings: Any) -> Base:
    return make_base(settings(), torch.device('cpu'))
