from __future__ import annotations

import pytest
import torch

from lotus2_ros.model.tasks import TASKS, picture


def test_published_file_names():
    names = [
        (t.core_file, t.sharpener_file, t.lcm_file) for t in (TASKS['depth'], TASKS['normals'])
    ]
    assert names == [
        (
            'lotus-2_core_predictor_depth.safetensors',
            'lotus-2_detail_sharpener_depth.safetensors',
            'lotus-2_lcm_depth.safetensors',
        ),
        (
            'lotus-2_core_predictor_normal.safetensors',
            'lotus-2_detail_sharpener_normal.safetensors',
            'lotus-2_lcm_normal.safetensors',
        ),
    ]


def test_picture_is_clamped_to_the_unit_range():
    decoded = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    torch.testing.assert_close(picture(decoded), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    assert picture(decoded.bfloat16()).dtype == torch.float32


def test_disparity_is_the_mean_of_the_channels():
    image = torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1)
    value = TASKS['depth'].decode(TASKS['depth'].reduce(image))
    assert value.shape == (1, 1, 1, 1)
    assert value.item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ('outward', 'facing'),
    [
        pytest.param((0, 0, 1), (0, 0, -1), id='wall ahead'),
        pytest.param((0, 1, 0), (0, -1, 0), id='floor: its facing normal points up, -y'),
        pytest.param((-1, 0, 0), (1, 0, 0), id='wall on the left faces right'),
        pytest.param((0, 0.3, 0.4), (0, -0.6, -0.8), id='any length'),
        pytest.param((0, 0, 0), (0, 0, -1), id='no direction'),
    ],
)
def test_normals_face_the_camera(outward, facing):
    image = (torch.tensor(outward, dtype=torch.float32).view(1, 3, 1, 1) + 1) / 2
    task = TASKS['normals']
    value = task.decode(task.reduce(image)).flatten()
    torch.testing.assert_close(value, torch.tensor(facing, dtype=torch.float32))
