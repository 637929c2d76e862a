from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.fusion import fuse


def estimate(source, log_a=0.0, b=0.1, sigma=0.02):
    return ScaleEstimate(
        float(np.exp(log_a)), b, np.diag([sigma**2, sigma**2]), 0.8, 500, 0.01, source
    )


def test_sources_that_agree_are_more_certain_together():
    one, other = estimate('depth', 0.02), estimate('points', -0.02)
    fused = fuse([one, other])
    assert isinstance(fused.result, ScaleEstimate)
    assert fused.disagreeing == ()
    assert fused.result.source == 'depth+points'
    assert abs(np.log(fused.result.a)) < 0.005
    alone = one.covariance[0, 0] + 0.025**2
    assert fused.result.covariance[0, 0] == pytest.approx(alone / 2, rel=0.05)


def test_the_more_certain_source_weighs_more():
    fused = fuse([estimate('depth', 0.0, sigma=0.01), estimate('ground', 0.1, sigma=0.2)])
    assert abs(np.log(fused.result.a)) < 0.01


@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
def test_the_one_that_contradicts_the_others_is_named_and_left_out(order):
    sources = [estimate('depth', 0.01), estimate('points', -0.01), estimate('ground', 0.8)]
    fused = fuse([sources[i] for i in order])
    assert fused.disagreeing == ('ground',)
    assert fused.result.source == 'depth+points'
    assert abs(np.log(fused.result.a)) < 0.01
    assert 'ground: a 2.23' in fused.detail


def test_two_that_disagree_leave_nothing_to_choose():
    fused = fuse([estimate('depth'), estimate('points', 0.7)])
    assert fused.result == NoScale('references disagree')
    assert fused.disagreeing == ('depth', 'points')
    assert 'a 2.01' in fused.detail


def test_a_wrong_shift_is_a_disagreement_too():
    fused = fuse([estimate('depth'), estimate('points', b=0.6)])
    assert fused.result == NoScale('references disagree')


def test_agreement_is_not_taken_for_a_disagreement():
    """As scattered as their covariances say, one in a thousand at most is refused."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        pair = [
            replace(estimate(name, rng.normal(0, 0.02)), b=0.1 + rng.normal(0, 0.02))
            for name in ('depth', 'points', 'ground')
        ]
        refused += bool(fuse(pair).disagreeing)
    assert refused == 0


def test_one_source_is_passed_on_and_none_is_told():
    only = estimate('points')
    assert fuse([only]).result is only
    assert fuse([]).result == NoScale('no source')
