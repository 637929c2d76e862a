from __future__ import annotations

import numpy as np
import pytest
from data_files import (
    HYPERSIM_SIZE,
    SCENE,
    SHIFTED_CAMERA,
    STANDARD_CAMERA,
    TILTED_CAMERA,
    camera_rays,
    damage,
    hypersim_path,
    picture,
    wall,
    write_cameras,
    write_hdf5,
    write_hypersim_frame,
    write_image,
    write_split,
)

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.hypersim import Hypersim
from lotus2_ros.training.data.sample import BadSample

HALF_PRECISION = 6e-4
"""Relative rounding of what depth_meters holds."""

SLANTED = np.array([0.48, -0.36, -0.8])
"""Normal of a wall in front of the camera, in camera space, pointing away from it."""


def write_scene(root, matrix=STANDARD_CAMERA, frames=1, normal=SLANTED):
    """Frames of one wall; every second normal points to the camera, the others into the wall."""
    write_split(root, [(SCENE, 'cam_00', frame, 'True', 'train') for frame in range(frames)])
    sign = np.where(np.indices(HYPERSIM_SIZE).sum(0) % 2 == 0, 1, -1)[..., None]
    for frame in range(frames):
        distance = wall(matrix, normal, 3.0 + frame)
        write_hypersim_frame(root, frame, distance, (sign * normal).astype(np.float16))


def test_length_of_the_ray_becomes_z_depth(tmp_path):
    write_scene(tmp_path)
    record = Hypersim(tmp_path).read(0)
    points = camera_rays(STANDARD_CAMERA) * wall(STANDARD_CAMERA, SLANTED, 3.0)[..., None]
    np.testing.assert_allclose(record.depth, -points[..., 2], rtol=HALF_PRECISION)
    assert record.depth.dtype == np.float32
    assert record.valid.all()
    assert record.normals is None


def test_a_wall_parallel_to_the_picture_has_one_z_depth(tmp_path):
    write_scene(tmp_path, normal=np.array([0.0, 0.0, -1.0]))
    np.testing.assert_allclose(Hypersim(tmp_path).read(0).depth, 3.0, rtol=HALF_PRECISION)


def test_image_is_the_preview_in_rgb(tmp_path):
    write_scene(tmp_path)
    difference = Hypersim(tmp_path).read(0).image.astype(int) - picture(*HYPERSIM_SIZE, 0)
    assert np.abs(difference).mean() < 4


def test_normals_point_outward_in_the_training_convention(tmp_path):
    write_scene(tmp_path)
    record = Hypersim(tmp_path, normals=True).read(0)
    # Camera space to optical frame: y and z change sign. SLANTED points away from the camera.
    expected = SLANTED * (1, -1, -1)
    np.testing.assert_allclose(
        record.normals, np.broadcast_to(expected, (*HYPERSIM_SIZE, 3)), atol=1e-3
    )
    np.testing.assert_allclose(np.linalg.norm(record.normals, axis=-1), 1, atol=1e-5)
    assert record.surface.all()


def test_a_wall_that_faces_the_camera_is_001(tmp_path):
    write_scene(tmp_path, normal=np.array([0.0, 0.0, -1.0]))
    normals = Hypersim(tmp_path, normals=True).read(0).normals
    np.testing.assert_allclose(normals, np.broadcast_to((0, 0, 1), normals.shape), atol=1e-6)


def test_a_surface_seen_at_a_grazing_angle_is_turned_by_its_ray(tmp_path):
    """A floor that falls away: its outward normal points a little back to the camera."""
    normal = np.array([0.0, -0.98, 0.199])
    write_scene(tmp_path, normal=normal)
    distance = wall(STANDARD_CAMERA, normal, 1.0)
    distance[distance < 0] = np.nan
    normals = np.broadcast_to(normal, (*HYPERSIM_SIZE, 3))
    write_hypersim_frame(tmp_path, 0, distance, normals.astype(np.float16))
    record = Hypersim(tmp_path, normals=True, max_holes=0.9).read(0)
    seen = record.normals[record.valid]
    assert len(seen) > 1000
    np.testing.assert_allclose(seen, np.broadcast_to((0, 0.98, -0.199), seen.shape), atol=1e-3)


