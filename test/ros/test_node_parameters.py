"""Every parameter of the node does something: each has a test here that shows what."""

from __future__ import annotations

import os
import re
import shutil
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rig import FRAME, HEIGHT, WIDTH, Rig, image_of, info_of, picture, pixels, points, wait_until
from sensor_msgs.msg import Image
from test_scale_topics import SHOWN as SHOWN_WITH_REFERENCES

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings import NodeSettings

SHOWN: dict[str, Callable[..., None]] = {**SHOWN_WITH_REFERENCES}


def shows(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as the one that shows the effect of these parameters."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        SHOWN.update(dict.fromkeys(names, test))
        return test

    return mark


def test_every_parameter_has_a_test_of_its_effect() -> None:
    assert set(NodeSettings.parameters()) - set(SHOWN) == set()


BASE = {'scale_mode': 'fixed', 'cpu_threads': 1, 'diagnostics_rate_hz': 10.0}


def test_descriptors_carry_description_unit_range_and_choices(rig: Rig) -> None:
    service = rig.peer.create_client(DescribeParameters, '/depth_node/describe_parameters')
    names = list(NodeSettings.parameters())
    assert service.wait_for_service(10.0)
    future = service.call_async(DescribeParameters.Request(names=names))
    wait_until(future.done)
    described = {d.name: d for d in future.result().descriptors}
    for name, about in NodeSettings.parameters().items():
        assert described[name].description.startswith(about.description)
        assert about.unit in described[name].description
        assert ('unconfigured' in described[name].additional_constraints) != about.live
    [limits] = described['max_range'].floating_point_range
    assert (limits.from_value, limits.to_value) == (0.01, 10000.0)
    [limits] = described['nav_max_points'].integer_range
    assert (limits.from_value, limits.to_value) == (1, 10_000_000)
    assert 'turbo, inferno' in described['colormap'].additional_constraints


# Live parameters, one running node


@shows('scale_mode', 'disparity_scale', 'disparity_shift')
def test_scale(rig: Rig) -> None:
    rig.listen('depth/image', 'depth/disparity')
    for scale, shift in ((1.0, 0.1), (2.0, 0.5)):
        assert rig.set(disparity_scale=scale, disparity_shift=shift) == (True, '')
        messages = rig.frame()
        expected = 1 / (scale * pixels(messages['depth/disparity']) + shift)
        np.testing.assert_allclose(pixels(messages['depth/image']), expected, rtol=1e-5)
    assert rig.set(scale_mode='relative') == (True, '')
    rig.frame(None, 'depth/disparity')
    assert len(rig.of('depth/image')) == 2


@shows('relative_cloud')
def test_relative_cloud(rig: Rig) -> None:
    rig.listen('points')
    assert rig.set(scale_mode='relative', relative_cloud=True) == (True, '')
    assert rig.frame().header.frame_id == f'{FRAME}_relative'


@shows('min_range', 'max_range')
def test_ranges(rig: Rig) -> None:
    rig.listen('depth/image')
    depth = pixels(rig.frame())
    near, far = float(np.percentile(depth, 30)), float(np.percentile(depth, 70))
    assert rig.set(min_range=near, max_range=far) == (True, '')
    cut = pixels(rig.frame())
    assert 0.1 < np.isnan(cut).mean() < 0.5
    assert 0.1 < np.isinf(cut).mean() < 0.5


@shows('output_scale')
def test_output_scale(rig: Rig) -> None:
    rig.listen('depth/image', 'points', 'depth/camera_info')
    assert rig.set(output_scale=0.5) == (True, '')
    messages = rig.frame()
    for message in messages.values():
        assert (message.height, message.width) == (HEIGHT // 2, WIDTH // 2)
    assert messages['depth/camera_info'].k[0] == pytest.approx(info_of().k[0] / 2)


@shows('min_contrast')
def test_pale_images(rig: Rig) -> None:
    rig.listen('depth/image')
    pale = picture() // 32 + 120
    assert rig.set(min_contrast=20.0) == (True, '')
    rig.send(image_of(pale))
    assert 'min_contrast is the limit' in rig.wait_state('SUSPECT')['remedy']
    assert rig.set(min_contrast=0.0) == (True, '')
    rig.frame(pale)


@shows('frozen_timeout_s')
def test_repeated_images(rig: Rig) -> None:
    rig.listen('depth/image')
    assert rig.set(frozen_timeout_s=0.2) == (True, '')
    wait_until(lambda: rig.send(image_of(picture())) and rig.counts().get('frozen image'))
    assert rig.set(frozen_timeout_s=0.0) == (True, '')
    rig.frame()


@shows('cloud_edge_threshold', 'edge_view_angle_deg')
def test_flying_pixels(rig: Rig) -> None:
    rig.listen('points')
    assert np.isfinite(points(rig.frame())[..., 2]).all()
    # A pixel of so small an image spans a degree: only a wide angle makes its slopes steep.
    assert rig.set(cloud_edge_threshold=0.01, edge_view_angle_deg=45.0) == (True, '')
    wide = np.isnan(points(rig.frame())[..., 2]).mean()
    assert 0.001 < wide < 0.9
    shown = rig.status()[2]['pixels: flying']
    assert f'{100 * wide:.1f}% of the last image' in shown
    assert rig.set(edge_view_angle_deg=1.0) == (True, '')
    assert np.isnan(points(rig.frame())[..., 2]).mean() < wide
    assert rig.set(cloud_edge_threshold=5.0, edge_view_angle_deg=45.0) == (True, '')
    assert np.isnan(points(rig.frame())[..., 2]).mean() < wide


@shows('edge_search')
def test_flying_pixels_are_found_by_the_model_as_by_the_node(rig: Rig) -> None:
    rig.listen('points')
    assert rig.set(cloud_edge_threshold=0.01, edge_view_angle_deg=45.0) == (True, '')
    left_out, by_model = {}, {}
    for where in ('node', 'model', 'auto'):
        assert rig.set(edge_search=where) == (True, '')
        left_out[where] = np.isnan(points(rig.frame())[..., 2])
        said = re.search('for ([0-9]+) of', rig.status()[2]['edge mask'])
        by_model[where] = int(said[1]) if said else 0
    assert left_out['model'].any()
    # Comparisons of two numbers that are equal but for rounding may go either way.
    assert (left_out['model'] != left_out['node']).mean() < 0.002
    # On a CPU, auto is the node.
    assert by_model['model'] == by_model['auto'] == by_model['node'] + 1


@shows('sky_disparity')
def test_sky(rig: Rig) -> None:
    rig.listen('depth/image', 'depth/disparity')
    disparity = pixels(rig.frame()['depth/disparity'])
    sky = float(np.median(disparity))
    assert rig.set(sky_disparity=sky) == (True, '')
    messages = rig.frame()
    far = np.isposinf(pixels(messages['depth/image']))
    np.testing.assert_array_equal(far, pixels(messages['depth/disparity']) <= np.float32(sky))
    assert 'of the last image' in rig.status()[2]['pixels: sky']


@shows('cloud_color', 'cloud_normals')
def test_cloud_fields(rig: Rig) -> None:
    rig.listen('points')
    assert rig.set(cloud_color=False, cloud_normals=True) == (True, '')
    cloud = rig.frame()
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'normal_x', 'normal_y', 'normal_z']
    np.testing.assert_allclose(np.linalg.norm(points(cloud)[..., 3:], axis=2), 1.0, atol=1e-4)


@shows('nav_max_points', 'nav_voxel')
def test_budget_of_the_nav_cloud(rig: Rig) -> None:
    rig.listen('points/nav')
    assert rig.set(nav_voxel=0.001) == (True, '')
    everything = rig.frame().width
    assert everything > 0.9 * WIDTH * HEIGHT
    assert rig.set(nav_voxel=0.2) == (True, '')
    voxels = rig.frame().width
    assert 50 < voxels < everything / 2
    assert rig.set(nav_max_points=50) == (True, '')
    assert 10 <= rig.frame().width <= 50


@shows('nav_height', 'camera_height', 'camera_pitch_deg', 'camera_roll_deg')
def test_height_of_the_nav_cloud(rig: Rig) -> None:
    rig.listen('points/nav')
    pose = {'camera_height': 1.5, 'camera_pitch_deg': 90.0}
    assert rig.set(nav_height=True, **pose) == (True, '')
    cloud = rig.frame()
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'height']
    np.testing.assert_allclose(points(cloud)[..., 3], 1.5 - points(cloud)[..., 2], atol=1e-5)
    # On its side: what was to the right is up then, or down.
    assert rig.set(camera_pitch_deg=0.0, camera_roll_deg=90.0) == (True, '')
    cloud = rig.frame()
    np.testing.assert_allclose(points(cloud)[..., 3], 1.5 - points(cloud)[..., 0], atol=1e-5)
    assert rig.set(camera_height=0.0) == (True, '')
    rig.send(image_of(picture()))
    wait_until(lambda: 'camera_height' in rig.status()[2].get('withheld: ~/points/nav', ''))


