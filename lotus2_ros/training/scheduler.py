"""The flow scheduler's configuration: FLUX.1-dev's values."""

from __future__ import annotations

from typing import Any

SCHEDULER_CONFIG: dict[str, Any] = {
    'num_train_timesteps': 1000,
    'shift': 3.0,
    'use_dynamic_shifting': True,
    'base_shift': 0.5,
    'max_shift': 1.15,
    'base_image_seq_len': 256,
    'max_image_seq_len': 4096,
}
