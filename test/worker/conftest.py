from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lotus2_ros.settings import ModelSettings


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp('tiny') / 'model', max_side=320)


@pytest.fixture(scope='session')
def tiny_settings(tiny_model: Path) -> ModelSettings:
    return ModelSettings(model=str(tiny_model), device='cpu', cpu_threads=1)


@pytest.fixture(scope='session')
def photo() -> NDArray[np.uint8]:
    """A smooth picture with noise, 96 rows and 128 columns."""
    rows, columns = np.mgrid[0:96, 0:128]
    picture = np.stack([rows * 2, columns, rows + columns], axis=-1)
    noise = np.random.default_rng(3).integers(0, 30, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)
