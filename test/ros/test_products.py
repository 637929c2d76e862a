from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.ros import plan
from lotus2_ros.ros.camera import Camera
from lotus2_ros.ros.messages import image_message
from lotus2_ros.ros.plan import TOPICS, make_plan
from lotus2_ros.ros.products import Frame, Products
from lotus2_ros.settings import NodeSettings

H, W = 12, 16
HEADER = Header(frame_id='optical')
CAMERA = Camera(Intrinsics.from_hfov(60.0, 2 * W, 2 * H), None, 'test')


def frame(camera: Camera | None = CAMERA, **settings: object) -> Frame:
    chosen = NodeSettings(**{'scale_mode': 'fixed', **settings})  # type: ignore[arg-type]
    core = make_plan(TOPICS, chosen, '')
    colors = np.full((H, W, 3), (10, 20, 30), np.uint8)
    return Frame(HEADER, chosen, core, core, camera, colors, epoch=0, received=0.0)


def made(disparity: np.ndarray, topics: object = TOPICS, **settings: object) -> dict[str, object]:
    normals = np.zeros((H, W, 3), np.float32)
    normals[..., 2] = -1.0
    products = Products(frame(**settings), disparity, normals)
    return dict(products.messages(topics))  # type: ignore[arg-type]


def flat(value: float = 0.4) -> np.ndarray:
    return np.full((H, W), value, np.float32)


def points_of(message: object, columns: int) -> np.ndarray:
    data = np.frombuffer(message.data, '<f4')  # type: ignore[attr-defined]
    return data.reshape(message.height, message.width, columns)  # type: ignore[attr-defined]


def test_everything_is_made_in_order_with_the_header_of_the_image() -> None:
    messages = made(flat())
    assert tuple(messages) == TOPICS
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


def test_points_at_depth_edges_are_left_out_of_both_clouds() -> None:
    step = flat(0.4)
    step[:, W // 2 :] = 0.1
    cloud = points_of(made(step)[plan.POINTS], 4)
    assert np.isnan(cloud[:, W // 2 - 1 : W // 2 + 1, :3]).all()
    assert np.isfinite(cloud[:, : W // 2 - 1, :3]).all()
    kept = made(step, cloud_edge_threshold=0.0, nav_stride=1)[plan.NAV_POINTS]
    cut = made(step, nav_stride=1)[plan.NAV_POINTS]
    assert kept.width == H * W  # type: ignore[attr-defined]
    assert cut.width == H * (W - 2)  # type: ignore[attr-defined]
    assert cut.is_dense  # type: ignore[attr-defined]


def test_what_is_too_near_is_nan_and_what_is_too_far_is_inf() -> None:
    values = flat()
    values[0, 0], values[0, 1] = 100.0, -0.09
    depth = np.frombuffer(made(values)[plan.DEPTH_IMAGE].data, '<f4')  # type: ignore
    assert np.isnan(depth[0])
    assert depth[1] == np.inf
    assert not (depth == 0).any()


def test_a_frame_without_a_valid_pixel_gives_no_metric_message_at_all() -> None:
    products = Products(frame(), flat(1000.0), None)
    metric = (plan.DEPTH_IMAGE, plan.DEPTH_RAW, plan.POINTS, plan.NAV_POINTS)
    assert dict(products.messages(metric)) == {}
    assert set(products.empty) == set(metric)


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
    products = Products(frame(camera=None), flat(), None)
    assert [topic for topic, _ in products.messages([plan.DEPTH_COLOR])] == [plan.DEPTH_COLOR]
    assert '_depth' not in vars(products)


def test_normals_are_three_floats_facing_the_camera_and_bluish_in_colour() -> None:
    messages = made(flat())
    image, color = messages[plan.NORMALS_IMAGE], messages[plan.NORMALS_COLOR]
    assert (image.encoding, image.step) == ('32FC3', W * 12)  # type: ignore[attr-defined]
    assert np.frombuffer(color.data, np.uint8)[2] == 255  # type: ignore[attr-defined]


def test_an_array_that_does_not_fit_its_encoding_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match='32FC1'):
        image_message(np.zeros((2, 2)), '32FC1', HEADER)
