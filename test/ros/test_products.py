from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

import numpy as np
import pytest
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.ros import plan
from lotus2_ros.ros.camera import Camera
from lotus2_ros.ros.messages import image_message
from lotus2_ros.ros.plan import TOPICS, make_plan
from lotus2_ros.ros.products import Frame, FrameScale, Products
from lotus2_ros.ros.publishing import Packed
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import UInt8Array

H, W = 12, 16
HEADER = Header(frame_id='optical')
CAMERA = Camera(Intrinsics.from_hfov(60.0, 2 * W, 2 * H), None, 'test')


def frame(camera: Camera | None = CAMERA, **settings: object) -> Frame:
    chosen = NodeSettings(**{'scale_mode': 'fixed', 'camera_height': 0.5, **settings})  # type: ignore[arg-type]
    core = make_plan(TOPICS, chosen, '')
    colors: Future[UInt8Array] = Future()
    colors.set_result(np.full((H, W, 3), (10, 20, 30), np.uint8))
    return Frame(HEADER, chosen, core, core, camera, colors, epoch=0, received=0.0)


def made(disparity: np.ndarray, topics: object = TOPICS, **settings: object) -> dict[str, object]:
    normals = np.zeros((H, W, 3), np.float32)
    normals[..., 2] = -1.0
    return whole(products(disparity, normals, **settings).messages(topics))  # type: ignore


