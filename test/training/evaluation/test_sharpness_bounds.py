"""What sharper edges could be worth: the maps that are compared, and their rows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_running import Listed, sample

from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.evaluation.benchmark import Rules, Sample
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.running import evaluate
from lotus2_ros.training.evaluation.sharpness_bounds import (
    MOVED,
    TRUTH,
    nearest_extreme,
    sharpness_bounds,
)


@pytest.fixture(scope='module')
def nano():
    return Lotus2Predictor.from_pretrained('nano', device='cpu', tasks=['depth'], sharpener=False)


def boxes(height=96, width=128):
    """A floor and two boxes, all known, the picture with the same outlines."""
    depth = (1.2 / np.linspace(0.15, 1, height))[:, None].repeat(width, 1)
    depth[height // 5 : height * 3 // 4, width // 8 : width * 3 // 8] = 2.0
    depth[height // 10 : height * 3 // 5, width // 2 : width * 7 // 8] = 3.5
    grey = np.clip(255 / depth, 0, 255).astype(np.uint8)
    everywhere = np.ones(depth.shape, bool)
    return Sample(
        'boxes', np.repeat(grey[..., None], 3, 2), depth.astype(np.float32), everywhere, everywhere
    )


def test_a_slope_becomes_a_step_in_its_middle():
    slope = np.array([[0, 0, 0.2, 0.44, 0.75, 1, 1]], np.float32)
    expected = [0, 0, 0, 0.2, 1, 1, 1]
    np.testing.assert_array_equal(nearest_extreme(slope, 1)[0], np.array(expected, np.float32))
    np.testing.assert_array_equal(nearest_extreme(slope, 2)[0], [0, 0, 0, 0, 1, 1, 1])


@given(
    arrays(np.float32, (6, 9), elements=st.floats(0, 1, width=32)),
    st.integers(min_value=1, max_value=3),
)
def test_only_values_from_around_a_pixel_are_taken(image, radius):
    found = nearest_extreme(image, radius)
    square = np.ones((2 * radius + 1,) * 2, np.uint8)
    highest, lowest = cv2.dilate(image, square), cv2.erode(image, square)
    assert ((found == highest) | (found == lowest)).all()


@pytest.mark.parametrize('size', [(48, 64), (50, 70)])
def test_reconstruction_is_what_the_autoencoder_draws(nano, size):
    disparity = 1 / boxes(*size).depth
    values = ((disparity - disparity.min()) / np.ptp(disparity)).astype(np.float32)
    found = nano.reconstruct(values)
    assert (found.shape, found.dtype) == (size, np.float32)
    picture = torch.from_numpy(values * 2 - 1).expand(1, 3, -1, -1)
    if size == (48, 64):
        vae = nano._stages.model.vae
        with torch.inference_mode():
            drawn = decode_latents(vae, encode_images(vae, picture.contiguous()))
        expected = (drawn.clamp(-1, 1).mean(1)[0].numpy() + 1) / 2
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - values).mean() < 0.05


def test_rows_of_a_dense_sample(nano):
    result = evaluate(
        nano, Listed([boxes()], Rules(DepthRange(0.2, 20.0))), [0], trivial=False, bounds=True
    )
    figures = {name: row.summary() for name, row in result.rows.items()}
    assert len(figures) == 6
    # The truth is better than what was predicted, and best where it belongs.
    assert figures[TRUTH]['abs_rel'] < 0.5 * figures['core']['abs_rel']
    assert figures[TRUTH]['boundary_f1'] > figures[MOVED]['boundary_f1'] > 0


def test_there_are_none_where_depth_has_holes_or_another_size(nano):
    holed = boxes()
    holed.known[3, 3] = False
    core = nano.predict(holed.image)
    assert sharpness_bounds(nano, holed, core) == {}
    whole = boxes()
    assert sharpness_bounds(nano, whole, nano.predict(whole.image, output_size=(48, 64))) == {}
    assert sharpness_bounds(nano, sample(0), core) == {}
    assert len(sharpness_bounds(nano, whole, core)) == 5
