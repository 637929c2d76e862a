from __future__ import annotations

import numpy as np
import pytest
from data_files import damage, picture, vkitti_road, write_image, write_raster, write_vkitti_frame

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.sample import BadSample
from lotus2_ros.training.data.vkitti2 import VirtualKitti2

ONE = {'scenes': ['Scene02'], 'variations': ['clone']}


def test_centimetres_become_metres_and_the_sky_is_beyond_range(tmp_path):
    write_vkitti_frame(tmp_path, 0, vkitti_road())
    record = VirtualKitti2(tmp_path, **ONE).read(0)
    row = np.arange(23, 375)
    beyond = row <= 187 + 1.5 * 725.0087 / 80
    assert record.image.shape == (352, 1216, 3)
    assert np.isinf(record.depth[beyond]).all()
    expected = 1.5 * 725.0087 / (row[~beyond] - 187)
    np.testing.assert_allclose(record.depth[~beyond, 600], expected, atol=0.00501)
    assert record.valid.all()


def test_the_crop_is_at_the_bottom_centre(tmp_path):
    depth = np.full((375, 1242), 1000, np.uint16)
    depth[23, 13], depth[374, 1228] = 1100, 1200
    write_vkitti_frame(tmp_path, 0, depth)
    record = VirtualKitti2(tmp_path, **ONE).read(0)
    assert record.depth[0, 0] == pytest.approx(11)
    assert record.depth[-1, -1] == pytest.approx(12)
    difference = record.image.astype(int) - picture(375, 1242, 0)[23:, 13:1229]
    assert np.abs(difference).mean() < 4


def test_far_is_a_choice(tmp_path):
    write_vkitti_frame(tmp_path, 0, vkitti_road())
    near = VirtualKitti2(tmp_path, **ONE, far=20).read(0)
    assert near.depth[np.isfinite(near.depth)].max() < 20


def test_normals_of_the_road_point_down_and_the_sky_has_none(tmp_path):
    write_vkitti_frame(tmp_path, 0, vkitti_road())
    record = VirtualKitti2(tmp_path, **ONE, normals=True).read(0)
    assert not record.surface[np.isinf(record.depth)].any()
    near = np.isfinite(record.depth) & (record.depth < 20)
    assert record.surface[near].all()
    # Outward: into the ground. Depth is rounded to centimetres.
    assert record.normals[near][:, 1].min() > np.cos(np.radians(5))
    np.testing.assert_allclose(record.normals[near].mean(0), (0, 1, 0), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(record.normals, axis=-1), 1, atol=1e-5)


def test_both_cameras_and_the_chosen_folders_are_listed(tmp_path):
    for variation in ('clone', 'fog'):
        for camera in ('Camera_0', 'Camera_1'):
            for number in range(2):
                write_vkitti_frame(
                    tmp_path, number, vkitti_road(), variation=variation, camera=camera
                )
    assert len(VirtualKitti2(tmp_path, **ONE)) == 4
    assert len(VirtualKitti2(tmp_path, scenes=['Scene02'], variations=['clone', 'fog'])) == 8
    with pytest.raises(DataError, match='Scene06'):
        VirtualKitti2(tmp_path, scenes=['Scene06'], variations=['clone'])


def test_bad_samples_say_what_is_wrong(tmp_path):
    for number in range(8):
        write_vkitti_frame(tmp_path, number, vkitti_road())
    rgb = tmp_path / 'Scene02/clone/frames/rgb/Camera_0'
    depth = tmp_path / 'Scene02/clone/frames/depth/Camera_0'
    (depth / 'depth_00000.png').unlink()
    damage(depth / 'depth_00001.png')
    (rgb / 'rgb_00002.jpg').write_bytes(b'')
    write_image(rgb / 'rgb_00003.jpg', picture(370, 1226))
    write_raster(depth / 'depth_00004.png', np.full((375, 1242), 65535, np.uint16))
    write_raster(depth / 'depth_00005.png', np.full((375, 1242), 100, np.uint8))
    write_raster(depth / 'depth_00006.png', np.zeros((375, 1242), np.uint16))
    reasons = [
        *('unreadable', 'unreadable', 'unreadable', 'size mismatch', 'empty depth'),
        *('not 16-bit', 'empty depth'),
    ]
    dataset = VirtualKitti2(tmp_path, **ONE)
    for number, reason in enumerate(reasons):
        with pytest.raises(BadSample, match=reason) as caught:
            dataset.read(number)
        assert f'rgb_{number:05d}.jpg' in caught.value.name
    assert dataset.read(7).valid.all()