def whole(messages: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Messages by topic, as a subscriber has them."""
    return {t: m.unpacked() if isinstance(m, Packed) else m for t, m in messages}


def products(
    disparity: np.ndarray, normals: np.ndarray | None = None, **settings: object
) -> Products:
    context = frame(**settings)
    return Products(context, disparity, normals, FrameScale.of(context.settings))


def flat(value: float = 0.4) -> np.ndarray:
    return np.full((H, W), value, np.float32)


def points_of(message: object, columns: int) -> np.ndarray:
    data = np.frombuffer(message.data, '<f4')  # type: ignore[attr-defined]
    return data.reshape(message.height, message.width, columns)  # type: ignore[attr-defined]


def test_everything_is_made_in_order_with_the_header_of_the_image() -> None:
    partly_far = flat()
    partly_far[:4] = -0.5
    messages = made(partly_far)
    assert tuple(messages) == TOPICS
    scan = messages.pop(plan.SCAN)
    assert scan.header.stamp == HEADER.stamp  # type: ignore[attr-defined]
    assert all(message.header == HEADER for message in messages.values())  # type: ignore


def test_depth_follows_the_formula() -> None:
    depth = np.frombuffer(made(flat(0.4))[plan.DEPTH_IMAGE].data, '<f4')  # type: ignore
    np.testing.assert_allclose(depth, 2.0, rtol=1e-6)
    raw = np.frombuffer(made(flat(0.4))[plan.DEPTH_RAW].data, '<u2')  # type: ignore
    assert (raw == 2000).all()


def test_the_camera_info_fits_the_published_size() -> None:
    info = made(flat())[plan.DEPTH_INFO]
    assert (info.width, info.height) == (W, H)  # type: ignore[attr-defined]
    assert info.k[0] == pytest.approx(CAMERA.intrinsics.fx / 2)  # type: ignore[attr-defined]


def test_the_cloud_holds_points_on_the_rays_and_the_colours_of_the_image() -> None:
    cloud = made(flat())[plan.POINTS]
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'rgb']  # type: ignore
    assert all(f.datatype == PointField.FLOAT32 for f in cloud.fields)  # type: ignore
    assert len(cloud.data) == H * W * cloud.point_step  # type: ignore[attr-defined]
    points = points_of(cloud, 4)
    camera = CAMERA.intrinsics.scaled(W, H)
    np.testing.assert_allclose(points[3, 5, 0], 2.0 * (5 - camera.cx) / camera.fx, rtol=1e-5)
    np.testing.assert_allclose(points[..., 2], 2.0, rtol=1e-6)
    assert points[0, 0, 3:].view('<u4')[0] == (10 << 16) + (20 << 8) + 30


def test_normals_and_colour_of_the_cloud_are_a_choice() -> None:
    cloud = made(flat(), cloud_normals=True, cloud_color=False)[plan.POINTS]
    names = [f.name for f in cloud.fields]  # type: ignore[attr-defined]
    assert names == ['x', 'y', 'z', 'normal_x', 'normal_y', 'normal_z']
    assert (points_of(cloud, 6)[..., 5] == -1).all()


def ramp() -> np.ndarray:
    """A near wall, a far one, and a smeared edge of two columns between them."""
    values = flat(0.9)
    values[:, W // 2 :] = 0.1
    values[:, W // 2 - 1], values[:, W // 2] = 0.7, 0.4
    return values


def test_flying_pixels_are_left_out_of_all_clouds_and_of_the_scan_and_counted() -> None:
    # A pixel of so small an image is wide: even this ramp is not steep in it.
    few = {'nav_voxel': 0.001, 'edge_view_angle_deg': 45.0}
    kept, cut = made(ramp(), cloud_edge_threshold=0.0, **few), made(ramp(), **few)
    cloud = points_of(cut[plan.POINTS], 4)
    assert np.isnan(cloud[:, W // 2 - 1 : W // 2 + 1, :3]).all()
    assert np.isfinite(cloud[:, : W // 2 - 1, :3]).all()
    assert kept[plan.NAV_POINTS].width == H * W  # type: ignore[attr-defined]
    assert cut[plan.NAV_POINTS].width == H * (W - 2)  # type: ignore[attr-defined]
    assert cut[plan.NAV_POINTS].is_dense  # type: ignore[attr-defined]
    ranges = {
        name: np.array(messages[plan.SCAN].ranges)  # type: ignore[attr-defined]
        for name, messages in (('kept', kept), ('cut', cut))
    }
    assert np.isfinite(ranges['cut']).sum() < np.isfinite(ranges['kept']).sum()
    made_now = products(ramp(), **few)
    list(made_now.messages([plan.NAV_POINTS]))
    assert made_now.pixels()['flying'] == (2 * H, 2 / W)


def test_normals_find_flying_pixels_that_depth_alone_takes_for_a_surface() -> None:
    slope = np.linspace(0.9, 0.0, W, dtype=np.float32)[None].repeat(H, axis=0)
    facing = np.zeros((H, W, 3), np.float32)
    facing[..., 2] = -1.0
    found = []
    for normals in (None, facing):
        made_now = products(slope, normals, edge_view_angle_deg=45.0)
        list(made_now.messages([plan.NAV_POINTS]))
        found.append(made_now.pixels()['flying'][0])
    assert found[0] + 2 * H <= found[1]


def test_what_limits_took_out_is_counted_by_cause() -> None:
    values = flat(0.4)
    values[0], values[1, :2], values[2] = 20.0, -0.5, 0.0
    made_now = products(values, sky_disparity=0.0, max_range=5.0)
    list(made_now.messages([plan.DEPTH_IMAGE]))
    assert made_now.pixels() == {
        'nearer than min_range': (W, 1 / H),
        'beyond max_range': (0, 0.0),
        'sky': (W + 2, (W + 2) / (H * W)),
        'invalid': (0, 0.0),
    }
    made_now = products(values, max_range=5.0)
    list(made_now.messages([plan.DEPTH_IMAGE]))
    assert made_now.pixels()['beyond max_range'][0] == W + 2
    assert products(values).pixels() == {}


def test_far_rays_are_in_the_clearing_cloud_and_nowhere_else() -> None:
    values = flat(0.9)
    values[:, : W // 2] = -0.5
    messages = made(values, clearing_range=4.0)
    clearing = points_of(messages[plan.CLEARING], 3)[0]
    assert np.isfinite(clearing).all()
    np.testing.assert_allclose(np.linalg.norm(clearing, axis=1), 4.0, rtol=1e-5)
    assert (clearing[:, 0] < 0).all()
    assert (points_of(messages[plan.NAV_POINTS], 3)[0, :, 0] > 0).all()
    near = points_of(made(values, max_range=3.0)[plan.CLEARING], 3)[0]
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), 3.0, rtol=1e-5)


def test_height_is_that_over_the_ground() -> None:
    cloud = made(flat(), nav_height=True, camera_height=1.5)[plan.NAV_POINTS]
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'height']  # type: ignore
    points = points_of(cloud, 4)[0]
    np.testing.assert_allclose(points[:, 3], 1.5 - points[:, 1], rtol=1e-5)


def test_the_scan_measures_in_the_base_frame() -> None:
    wall = made(flat(0.4), camera_x=0.3, camera_yaw_deg=90.0)[plan.SCAN]
    assert wall.header.frame_id == 'base_footprint'  # type: ignore[attr-defined]
    assert HEADER.frame_id == 'optical'
    ranges = np.array(wall.ranges)  # type: ignore[attr-defined]
    angles = wall.angle_min + wall.angle_increment * np.arange(len(ranges))  # type: ignore
    hit = np.isfinite(ranges)
    assert hit.any()
    np.testing.assert_allclose(ranges[hit] * np.sin(angles[hit]), 2.0, rtol=0.02)


def test_the_ground_is_told_from_what_rises_from_it() -> None:
    camera = CAMERA.intrinsics.scaled(W, H)
    rows = (np.arange(H) - camera.cy) / camera.fy
    floor = np.maximum(rows / 0.5, 0.05)[:, None]
    disparity = np.broadcast_to((floor - 0.1), (H, W)).astype(np.float32).copy()
    disparity[:, :4] = 1.0 / 1.2 - 0.1
    normals = np.zeros((H, W, 3), np.float32)
    normals[..., 1] = -1.0
    [(_, packed)] = products(disparity, normals).messages([plan.GROUND])
    image = packed.unpacked()
    labels = np.frombuffer(image.data, np.uint8).reshape(H, W)
    assert image.encoding == 'mono8'
    assert (labels[-2:, 5:] == 127).all()
    assert (labels[H // 2 - 1, :3] == 255).all()


@pytest.mark.parametrize('topic', [plan.NAV_POINTS, plan.CLEARING, plan.SCAN, plan.GROUND])
def test_nothing_is_said_to_navigation_of_a_frame_without_a_valid_pixel(topic: str) -> None:
    assert dict(products(flat(1000.0)).messages([topic])) == {}


def test_what_is_too_near_is_nan_and_what_is_too_far_is_inf() -> None:
    values = flat()
    values[0, 0], values[0, 1] = 100.0, -0.09
    depth = np.frombuffer(made(values)[plan.DEPTH_IMAGE].data, '<f4')  # type: ignore
    assert np.isnan(depth[0])
    assert depth[1] == np.inf
    assert not (depth == 0).any()


def test_a_frame_without_a_valid_pixel_gives_no_metric_message_at_all() -> None:
    invalid = products(flat(1000.0))
    metric = (plan.DEPTH_IMAGE, plan.DEPTH_RAW, plan.POINTS, plan.NAV_POINTS)
    assert dict(invalid.messages(metric)) == {}
    assert set(invalid.empty) == set(metric)


def test_a_frame_wholly_beyond_range_is_told_but_gives_no_cloud_and_no_masked_image() -> None:
    messages = made(flat(-5.0))
    depth = np.frombuffer(messages[plan.DEPTH_IMAGE].data, '<f4')  # type: ignore
    assert (depth == np.inf).all()
    assert not {plan.POINTS, plan.NAV_POINTS, plan.DEPTH_RAW} & set(messages)


def test_a_relative_cloud_is_in_a_frame_of_its_own() -> None:
    settings = {'scale_mode': 'relative', 'relative_cloud': True}
    cloud = made(flat(), [plan.POINTS], **settings)[plan.POINTS]
    assert cloud.header.frame_id == 'optical_relative'  # type: ignore[attr-defined]
    assert HEADER.frame_id == 'optical'


def test_nothing_is_computed_for_topics_that_are_not_asked_for() -> None:
    some = Products(frame(camera=None), flat(), None, FrameScale(1.0, 0.1, 'fixed'))
    assert [topic for topic, _ in some.messages([plan.DEPTH_COLOR])] == [plan.DEPTH_COLOR]
    assert '_metres' not in vars(some)


def test_normals_are_three_floats_facing_the_camera_and_bluish_in_colour() -> None:
    messages = made(flat())
    image, color = messages[plan.NORMALS_IMAGE], messages[plan.NORMALS_COLOR]
    assert (image.encoding, image.step) == ('32FC3', W * 12)  # type: ignore[attr-defined]
    assert np.frombuffer(color.data, np.uint8)[2] == 255  # type: ignore[attr-defined]


def test_an_array_that_does_not_fit_its_encoding_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match='32FC1'):
        image_message(np.zeros((2, 2)), '32FC1', HEADER)
