from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_tiny_model

from lotus2_ros.geometry import edges
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.flying_pixels import flying_pixels
from lotus2_ros.types import EdgeSearch


def scene(seed: int, size: tuple[int, int], softness: int) -> np.ndarray:
    """(H, W) disparity from 0 to 1: slanted surfaces before each other, their outlines smeared."""
    rng = np.random.default_rng(seed)
    height, width = size
    column, row = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    disparity = np.full(size, 0.1) + 0.08 * row
    for _ in range(rng.integers(2, 9)):
        left, top = rng.integers(0, width - 8), rng.integers(0, height - 8)
        right, bottom = left + rng.integers(3, width // 2), top + rng.integers(3, height // 2)
        surface = rng.uniform(0.0, 0.9) + rng.normal(0, 0.1) * column + rng.normal(0, 0.1) * row
        disparity[top:bottom, left:right] = surface[top:bottom, left:right]
    smeared = cv2.GaussianBlur(disparity, (0, 0), 0.4 + softness)
    return np.clip(smeared, 0.0, 1.0).astype(np.float32)


def normals_of(size: tuple[int, int], seed: int) -> np.ndarray:
    """(H, W, 3) unit vectors that face the camera, smooth."""
    rng = np.random.default_rng(seed)
    small = rng.normal(0.0, 0.6, (4, 5, 3))
    small[..., 2] = -1.0
    normals = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)


def search_by(camera: Intrinsics, shift: float, ratio: float, angle: float) -> EdgeSearch:
    return EdgeSearch(shift, ratio, angle, camera.fx, camera.fy, camera.cx, camera.cy)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([(48, 64), (120, 160), (97, 61)]),
    softness=st.integers(0, 2),
    scale=st.floats(0.2, 20.0),
    shift=st.floats(-0.2, 0.5),
    ratio=st.floats(1.05, 2.0),
    angle=st.floats(2.0, 30.0),
    noise=st.sampled_from([0.0, 0.0, 0.01]),
    with_normals=st.booleans(),
)
def test_the_same_pixels_are_found_as_in_depth(
    seed, size, softness, scale, shift, ratio, angle, noise, with_normals
):
    disparity = scene(seed, size, softness)
    disparity += np.random.default_rng(seed).normal(0.0, noise, size).astype(np.float32)
    camera = Intrinsics.from_hfov(70.0, size[1], size[0])
    normals = normals_of(size, seed) if with_normals else None
    inverse = scale * (disparity.astype(np.float64) + shift)
    with np.errstate(divide='ignore'):
        depth = np.where(inverse > 0.0, 1.0 / inverse, np.inf).astype(np.float32)
    expected = edges.flying_pixels(depth, normals, camera, ratio=ratio, view_angle=angle).mask
    found = flying_pixels(
        torch.from_numpy(disparity)[None],
        None if normals is None else torch.from_numpy(normals)[None],
        search_by(camera, shift, ratio, angle),
    )[0].numpy()
    # Comparisons of two numbers that are equal but for rounding may go either way.
    assert np.count_nonzero(found != expected) <= 2 + 0.002 * found.size


def test_images_of_a_batch_do_not_know_of_each_other():
    camera = Intrinsics.from_hfov(70.0, 160, 120)
    maps = [scene(seed, (120, 160), 1) for seed in range(3)]
    search = search_by(camera, 0.1, 1.1, 6.0)
    together = flying_pixels(torch.from_numpy(np.stack(maps)), None, search)
    assert together.any(dim=(1, 2)).all()
    for image, found in zip(maps, together, strict=True):
        assert torch.equal(flying_pixels(torch.from_numpy(image)[None], None, search)[0], found)


def test_a_prediction_has_what_was_looked_for_and_else_nothing(tmp_path):
    predictor = Lotus2Predictor.from_pretrained(make_tiny_model(tmp_path), device='cpu')
    rgb = cv2.resize(
        np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8),
        (96, 64),
        interpolation=cv2.INTER_NEAREST,
    )
    camera = Intrinsics.from_hfov(70.0, 96, 64)
    search = search_by(camera, 0.05, 1.05, 45.0)
    state = predictor.run_core(rgb)
    plain = predictor.finish(state)
    assert plain.flying is None
    searched = predictor.finish(state, search=search)
    assert searched.disparity.tobytes() == plain.disparity.tobytes()
    expected = flying_pixels(
        torch.from_numpy(plain.disparity)[None], torch.from_numpy(plain.normals)[None], search
    )[0].numpy()
    assert expected.any()
    np.testing.assert_array_equal(searched.flying, expected)
    assert predictor.finish(state, tasks=['normals'], search=search).flying is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_a_gpu_finds_the_same_pixels():
    camera = Intrinsics.from_hfov(70.0, 640, 480)
    disparity = torch.from_numpy(scene(1, (480, 640), 1))[None]
    normals = torch.from_numpy(normals_of((480, 640), 1))[None]
    search = search_by(camera, 0.1, 1.1, 6.0)
    here = flying_pixels(disparity, normals, search)
    there = flying_pixels(disparity.cuda(), normals.cuda(), search).cpu()
    assert here.any()
    assert (here != there).sum() <= 20