@pytest.mark.parametrize(
    'matrix',
    [STANDARD_CAMERA, SHIFTED_CAMERA, TILTED_CAMERA],
    ids=['standard', 'shifted', 'tilted'],
)
def test_inverse_depth_of_a_plane_is_affine_in_the_pixel(tmp_path, matrix):
    write_scene(tmp_path, matrix)
    write_cameras(tmp_path, {SCENE: matrix})
    record = Hypersim(tmp_path).read(0)
    rows, columns = np.indices(HYPERSIM_SIZE)
    terms = np.stack([columns, rows, np.ones(HYPERSIM_SIZE)], -1).reshape(-1, 3)
    inverse = 1 / record.depth.astype(np.float64).ravel()
    fit, *_ = np.linalg.lstsq(terms, inverse, rcond=None)
    assert np.abs(terms @ fit / inverse - 1).max() < HALF_PRECISION


def test_points_of_a_tilted_camera_keep_their_distance_and_fit_their_normals(tmp_path):
    write_scene(tmp_path, TILTED_CAMERA)
    write_cameras(tmp_path, {SCENE: TILTED_CAMERA})
    record = Hypersim(tmp_path, normals=True).read(0)
    from lotus2_ros.training.data.hypersim_camera import view

    rays = view(tuple(TILTED_CAMERA.ravel()), *HYPERSIM_SIZE).rays
    points = rays * (record.depth / rays[..., 2])[..., None]
    distance = wall(TILTED_CAMERA, SLANTED, 3.0)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), distance, rtol=HALF_PRECISION)
    # The plane is where it was, 3 m from the camera, seen in the picture's own frame.
    np.testing.assert_allclose((points * record.normals).sum(-1), 3.0, rtol=1e-3)


def test_the_camera_table_matters(tmp_path):
    write_scene(tmp_path, TILTED_CAMERA)
    standard = Hypersim(tmp_path).read(0).depth
    write_cameras(tmp_path, {SCENE: TILTED_CAMERA})
    assert np.abs(Hypersim(tmp_path).read(0).depth / standard - 1).max() > 0.01


def test_a_scene_missing_from_the_camera_table_is_an_error(tmp_path):
    write_scene(tmp_path)
    write_cameras(tmp_path, {'ai_002_001': STANDARD_CAMERA})
    with pytest.raises(DataError, match=SCENE):
        Hypersim(tmp_path)


def test_only_published_frames_of_the_split_and_of_present_scenes(tmp_path):
    write_scene(tmp_path, frames=1)
    rows = [
        (SCENE, 'cam_00', 0, 'True', 'train'),
        (SCENE, 'cam_00', 1, 'False', ''),
        (SCENE, 'cam_00', 2, 'True', 'val'),
        ('ai_002_001', 'cam_00', 0, 'True', 'train'),
    ]
    write_split(tmp_path, rows)
    train = Hypersim(tmp_path)
    assert len(train) == 1
    assert train.absent == ('ai_002_001',)
    assert '1 of 2 scenes' in train.name
    assert len(Hypersim(tmp_path, split='val')) == 1
    with pytest.raises(DataError, match='none of the'):
        Hypersim(tmp_path, split='test')


def test_a_hole_makes_a_bad_sample_unless_holes_are_allowed(tmp_path):
    write_scene(tmp_path)
    distance = wall(STANDARD_CAMERA, SLANTED, 3.0)
    distance[:8, :16] = np.nan
    write_hypersim_frame(tmp_path, 0, distance, np.zeros((*HYPERSIM_SIZE, 3), np.float16))
    with pytest.raises(BadSample, match=r'NaN: 1\.04% of the depth'):
        Hypersim(tmp_path).read(0)
    record = Hypersim(tmp_path, max_holes=0.02).read(0)
    assert np.array_equal(~record.valid, np.isnan(distance))
    assert np.isfinite(record.depth).all()


def test_missing_and_zero_normals_are_no_surface(tmp_path):
    write_scene(tmp_path)
    normals = np.broadcast_to(SLANTED, (*HYPERSIM_SIZE, 3)).astype(np.float16)
    normals[0, 0], normals[0, 1] = np.nan, 0
    write_hypersim_frame(tmp_path, 0, wall(STANDARD_CAMERA, SLANTED, 3.0), normals)
    record = Hypersim(tmp_path, normals=True).read(0)
    assert list(record.surface[0, :3]) == [False, False, True]
    assert record.surface.sum() == record.surface.size - 2
    assert np.isfinite(record.normals).all()


