"""The node with a prepared model: the same results as with the model that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from preparation import prepare_folder
from rig import HEIGHT, WIDTH, Rig, info_of, picture, pixels

from lotus2_ros.runtime import Lotus2Predictor


def test_depth_of_a_prepared_model(tiny_model: str, tmp_path: Path) -> None:
    sizes = ((HEIGHT, WIDTH),)
    prepare_folder(tiny_model, tmp_path / 'made', sizes=sizes, precision='float32')
    rig = Rig(
        {
            'model': str(tmp_path / 'made'),
            'device': 'cpu',
            'scale_mode': 'fixed',
            'disparity_scale': 0.5,
            'disparity_shift': 0.2,
            'cpu_threads': 1,
            'stale_timeout_s': 20.0,
        }
    )
    try:
        rig.wait_ready()
        rig.listen('depth/disparity')
        rig.send_info(info_of())
        found = pixels(rig.frame(picture(), 'depth/disparity'))
        assert rig.node_errors == []
    finally:
        rig.close()
    theirs = Lotus2Predictor.from_pretrained(tiny_model, device='cpu')
    expected = theirs.predict(picture()).disparity
    np.testing.assert_allclose(found, expected, atol=1e-6)
