"""What the running node publishes: every topic, for every kind of input."""

from __future__ import annotations

import array
import time

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rig import FRAME, HEIGHT, WIDTH, Rig, image_of, info_of, picture, pixels, points, wait_until
from sensor_msgs.msg import PointField

from lotus2_ros.ros.plan import MAY_BE_SILENT, TOPICS

ENCODING = {
    'depth/image': '32FC1',
    'depth/image_raw': '16UC1',
    'depth/disparity': '32FC1',
    'depth/color': 'rgb8',
    'normals/image': '32FC3',
    'normals/color': 'rgb8',
    'ground': 'mono8',
}
SCALE, SHIFT = 0.5, 0.2


def test_every_topic_has_its_encoding_size_frame_and_stamp(rig: Rig) -> None:
    rig.listen(*TOPICS)
    messages = rig.frame(None, *(topic for topic in TOPICS if topic not in MAY_BE_SILENT))
    for topic, message in messages.items():
        frame = 'base_footprint' if topic == 'scan' else FRAME
        assert message.header.frame_id == frame, topic
        assert message.header.stamp == messages['depth/image'].header.stamp
        if topic not in ('points/nav', 'scan'):
            assert (message.height, message.width) == (HEIGHT, WIDTH), topic
    for topic, encoding in ENCODING.items():
        message = messages[topic]
        assert message.encoding == encoding
        assert message.step * message.height == len(message.data)
    disparity = pixels(messages['depth/disparity'])
    assert disparity.min() >= 0.0
    assert disparity.max() <= 1.0
    expected = 1 / (SCALE * disparity + SHIFT)
    np.testing.assert_allclose(pixels(messages['depth/image']), expected, rtol=1e-5)
    np.testing.assert_allclose(pixels(messages['depth/image_raw']), 1000 * expected, atol=0.51)
    normals = pixels(messages['normals/image'])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1.0, atol=1e-4)


def test_camera_info_describes_what_is_published(rig: Rig) -> None:
    rig.listen('depth/camera_info', 'normals/camera_info', 'depth/image', 'normals/image')
    messages = rig.frame()
    for topic in ('depth/camera_info', 'normals/camera_info'):
        info = messages[topic]
        assert (info.width, info.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(info.k, info_of().k)
        np.testing.assert_allclose(info.p, info_of().p)
        assert not any(info.d)


def test_the_organized_cloud_is_the_depth_image_in_space(rig: Rig) -> None:
    rig.listen('points', 'depth/image')
    rgb = picture(seed=3)
    messages = rig.frame(rgb)
    cloud, depth = messages['points'], pixels(messages['depth/image'])
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'rgb']
    assert {f.datatype for f in cloud.fields} == {PointField.FLOAT32}
    assert cloud.row_step == cloud.width * cloud.point_step
    assert len(cloud.data) == cloud.row_step * cloud.height
    assert not cloud.is_dense
    xyz = points(cloud)[..., :3]
    fx, cx, fy, cy = info_of().k[0], info_of().k[2], info_of().k[4], info_of().k[5]
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    expected = np.stack([depth * (u - cx) / fx, depth * (v - cy) / fy, depth], axis=2)
    np.testing.assert_allclose(xyz, expected, rtol=1e-4, atol=1e-5)
    packed = points(cloud)[..., 3].copy().view('<u4')
    np.testing.assert_array_equal((packed >> 16) & 255, rgb[..., 0])
    np.testing.assert_array_equal(packed & 255, rgb[..., 2])


def test_the_nav_cloud_is_finite_dense_and_thinned_to_voxels(rig: Rig) -> None:
    rig.listen('points/nav', 'points')
    messages = rig.frame()
    cloud = messages['points/nav']
    assert cloud.is_dense
    assert cloud.height == 1
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z']
    found = points(cloud)[0]
    assert np.isfinite(found).all()
    voxels = np.floor(points(messages['points'])[..., :3].reshape(-1, 3) / np.float32(0.05))
    occupied = len(np.unique(voxels, axis=0))
    assert 0.98 * occupied <= cloud.width <= occupied