@shows('clearing_range')
def test_clearing_range(rig: Rig) -> None:
    rig.listen('depth/image', 'points/clearing')
    rgb = picture()
    depth = pixels(rig.frame(rgb, 'depth/image'))
    assert rig.of('points/clearing') == []
    assert rig.set(max_range=float(np.percentile(depth, 40)), clearing_range=0.7) == (True, '')
    messages = rig.frame(rgb)
    far = points(messages['points/clearing'])[0]
    np.testing.assert_allclose(np.linalg.norm(far, axis=1), 0.7, rtol=1e-4)


@shows('scan_min_height', 'scan_max_height')
def test_band_of_the_scan(rig: Rig) -> None:
    rig.listen('scan')
    assert rig.set(camera_height=1.0, scan_min_height=0.5, scan_max_height=1.5) == (True, '')
    assert np.isfinite(np.array(rig.frame().ranges)).mean() > 0.8
    assert rig.set(scan_min_height=-9.0, scan_max_height=-8.0) == (True, '')
    rig.send(image_of(picture()))
    wait_until(lambda: rig.counts().get('nothing valid in scan'), what='no scan of an empty band')


@shows('base_frame', 'camera_x', 'camera_y', 'camera_yaw_deg', 'scan_increment_deg')
@shows('scan_max_range')
def test_layout_of_the_scan(rig: Rig) -> None:
    rig.listen('scan')
    rgb = picture()
    ahead = rig.frame(rgb)
    assert ahead.header.frame_id == 'base_footprint'
    assert ahead.range_max == 8.0
    assert rig.set(base_frame='base', scan_increment_deg=1.0, camera_yaw_deg=90.0) == (True, '')
    left = rig.frame(rgb)
    assert left.header.frame_id == 'base'
    assert left.angle_increment == pytest.approx(np.radians(1.0))
    middle = 0.5 * (left.angle_min + left.angle_max)
    assert middle == pytest.approx(np.radians(90.0), abs=0.02)
    assert rig.set(camera_y=2.0) == (True, '')
    farther = np.nanmin(np.array(rig.frame(rgb).ranges))
    assert farther == pytest.approx(np.nanmin(np.array(left.ranges)) + 2.0, abs=0.1)
    assert rig.set(camera_y=0.0, camera_yaw_deg=0.0, camera_x=1.0) == (True, '')
    farther = np.nanmin(np.array(rig.frame(rgb).ranges))
    assert farther == pytest.approx(np.nanmin(np.array(ahead.ranges)) + 1.0, abs=0.1)
    assert rig.set(scan_max_range=2.5) == (True, '')
    short = rig.frame(rgb)
    assert short.range_max == 2.5
    ranges = np.array(short.ranges)
    assert np.isposinf(ranges).any()
    assert not (np.isfinite(ranges) & (ranges > 2.5)).any()