def write_linear_colour(root, frame=0):
    """An HDR frame whose tone-mapped values are known, without a preview."""
    hypersim_path(root, frame, 'final_preview', 'tonemap.jpg').unlink()
    brightness = np.linspace(0, 4, HYPERSIM_SIZE[1]) * np.ones((HYPERSIM_SIZE[0], 1))
    entity = np.ones(HYPERSIM_SIZE, np.int32)
    # Light sources without geometry do not count.
    brightness[:, -28:], entity[:, -28:] = 1000, -1
    colour = np.repeat(brightness[..., None], 3, -1).astype(np.float16)
    write_hdf5(hypersim_path(root, frame, 'final_hdf5', 'color.hdf5'), colour)
    write_hdf5(hypersim_path(root, frame, 'geometry_hdf5', 'render_entity_id.hdf5'), entity)
    return brightness


def test_a_missing_preview_is_made_from_the_linear_colour(tmp_path):
    write_scene(tmp_path)
    brightness = write_linear_colour(tmp_path)
    image = Hypersim(tmp_path).read(0).image
    bright = np.percentile(brightness[:, :-28].astype(np.float16).astype(float), 90)
    expected = 0.8 * (brightness / bright) ** (1 / 2.2)
    assert np.abs(image[..., 0] / 255 - expected.clip(0, 1)).max() < 0.01
    assert (image[:, -28:] == 255).all()
    assert np.array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize('content', ['depth_meters', 'normal_cam'])
@pytest.mark.parametrize('harm', ['missing', 'damaged', 'no dataset'])
def test_missing_and_damaged_geometry_is_a_bad_sample(tmp_path, content, harm):
    write_scene(tmp_path)
    path = hypersim_path(tmp_path, 0, 'geometry_hdf5', f'{content}.hdf5')
    if harm == 'missing':
        path.unlink()
    elif harm == 'damaged':
        damage(path)
    else:
        import h5py

        with h5py.File(path, 'w') as file:
            file.create_dataset('other', data=[1])
    with pytest.raises(BadSample, match='unreadable') as caught:
        Hypersim(tmp_path, normals=True).read(0)
    assert caught.value.name == f'hypersim {SCENE}/cam_00/0000'
    assert content in caught.value.reason


def test_images_that_cannot_be_used_are_bad_samples(tmp_path):
    write_scene(tmp_path, frames=4)
    previews = [hypersim_path(tmp_path, n, 'final_preview', 'tonemap.jpg') for n in range(4)]
    previews[0].unlink()
    previews[1].write_bytes(b'')
    previews[2].write_bytes(b'\xff\xd8\xff\xe0 no picture')
    write_image(previews[3], picture(48, 64))
    dataset = Hypersim(tmp_path)
    for frame, reason in enumerate(['neither', 'unreadable', 'unreadable', 'size mismatch']):
        with pytest.raises(BadSample, match=reason):
            dataset.read(frame)


def test_empty_depth_normals_of_another_size_and_nan_colours_are_bad_samples(tmp_path):
    write_scene(tmp_path, frames=3)
    write_hdf5(
        hypersim_path(tmp_path, 0, 'geometry_hdf5', 'depth_meters.hdf5'),
        np.full(HYPERSIM_SIZE, np.nan, np.float32),
    )
    write_hdf5(
        hypersim_path(tmp_path, 1, 'geometry_hdf5', 'normal_cam.hdf5'),
        np.zeros((4, 4, 3), np.float16),
    )
    write_linear_colour(tmp_path, 2)
    path = hypersim_path(tmp_path, 2, 'final_hdf5', 'color.hdf5')
    write_hdf5(path, np.full((*HYPERSIM_SIZE, 3), np.nan, np.float16))
    dataset = Hypersim(tmp_path, normals=True)
    for frame, reason in enumerate(['empty depth', 'size mismatch', 'NaN in the colour']):
        with pytest.raises(BadSample, match=reason):
            dataset.read(frame)


def test_tables_that_are_missing_or_wrong_are_errors(tmp_path):
    with pytest.raises(DataError, match='csv is missing'):
        Hypersim(tmp_path)
    write_scene(tmp_path)
    with pytest.raises(DataError, match='no split'):
        Hypersim(tmp_path, split='training')
    (tmp_path / 'metadata_camera_parameters.csv').write_text(f'scene_name\n{SCENE}\n')
    with pytest.raises(DataError, match='M_cam_from_uv_00'):
        Hypersim(tmp_path)
    (tmp_path / 'metadata_images_split_scene_v1.csv').write_text('scene,frame\na,1\n')
    with pytest.raises(DataError, match='included_in_public_release'):
        Hypersim(tmp_path)