def test_the_scan_is_one_that_consumers_take(rig: Rig) -> None:
    rig.listen('scan')
    scan = rig.frame()
    assert len(scan.ranges) == round((scan.angle_max - scan.angle_min) / scan.angle_increment) + 1
    ranges = np.array(scan.ranges)
    hit = np.isfinite(ranges)
    assert hit.any()
    assert ranges[hit].min() >= scan.range_min
    assert ranges[hit].max() <= scan.range_max
    assert not np.isneginf(ranges).any()


@pytest.mark.parametrize(
    'encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'mono8', 'mono16', 'bayer_rggb8', 'nv12']
)
def test_images_of_many_encodings_give_the_prediction_of_their_pixels(
    rig: Rig, encoding: str
) -> None:
    # Every encoding's pixels are tested without a node; this is the way over topics.
    rig.listen('points')
    rgb = picture(seed=5)
    if encoding == 'nv12':
        message = image_of(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), encoding)
        luma, chroma = message.data, array.array('B', bytes([128]) * (WIDTH * HEIGHT // 2))
        message.data = luma + chroma
    else:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        values = {
            'rgb8': rgb,
            'bgr8': rgb[..., ::-1],
            '8UC3': rgb[..., ::-1],
            'rgba8': cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA),
            'bgra8': cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
            'mono8': grey,
            'bayer_rggb8': grey,
            'mono16': grey.astype('<u2') * 257,
        }[encoding]
        message = image_of(values, encoding)
    cloud = rig.get('points', rig.send(message))
    packed = points(cloud)[..., 3].copy().view('<u4')
    seen = np.stack([(packed >> 16) & 255, (packed >> 8) & 255, packed & 255], axis=2)
    if encoding in ('mono8', 'mono16'):
        np.testing.assert_array_equal(seen[..., 0], grey)
    elif encoding in ('bayer_rggb8', 'nv12'):
        assert seen.std() > 10
    else:
        np.testing.assert_array_equal(seen, rgb)


def test_only_what_is_subscribed_is_computed_and_published(rig: Rig) -> None:
    rig.listen('normals/color')
    rig.frame()
    assert set(rig.received) == {'normals/color'}
    frame_tasks = rig.node.session.intake.plans(rig.node.session.wanted())[0].tasks
    assert frame_tasks == ('normals',)
    rig.listen()
    before = rig.node.session.client.counters.accepted
    rig.send(image_of(picture()))
    wait_until(lambda: rig.counts().get('nothing subscribed'), what='the image is left alone')
    assert rig.node.session.client.counters.accepted == before


def test_relative_mode_withholds_what_is_metric_and_says_why(rig: Rig) -> None:
    rig.listen(*TOPICS)
    assert rig.set(scale_mode='relative') == (True, '')
    stamp = rig.send(image_of(picture()))
    for topic in ('depth/disparity', 'depth/color', 'normals/image', 'normals/color'):
        rig.get(topic, stamp)
    values = rig.wait_state('RELATIVE')
    assert 'scale_mode' in values['withheld: ~/depth/image']
    assert 'relative_cloud' in values['withheld: ~/points']
    metric = ('depth/image', 'depth/image_raw', 'points', 'points/nav', 'points/clearing')
    for topic in (*metric, 'scan', 'ground'):
        assert rig.of(topic) == []
    assert rig.set(relative_cloud=True) == (True, '')
    cloud = rig.frame(None, 'points')
    assert cloud.header.frame_id == f'{FRAME}_relative'
    assert rig.of('points/nav') == []


def test_an_image_is_undistorted_and_camera_info_says_so(rig: Rig) -> None:
    rig.send_info(info_of(d=[-0.4, 0.2, 0.0, 0.0, 0.0]))
    rig.listen('depth/camera_info', 'points', 'depth/image')
    rgb = picture(seed=2)
    raw = rig.frame(rgb)
    assert not any(raw['depth/camera_info'].d)
    packed = points(raw['points'])[..., 3].copy().view('<u4')
    assert not np.array_equal(packed & 255, rgb[..., 2])
    assert rig.set(input_rectified=True) == (True, '')
    rectified = rig.frame(rgb)
    packed = points(rectified['points'])[..., 3].copy().view('<u4')
    np.testing.assert_array_equal(packed & 255, rgb[..., 2])


@pytest.mark.parametrize(
    ('info', 'reason'),
    [
        (info_of(width=32, height=24), 'the image is 64x48 px'),
        (info_of(d=[1.0]), 'plumb_bob takes'),
    ],
)
def test_an_unusable_camera_info_silences_clouds_only(rig: Rig, info: object, reason: str) -> None:
    rig.send_info(info)  # type: ignore[arg-type]
    rig.listen('depth/image', 'points')
    rig.frame(None, 'depth/image')
    wait_until(lambda: reason in rig.status()[2].get('withheld: ~/points', ''), what='the reason')
    assert rig.of('points') == []


def test_a_change_of_resolution_is_followed(rig: Rig) -> None:
    rig.listen('depth/image', 'points')
    for width, height in ((96, 64), (33, 47), (WIDTH, HEIGHT)):
        rig.send_info(info_of(width, height))
        messages = rig.frame(picture(width, height))
        for message in messages.values():
            assert (message.width, message.height) == (width, height)


def test_subscribers_of_either_reliability_are_served(rig: Rig) -> None:
    rig.listen()
    best_effort = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    rig.listen('depth/image', qos=best_effort)
    rig.frame()


def test_an_incompatible_subscriber_is_named_in_diagnostics(rig: Rig) -> None:
    rig.listen()
    durable = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    from sensor_msgs.msg import Image

    topic = '/depth_node/depth/image'
    subscription = rig.peer.create_subscription(Image, topic, lambda _: None, durable)
    try:
        wait_until(
            lambda: 'DURABILITY' in rig.status()[2].get(f'incompatible: {topic}', ''),
            what='the diagnostics name topic and policy',
        )
    finally:
        rig.peer.destroy_subscription(subscription)


def test_a_camera_faster_than_the_model_never_makes_a_queue(rig: Rig) -> None:
    rig.listen('depth/image')
    rig.frame()
    before = rig.node.session.client.counters
    sent = []
    for i in range(150):
        sent.append(rig.send(image_of(picture(seed=i))))
        time.sleep(0.002)
    time.sleep(0.2)
    sent.append(rig.send(image_of(picture(seed=150))))
    rig.get('depth/image', sent[-1])
    after = rig.node.session.client.counters
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in rig.of('depth/image')]
    assert stamps == sorted(set(stamps)), 'results come in order, each once'
    assert after.replaced > before.replaced
    assert rig.status()[2]['dropped: replaced']
    assert len(stamps) < 152
    latency = rig.node.session.monitor.snapshot().latencies['total'][1]
    assert latency < 2.0


