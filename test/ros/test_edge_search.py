from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.ros.camera import Camera
from lotus2_ros.ros.edge_search import SHIFT_TOLERANCE, EdgeSearches, edge_search
from lotus2_ros.ros.plan import DEPTH_IMAGE, NAV_POINTS, make_plan
from lotus2_ros.ros.products import Frame, FrameScale, Products
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import PredictionHistory
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.ros.transforms import Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import EdgeSearch

SETTINGS = NodeSettings(scale_mode='fixed', camera_height=0.5, edge_search='model')
CAMERA = Camera(Intrinsics.from_hfov(60.0, 64, 48), None, 'test')
GPU = 'cuda:0 (a GPU)'


def search(
    settings: NodeSettings = SETTINGS,
    topics: tuple[str, ...] = (DEPTH_IMAGE, NAV_POINTS),
    camera: Camera | None = CAMERA,
    shift: float = 0.1,
    device: str = 'cpu',
) -> EdgeSearch | None:
    plan = make_plan(topics, settings, '' if camera else 'no camera')
    return edge_search(settings, plan, camera, (24, 32), shift=shift, device=device)


def test_a_search_has_the_camera_of_the_result() -> None:
    found = search()
    half = CAMERA.intrinsics.scaled(32, 24)
    assert found == (0.1, 1.1, 6.0, half.fx, half.fy, half.cx, half.cy)


def test_the_model_looks_only_where_that_is_wanted_and_can_be_used() -> None:
    auto, node = replace(SETTINGS, edge_search='auto'), replace(SETTINGS, edge_search='node')
    assert search(auto) is None
    assert search(auto, device=GPU) is not None
    assert search(node, device=GPU) is None
    assert search(topics=(DEPTH_IMAGE,)) is None
    assert search(camera=None) is None
    assert search(shift=math.nan) is None
    assert search(replace(SETTINGS, cloud_edge_threshold=0.0)) is None


def test_a_search_counts_only_with_the_scale_that_it_was_made_for() -> None:
    searches, made = EdgeSearches(), search()
    assert searches.notes == {}
    mask = np.zeros((24, 32), np.bool_)
    assert made is not None
    assert searches.usable(mask, made, 0.1 + 2 * SHIFT_TOLERANCE) is None
    assert searches.usable(mask, made, math.nan) is None
    assert searches.usable(mask, None, 0.1) is None
    assert searches.usable(None, made, 0.1) is None
    assert searches.notes == {'edge mask': 'in the node'}
    assert searches.usable(mask, made, 0.1 + 0.5 * SHIFT_TOLERANCE) is mask
    assert searches.notes == {'edge mask': 'with the model, for 1 of the last 5 images'}


def test_what_was_found_with_the_model_is_left_out_and_counted() -> None:
    plan = make_plan((NAV_POINTS,), SETTINGS, '')
    header = Header(frame_id='optical')
    frame = Frame(header, SETTINGS, plan, plan, CAMERA, None, epoch=0, received=0.0)
    flying = np.zeros((24, 32), np.bool_)
    flying[4:9, 3:20] = True
    disparity = np.full((24, 32), 0.4, np.float32)
    made = Products(frame, disparity, None, FrameScale.of(SETTINGS), flying=flying)
    made.keep((NAV_POINTS,))
    flying[:] = False  # the memory of results is used again
    assert dict(made.messages((NAV_POINTS,)))
    assert made.pixels()['flying'] == (85, pytest.approx(85 / 768))


@pytest.mark.parametrize('steady', [False, True])
def test_the_shift_is_that_of_the_disparity_as_predicted(steady: bool) -> None:
    """Metres of the published disparity and of the predicted one are the same."""
    settings = replace(SETTINGS, steady=steady, disparity_scale=2.0, disparity_shift=0.3)
    history = PredictionHistory()
    feeds = ReferenceFeeds(lambda *_: None, lambda _: None)  # type: ignore[arg-type,return-value]
    sources = ScaleSources(feeds, Transforms(None), history)  # type: ignore[arg-type]
    keeper = ScaleKeeper(sources, history, publish=lambda *_: None, count=lambda _: None)
    rng = np.random.default_rng(0)
    column, row = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    world = (0.2 + 0.3 * column * row + 0.2 * np.sin(5 * column)).astype(np.float32)
    plan = make_plan((NAV_POINTS,), settings, '')
    for number in range(4):
        gain, offset = rng.uniform(0.8, 1.2), rng.uniform(-0.05, 0.05)
        predicted = np.float32(gain) * world + np.float32(offset)
        header = Header(frame_id='optical')
        header.stamp.nanosec = number * 10_000_000
        frame = Frame(header, settings, plan, plan, CAMERA, None, epoch=0, received=0.0)
        scaled = keeper.of(frame, predicted, None, sharp=False)
        assert scaled.disparity is not None
        inverse = scaled.scale.a * scaled.disparity.astype(np.float64) + scaled.scale.b
        ratio = inverse / (predicted.astype(np.float64) + scaled.shift)
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)
        assert keeper.expected_shift(settings) == pytest.approx(scaled.shift)
    if steady:
        assert scaled.shift != pytest.approx(0.15, abs=1e-3)
        keeper.reset('the test wants it')
        assert math.isnan(keeper.expected_shift(settings))