@shows('ground_tolerance')
def test_ground_tolerance(rig: Rig) -> None:
    rig.listen('ground')
    assert rig.set(camera_height=0.3, ground_tolerance=0.001) == (True, '')
    strict = pixels(rig.frame())
    assert set(np.unique(strict)) <= {0, 127, 255}
    assert rig.set(ground_tolerance=10.0) == (True, '')
    assert (pixels(rig.frame()) == 255).sum() < (strict == 255).sum()


@shows('colormap', 'color_min', 'color_max')
def test_colours(rig: Rig) -> None:
    rig.listen('depth/color')
    turbo = pixels(rig.frame())
    assert rig.set(colormap='gray') == (True, '')
    gray = pixels(rig.frame())
    assert (gray[..., 0] == gray[..., 1]).all()
    assert not np.array_equal(turbo, gray)
    assert rig.set(color_min=5.0, color_max=6.0) == (True, '')
    assert (pixels(rig.frame()) == 0).all()
    assert rig.set(color_min=-6.0, color_max=-5.0) == (True, '')
    assert (pixels(rig.frame()) == 255).all()


@shows('fallback_hfov_deg')
def test_fallback_hfov(rig: Rig) -> None:
    rig.send_info(info_of(32, 24))
    rig.listen('points', 'depth/image')
    rig.frame(None, 'depth/image')
    assert rig.of('points') == []
    assert rig.set(fallback_hfov_deg=90.0) == (True, '')
    xyz = points(rig.frame(None, 'points'))[..., :3]
    # At 90 degrees the outer edge of the last column lies at x = z.
    np.testing.assert_allclose(
        xyz[:, -1, 0] / xyz[:, -1, 2], (WIDTH / 2 - 0.5) / (WIDTH / 2), rtol=1e-4
    )