def test_the_latencies_of_all_stages_are_in_diagnostics(rig: Rig) -> None:
    rig.listen('depth/image')
    rig.frame()
    values = rig.wait_state('OK')
    for stage in ('decode', 'messages', 'publish', 'total', 'model total'):
        assert '/' in values[f'latency {stage} p50/p95 [ms]']
    assert float(values['input rate [Hz]']) > 0
    assert values['device']
    assert values['precision'] == 'float32'
    assert values['output size [px]'] == f'{WIDTH}x{HEIGHT}'


def test_what_is_slow_leaves_frames_out_and_depth_waits_for_nothing(rig: Rig) -> None:
    rig.listen('depth/image', 'points/nav', 'depth/disparity')
    rig.frame()
    rig.forget_counts()
    outputs = rig.node.session.core
    with outputs._locks['points/nav']:  # its thread gets no further than this
        stamps = []
        for seed in range(4):
            stamps.append(rig.send(image_of(picture(seed=seed))))
            for topic in ('depth/image', 'depth/disparity'):
                rig.get(topic, stamps[-1])
    first, last = stamps[0], stamps[-1]
    for stamp in (first, last):
        rig.get('points/nav', stamp)
    assert [m.header.stamp for m in rig.of('points/nav')][1:] == [first, last]
    wait_until(lambda: rig.counts() == {'navigation topics behind': 2}, what=str(rig.counts()))
