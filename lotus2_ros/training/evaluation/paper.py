"""Published accuracy of Lotus-2 (arXiv 2512.01030 v3, tables I to III), to stand beside ours."""

from __future__ import annotations

FULL = 'paper: Lotus-2'
CORE_ALONE = 'paper: core alone'


def _depth(abs_rel_percent: float, delta1_percent: float) -> dict[str, float]:
    return {'abs_rel': abs_rel_percent / 100, 'delta1': delta1_percent / 100}


def _normals(mean: float, under: float) -> dict[str, float]:
    return {'normal_mean': mean, 'normal_under_11.25': under}


PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    'nyuv2': {FULL: _depth(4.1, 97.6), CORE_ALONE: _depth(4.128, 97.608)},
    'kitti': {FULL: _depth(6.7, 94.5), CORE_ALONE: _depth(6.576, 94.682)},
    'eth3d': {FULL: _depth(4.6, 98.1), CORE_ALONE: _depth(4.625, 98.004)},
    'scannet': {FULL: _depth(4.2, 97.6), CORE_ALONE: _depth(4.174, 97.575)},
    'diode': {FULL: _depth(22.1, 75.2)},
    'nyuv2-normals': {FULL: _normals(16.9, 59.0)},
    'scannet-normals': {FULL: _normals(14.2, 66.8)},
    'ibims': {FULL: _normals(15.4, 70.4)},
    'sintel': {FULL: _normals(30.3, 27.6)},
}
"""Benchmark to predictor to figures, in the units of `Judgement.figures`."""