@shows('input_rectified')
def test_input_rectified(rig: Rig) -> None:
    info = info_of()
    info.p[0] = 2 * info.k[0]
    rig.send_info(info)
    rig.listen('depth/camera_info')
    assert rig.frame().k[0] == pytest.approx(info.k[0])
    assert rig.set(input_rectified=True) == (True, '')
    assert rig.frame().k[0] == pytest.approx(2 * info.k[0])


@shows('max_image_age_s')
def test_max_image_age(rig: Rig) -> None:
    rig.listen('depth/image')
    now = rig.peer.get_clock().now().nanoseconds
    old = type(rig.stamp())(sec=now // 10**9 - 30)
    rig.send(image_of(picture()), stamp=old)
    wait_until(lambda: rig.counts().get('old stamp'), what='the old image is dropped')
    assert rig.set(max_image_age_s=0.0) == (True, '')
    rig.get('depth/image', rig.send(image_of(picture()), stamp=old))


@shows('max_side')
def test_max_side(rig: Rig) -> None:
    rig.listen('depth/disparity')
    wide = picture(192, 144)
    whole = pixels(rig.frame(wide))
    assert rig.set(max_side=48) == (True, '')
    reduced = pixels(rig.frame(wide))
    assert reduced.shape == whole.shape
    assert not np.allclose(reduced, whole, atol=1e-3)


@shows('sharpen_rate_hz', 'sharpen_steps')
def test_sharpening(rig: Rig) -> None:
    rig.listen('sharp/depth/disparity')
    assert rig.set(sharpen_rate_hz=100.0, sharpen_steps=1) == (True, '')
    one = pixels(rig.frame())
    assert rig.set(sharpen_steps=5) == (True, '')
    assert not np.array_equal(pixels(rig.frame()), one)


@shows('diagnostics_rate_hz')
def test_diagnostics_rate(rig: Rig) -> None:
    assert rig.set(diagnostics_rate_hz=50.0) == (True, '')
    time.sleep(0.1)
    count = len(rig.statuses)
    time.sleep(0.6)
    fast = len(rig.statuses) - count
    assert rig.set(diagnostics_rate_hz=5.0) == (True, '')
    time.sleep(0.1)
    count = len(rig.statuses)
    time.sleep(0.6)
    assert len(rig.statuses) - count <= 5 < 10 <= fast


@shows('stale_timeout_s')
def test_stale_timeout(rig: Rig) -> None:
    rig.listen('depth/image')
    assert rig.set(stale_timeout_s=0.3) == (True, '')
    rig.frame()
    assert 'no image for' in rig.wait_state('STALE', 5.0)['message']
    assert rig.set(stale_timeout_s=3000.0) == (True, '')
    rig.wait_state('OK', 5.0)


# Parameters that need a cleanup


def test_they_are_refused_while_configured_and_taken_after_cleanup(rig: Rig) -> None:
    for name, about in NodeSettings.parameters().items():
        value = getattr(rig.node.settings, name)
        other: Any = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 1.0}.get(
            type(value), lambda _: 'nano'
        )(value)
        if name == 'tasks':
            other = ['depth']
        if not about.live:
            done, reason = rig.set(**{name: other})
            assert not done
            assert f'{name} cannot change while configured' in reason


