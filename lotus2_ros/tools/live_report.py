"""A run against the simulated robot's truth, image by image, and what it comes to."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lotus2_ros.ros import plan
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.live_figures import Figures, flicker, moment_figures, unchanged
from lotus2_ros.types import Float32Array

if TYPE_CHECKING:
    from lotus2_ros.ros.truth_listener import Moment

_OCCUPANCY_EVERY_S = 1.0
"""Clouds and scans are judged about this often: it takes most of the time."""

_WINDOW_S = 1.0
_LEAST_IN_WINDOW = 3
_SAID = ('sigma of log a', 'inlier share', 'age [s]')
_STILL = 0.9
"""Share of the picture that must be unchanged for the camera to count as still."""

TITLES = {
    'abs_rel': 'metric AbsRel',
    'oracle_abs_rel': 'AbsRel, oracle-aligned per image',
    'ratio': 'metric / oracle, of the means',
    'delta1': 'delta1',
    'depth_share': 'pixels with metric depth',
    'log_a_jitter': 'scale jitter: std of log a over 1 s, still camera',
    'flicker': 'flicker of depth, still pixels',
    'disparity_flicker': 'flicker of disparity, still pixels',
    'normals_mean_deg': 'normals, mean angle in degrees',
    'normals_median_deg': 'normals, median angle in degrees',
    'cloud_error': 'cloud, distance / range',
    'nav_found': 'obstacles found by points/nav',
    'nav_marked': 'free cells marked by points/nav',
    'scan_right': 'scan beams right within 10 cm or 5%',
}
"""Figure to what it is called in the table, in its order."""


class LiveReport:
    """Takes moments in order; keeps numbers, not images.

    Attributes:
        rows: figures of every moment, `time` [s] since the first and `state` of the scale too.
    """

    def __init__(self, node: NodeSettings) -> None:
        self.rows: list[dict[str, Any]] = []
        self._node = node
        self._begin = 0
        self._judged_at = -math.inf
        self._last: Moment | None = None

    def add(self, moment: Moment) -> None:
        """Judge a moment."""
        if not self.rows:
            self._begin = moment.stamp
        time = (moment.stamp - self._begin) / 1e9
        due = time - self._judged_at >= _OCCUPANCY_EVERY_S
        if due:
            self._judged_at = time
        figures = moment_figures(moment, self._node, occupancy=due)
        figures |= self._changes(moment)
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        state = moment.scale.get('state', '')
        figures |= _said(moment.scale)
        self.rows.append({'time': time, 'state': state, **figures})
        self._last = moment

    def _changes(self, moment: Moment) -> Figures:
        last, depth = self._last, moment.depth
        if last is None or last.depth is None or depth is None or last.depth.shape != depth.shape:
            return {}
        still = unchanged(last.depth, depth)
        figures = {'still_share': float(still.mean())}
        for name, topic in (('flicker', plan.DEPTH_IMAGE), ('disparity_flicker', plan.DISPARITY)):
            first, second = last.results.get(topic), moment.results.get(topic)
            if first is not None and second is not None and first.shape == still.shape:
                figures[name] = flicker(_logarithm(first, topic), _logarithm(second, topic), still)
        return figures

    def column(self, name: str) -> list[float]:
        """A figure of all images that have it."""
        values = (row.get(name, math.nan) for row in self.rows)
        return [float(value) for value in values if math.isfinite(value)]

    def summary(self) -> dict[str, Any]:
        """Means of the figures, quantiles of latency, the scale's states."""
        means = {n: statistics.fmean(v) for n in TITLES if (v := self.column(n))}
        if 'ratio' in means:
            # Of the means: where the oracle is almost exact, a ratio of one image says little.
            both = [row for row in self.rows if 'ratio' in row]
            sums = [sum(row[name] for row in both) for name in ('abs_rel', 'oracle_abs_rel')]
            means['ratio'] = sums[0] / sums[1]
        jitter = self.jitter()
        if jitter is not None:
            means['log_a_jitter'] = jitter
        names = {name for row in self.rows for name in row if name.startswith('latency ')}
        latency = {
            name.removeprefix('latency '): {
                'p50': float(np.quantile(self.column(name), 0.5)),
                'p95': float(np.quantile(self.column(name), 0.95)),
            }
            for name in sorted(names)
        }
        states = Counter(row['state'] or 'not published' for row in self.rows)
        return {
            'images': len(self.rows),
            'seconds': self.rows[-1]['time'] if self.rows else 0.0,
            'figures': {name: means[name] for name in TITLES if name in means},
            'latency': latency,
            'scale_states': dict(states),
        }

    def jitter(self) -> float | None:
        """Median, over windows with a still camera, of the spread of log a.

        A window is a second, or three images where fewer come in one.
        """
        spreads = []
        usable = [row for row in self.rows if row.get('a', 0) > 0]
        for start in range(len(usable) - _LEAST_IN_WINDOW + 1):
            until = usable[start]['time'] + _WINDOW_S
            window = [
                row
                for k, row in enumerate(usable[start:])
                if k < _LEAST_IN_WINDOW or row['time'] < until
            ]
            if all(row.get('still_share', 0) >= _STILL for row in window):
                spreads.append(float(np.std([math.log(row['a']) for row in window])))
        return statistics.median(spreads) if spreads else None

    def write(self, folder: Path) -> list[Path]:
        """live.csv and live.png; their paths. live.json is the caller's: it knows the setting."""
        folder.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = folder / 'live.csv'
        with table.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, names, restval='', lineterminator='\n')
            writer.writeheader()
            writer.writerows(self.rows)
        picture = folder / 'live.png'
        _plot(picture, self.rows)
        return [table, picture]


