from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.errors import ImageError
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.preprocess import prepare_image, read_picture, working_sizes

CPU = torch.device('cpu')
sides = st.integers(16, 3000)


@pytest.mark.parametrize(
    ('size', 'max_side', 'expected'),
    [
        pytest.param((480, 640), 1024, [(480, 640)], id='fits as it is'),
        pytest.param((240, 320), 1024, [(240, 320)], id='small images are not enlarged'),
        pytest.param((720, 1280), 1024, [(576, 1024), (576, 1024)], id='reduced'),
        pytest.param((1080, 1920), 1024, [(576, 1024), (576, 1024)], id='full HD'),
        pytest.param((375, 1242), 1024, [(309, 1024), (304, 992)], id='KITTI'),
        pytest.param((100, 130), 1024, [(96, 112)], id='both sides shrink with the shorter'),
        pytest.param((130, 100), 1024, [(112, 96)], id='upright'),
        pytest.param((16, 16), 1024, [(16, 16)], id='smallest'),
        pytest.param((31, 31), 1024, [(16, 16)], id='just below two tokens'),
        pytest.param((480, 640), 320, [(240, 320), (240, 320)], id='another limit'),
        pytest.param((30, 1122), 1024, [(27, 1023), (16, 592)], id='rounding as released'),
    ],
)
def test_working_sizes(size, max_side, expected):
    assert working_sizes(size, max_side) == expected


@given(sides, sides, st.integers(32, 1024))
def test_working_size_is_a_multiple_of_16_within_the_limit(height, width, max_side):
    try:
        sizes = working_sizes((height, width), max_side)
    except ImageError:
        assert min(height, width) * max_side / max(height, width) < 17
        return
    final = sizes[-1]
    assert all(side % 16 == 0 and side >= 16 for side in final)
    assert max(final) <= max_side
    assert final[0] <= height
    assert final[1] <= width


def test_bytes_become_minus_one_to_one_channel_by_channel():
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 1], rgb[..., 2] = 255, 51
    image = prepare_image(rgb, [(16, 16)], CPU, torch.float32)
    assert image.shape == (1, 3, 16, 16)
    assert image.is_contiguous()
    torch.testing.assert_close(image[0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_reducing_does_not_antialias():
    """Every second column sampled between its neighbours: stripes of one pixel turn to grey."""
    rgb = np.zeros((32, 64, 3), np.uint8)
    rgb[:, ::4] = 200
    image = prepare_image(rgb, [(16, 32)], CPU, torch.float32)
    expected = np.tile([100.0, 0.0], 16) / 127.5 - 1.0
    np.testing.assert_allclose(image[0, 0, 3].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize('name', ['depth', 'normals'])
@pytest.mark.parametrize('size', [(16, 16), (40, 23), (8, 8), (9, 33)])
def test_output_is_resized_with_exact_half_pixel_sampling(name, size):
    decoded = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    task = TASKS[name]
    value = read_picture(decoded, task, size)
    picture = torch.nn.functional.interpolate(
        (decoded.double() + 1) / 2, size=size, mode='bilinear', align_corners=False
    )
    expected = picture.mean(1, keepdim=True)
    if name == 'normals':
        expected = -torch.nn.functional.normalize(picture * 2 - 1, dim=1)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, atol=3e-6, rtol=0)


def test_output_is_clamped_before_it_is_resized():
    decoded = torch.full((1, 3, 16, 16), -3.0)
    decoded[..., 8:] = 1.0
    value = read_picture(decoded, TASKS['depth'], (16, 32))
    assert value[0, 0, 0, 15].item() == pytest.approx(0.25)