@pytest.mark.once
@shows(
    'image_transport', 'tasks', 'precision', 'acceleration', 'load_sharpener', 'cpu_threads',
    'model', 'base', 'device', 'text_merging',
)  # fmt: skip
def test_what_is_loaded_from_where_and_how(
    shared_rig: Rig, tiny_model: str, tmp_path: Path
) -> None:
    base, model = tmp_path / 'base', tmp_path / 'adapters'
    model.mkdir()
    shutil.copytree(tiny_model, base)
    for path in base.glob('lotus-2_*_depth.safetensors'):
        path.rename(model / path.name)
    rig = Rig(
        {
            **BASE,
            'model': str(model),
            'base': str(base),
            'tasks': ['depth'],
            'precision': 'fp8',
            'acceleration': True,  # as YAML reads on
            'text_merging': 2.0,
            'load_sharpener': False,
            'cpu_threads': 8,
            'device': 'cpu',
            'image_transport': 'compressed',
        },
        remap=['image:=/camera/image_raw'],
    )
    try:
        rig.wait_ready()
        info = rig.node.session.client.info
        assert str(model) in info['model']
        assert (info['precision'], info['acceleration']) == ('fp8', 'on')
        assert info['text_tokens'] == 4, 'one of eight, filled up'
        shown = rig.status()[2]
        assert (shown['precision'], shown['acceleration']) == ('fp8', 'on')
        assert info['tasks'] == ['depth']
        assert not info['sharpener']
        assert 'cpu' in str(info['device']).lower()
        rig.listen('depth/image', 'normals/image', 'sharp/depth/image')
        assert 'load_sharpener' in rig.sharpen().message
        stamp = _send_jpeg(rig, '/camera/image_raw/compressed')
        rig.get('depth/image', stamp)
        one, eight = (
            psutil.Process(r.node.session.client.pid).num_threads() for r in (shared_rig, rig)
        )
        assert eight >= one + 6
        why = rig.status()[2]['withheld: ~/normals/image']
        assert 'normals task is not loaded' in why
    finally:
        rig.close()


@pytest.mark.once
@shows('sharpen_stepping')
def test_sharpening_beside_frames_is_refused_without_a_gpu(tiny_model: str) -> None:
    # With one it works: test_worker_cuda.py.
    rig = Rig({**BASE, 'model': tiny_model, 'device': 'cpu', 'sharpen_stepping': 'beside'})
    try:
        assert 'here it must be between or auto' in rig.wait_state('FAULT', 60.0)['message']
    finally:
        rig.close()


@pytest.mark.once
@shows('normals_device', 'sharpener_device')
@pytest.mark.parametrize('name', ['normals_device', 'sharpener_device'])
def test_a_second_device_that_is_not_there_is_named(tiny_model: str, name: str) -> None:
    # What two devices compute: test_split.py, test_cuda.py.
    rig = Rig({**BASE, 'model': tiny_model, 'device': 'cpu', name: 'cuda:99'})
    try:
        assert 'device is cuda:99 but' in rig.wait_state('FAULT', 60.0)['message']
    finally:
        rig.close()


@shows('cameras')
def test_cameras(tiny_model: str) -> None:
    # What they have in common and what not: test_multi_camera.
    rig = Rig({**BASE, 'model': tiny_model, 'cameras': ['front', 'rear']})
    try:
        wait_until(lambda: len(rig.node.sessions) == 2, what='a session for each camera')
        published = dict(rig.node.get_publisher_names_and_types_by_node('depth_node', '/'))
        assert {'/depth_node/front/depth/image', '/depth_node/rear/depth/image'} <= set(published)
        assert '/depth_node/depth/image' not in published
    finally:
        rig.close()


@shows('autostart')
def test_a_base_that_is_not_there_fails_configuring(tiny_model: str) -> None:
    rig = Rig({**BASE, 'model': tiny_model, 'base': '/no/such/base', 'autostart': False})
    try:
        rig.wait_state('WAIT')
        assert rig.node.lifecycle == 'unconfigured'
        assert rig.node.session is None
        rig.transition('configure')
        assert "base is '/no/such/base'" in rig.wait_state('FAULT')['message']
        assert rig.node.lifecycle == 'unconfigured'
    finally:
        rig.close()