def _said(scale: dict[str, str]) -> Figures:
    """What ~/scale says about itself, as numbers."""
    said = {f'scale {name}': float(scale[name]) for name in _SAID if name in scale}
    return {name: value for name, value in said.items() if math.isfinite(value)}


def print_summary(summary: dict[str, Any]) -> None:
    """Tables of figures, latencies and states."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=110)
    figures = Table(title=f'{summary["images"]} images in {summary["seconds"]:.0f} s')
    figures.add_column('against the truth')
    figures.add_column('mean', justify='right')
    for name, value in summary['figures'].items():
        figures.add_row(TITLES[name], f'{value:.4g}')
    console.print(figures)
    latency = Table(title='from the stamp of the image to the arrival')
    for title in ('topic', 'p50', 'p95'):
        latency.add_column(title, justify='left' if title == 'topic' else 'right')
    for topic, quantiles in summary['latency'].items():
        latency.add_row(topic, *(f'{1e3 * quantiles[q]:.0f} ms' for q in ('p50', 'p95')))
    console.print(latency)
    states = ', '.join(f'{name}: {n} images' for name, n in summary['scale_states'].items())
    console.print(f'scale: {states}')


def _logarithm(values: Float32Array, topic: str) -> Float32Array:
    """Depth by its logarithm, so that near and far count alike; disparity as it is."""
    if not topic.endswith('image'):
        return values
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.asarray(np.log(values))


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout='constrained')
    FigureCanvasAgg(figure)
    error, scale, nav, late = figure.subplots(4, 1, sharex=True)

    def draw(axes: Any, names: tuple[str, ...]) -> None:
        for name in names:
            points = [(r['time'], r[name]) for r in rows if math.isfinite(r.get(name, math.nan))]
            if points:
                axes.plot(*zip(*points, strict=True), '.-', label=name, linewidth=1)
        if axes.lines:
            axes.legend(fontsize='small', loc='upper right')

    draw(error, ('abs_rel', 'oracle_abs_rel', 'cloud_error'))
    error.set_ylabel('relative error')
    draw(scale, ('a', 'b'))
    scale.set_ylabel('scale, shift [1/m]')
    known = list(dict.fromkeys(row['state'] or 'not published' for row in rows))
    twin = scale.twinx()
    levels = [known.index(row['state'] or 'not published') for row in rows]
    twin.step([row['time'] for row in rows], levels, 'k:', where='post', linewidth=1)
    twin.set_yticks(range(len(known)), known, fontsize='small')
    twin.set_ylim(-0.5, len(known) - 0.5)
    draw(nav, ('nav_found', 'nav_marked', 'scan_right'))
    nav.set_ylabel('share')
    draw(late, tuple(dict.fromkeys(n for row in rows for n in row if n.startswith('latency '))))
    late.set_ylabel('seconds')
    late.set_xlabel('time of the image [s]')
    figure.savefig(path, dpi=110)
