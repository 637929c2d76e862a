from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads that wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
