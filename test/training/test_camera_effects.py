from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.training.camera_effects import Development, develop, sample_development
from lotus2_ros.training.compression import compressed, quantisation_steps
from lotus2_ros.training.random_draws import Draws


def drawn(seed: int, batch: int, height: int, width: int) -> Development:
    draws = Draws(torch.Generator().manual_seed(seed))
    return sample_development(draws, batch, height, width)


def plain(batch: int, height: int, width: int) -> Development:
    """A camera without faults that is sharp to a tenth of a pixel."""
    zero, one = torch.zeros(batch), torch.ones(batch)
    return Development(
        exposure=0.2 * one,
        cast=torch.ones(batch, 3),
        contrast=one,
        curve=zero,
        blur=torch.tensor([100.0, 0, 100.0]).expand(batch, 3),
        vignette=zero,
        noise=torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0)),
        read_noise=zero,
        photon_noise=zero,
        sharpening=zero,
        grey=zero,
        steps=quantisation_steps(zero),
    )


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    light=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
)
def test_any_light_becomes_a_picture_in_range(seed, height, width, light):
    image = develop(light * picture(height, width), drawn(seed, 2, height, width))
    assert image.shape == (2, 3, height, width)
    assert torch.isfinite(image).all()
    assert image.abs().max() <= 1


def test_exposure_does_not_depend_on_how_bright_the_scene_is():
    development = plain(2, 16, 16)
    dim = develop(picture(16, 16), development)
    torch.testing.assert_close(develop(2 * picture(16, 16), development), dim, atol=1e-4, rtol=0)


def test_moving_camera_smears_one_way_only():
    dot = torch.full((1, 3, 15, 15), 1e-3)
    dot[..., 7, 7] = 1
    # Standard deviations of 2 pixels across and 0.3 down.
    development = dataclasses.replace(plain(1, 15, 15), blur=torch.tensor([[0.25, 0, 11.0]]))
    image = develop(dot, development)[0, 0]
    assert image[7, 9] > image[7, 0] + 0.1
    assert image[9, 7] == pytest.approx(image[0, 7].item(), abs=1e-2)


def test_photon_noise_grows_with_light():
    half = torch.full((1, 3, 40, 80), 0.02)
    half[..., 40:] = 0.5
    development = dataclasses.replace(plain(1, 40, 80), photon_noise=torch.tensor([0.02]))
    linear = ((develop(half, development) + 1) / 2) ** 2.2
    assert linear[..., 40:].std() > 3 * linear[..., :40].std()


def test_monochrome_camera_gives_three_equal_channels():
    development = dataclasses.replace(
        plain(2, 16, 16), grey=torch.ones(2), read_noise=torch.full((2,), 0.05)
    )
    image = develop(picture(16, 16), development)
    torch.testing.assert_close(image[:, 0], image[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(image[:, 0], image[:, 2], atol=1e-5, rtol=0)


def test_sharpening_leaves_a_halo_along_an_edge():
    edge = torch.full((1, 3, 16, 16), 0.1)
    edge[..., 8:] = 0.3
    soft = develop(edge, plain(1, 16, 16))
    hard = develop(edge, dataclasses.replace(plain(1, 16, 16), sharpening=torch.ones(1)))
    assert (hard[..., 8] > soft[..., 8] + 0.01).all()
    assert (hard[..., 7] < soft[..., 7] - 0.01).all()
    torch.testing.assert_close(hard[..., 2], soft[..., 2])


@pytest.mark.parametrize('size', [(16, 24), (15, 21)])
def test_fine_steps_keep_the_picture_and_coarse_ones_lose_detail(size):
    image = picture(*size)
    fine = compressed(image, quantisation_steps(torch.full((2,), 1e-4)))
    torch.testing.assert_close(fine, image, atol=1e-3, rtol=0)
    errors = [
        (compressed(image, quantisation_steps(torch.full((2,), c))) - image).abs().mean()
        for c in (0.1, 0.5, 2.0)
    ]
    assert 1e-3 < errors[0] < errors[1] < errors[2]
    assert torch.equal(compressed(image, quantisation_steps(torch.zeros(2))), image)


def test_compression_leaves_even_blocks_as_they_are():
    image = torch.full((1, 3, 16, 16), 0.5)
    result = compressed(image, quantisation_steps(torch.tensor([1.0])))
    assert result.std() < 1e-5
    torch.testing.assert_close(result, image, atol=0.02, rtol=0)