@pytest.mark.once
@shows('load_timeout_s', 'max_worker_restarts')
def test_loading_that_takes_too_long_is_given_up(tiny_model: str) -> None:
    # Importing torch alone takes longer than the smallest timeout.
    rig = Rig({**BASE, 'model': tiny_model, 'load_timeout_s': 1.0, 'max_worker_restarts': 0})
    try:
        values = rig.wait_state('FAULT', 30.0)
        assert 'load' in values['message']
        assert rig.node.lifecycle == 'unconfigured'
    finally:
        rig.close()


@pytest.mark.once
@shows('frame_timeout_s')
def test_a_worker_that_hangs_is_replaced(tiny_model: str) -> None:
    rig = Rig({**BASE, 'model': tiny_model, 'frame_timeout_s': 0.5})
    try:
        rig.wait_ready()
        rig.listen('depth/image')
        rig.frame()
        pid = rig.node.session.client.pid
        os.kill(pid, signal.SIGSTOP)
        rig.send(image_of(picture()))
        assert '0.5 s' in rig.wait_state('RECOVERING', 15.0)['message']
        assert not psutil.pid_exists(pid)
    finally:
        rig.close()


LEAK = """
    import pathlib, threading, time

    def leak():
        kept = []
        while not pathlib.Path(__file__).with_name('stop').exists():
            kept.append(bytearray(b'x' * (4 << 20)))
            time.sleep(0.2)

    if 'lotus2_ros.worker.main' in ' '.join(map(str, __import__('sys').orig_argv)):
        threading.Thread(target=leak, daemon=True).start()
"""


@pytest.mark.once
@shows('max_worker_growth_mib')
def test_a_worker_whose_memory_leaks_is_replaced(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python imports it at start: a library that leaks in the worker's process.
    (tmp_path / 'sitecustomize.py').write_text(textwrap.dedent(LEAK))
    monkeypatch.syspath_prepend(tmp_path)
    rig = Rig({**BASE, 'model': tiny_model, 'max_worker_growth_mib': 64})
    try:
        rig.wait_ready()
        rig.listen('depth/disparity')
        first = rig.node.session.client.pid

        def lost() -> bool:
            rig.send(image_of(picture()))
            return rig.node.session.client.state == 'recovering'

        wait_until(lost, 60.0, 'the leak is noticed')
        (tmp_path / 'stop').touch()
        message = rig.wait_state('RECOVERING', 15.0)['message']
        assert 'memory grew by' in message
        assert '64 MiB are allowed' in message
        rig.wait_ready()
        assert not psutil.pid_exists(first)
        rig.frame()
        assert int(rig.status()[2]['worker memory [B]']) > 0
        assert rig.node.session.client.restarts == 1
    finally:
        rig.close()


def test_quality_of_service_can_be_overridden_and_a_mismatch_is_named(tiny_model: str) -> None:
    reliable = {'qos_overrides./image.subscription.reliability': 'reliable'}
    rig = Rig({**BASE, 'model': tiny_model, **reliable})
    try:
        wait_until(lambda: rig.node.lifecycle == 'active')
        best_effort = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        rig.peer.create_publisher(Image, '/image', best_effort)
        wait_until(
            lambda: 'RELIABILITY' in rig.status()[2].get('incompatible: /image', ''),
            what='topic and policy',
        )
    finally:
        rig.close()


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'maxrange': 5.0}, 'unknown parameter maxrange'),
        ({'max_range': -5.0}, 'max_range is -5.0'),
        ({'max_range': 'far'}, 'max_range must be float'),
        ({'tasks': ['depth', 'colour']}, "tasks is 'colour'"),
        ({'color_min': 2.0}, 'must be below color_max'),
    ],
)
def test_a_start_with_bad_parameters_fails_and_names_them(
    values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        Rig(values)


def test_a_whole_number_is_fine_where_a_real_one_is_meant() -> None:
    rig = Rig({'max_range': 30, 'autostart': False})
    try:
        assert rig.node.settings.max_range == 30.0
        assert rig.node.get_parameter('max_range').value == 30.0
    finally:
        rig.close()


def _send_jpeg(rig: Rig, topic: str) -> Any:
    import array

    import cv2
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

    data = cv2.imencode('.jpg', picture())[1].tobytes()
    message = CompressedImage(
        header=Header(frame_id=FRAME), format='jpeg', data=array.array('B', data)
    )
    return rig.send(message, topic)
