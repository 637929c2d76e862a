"""A benchmark's figures as a table and as a plot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.tools.benchmark_runs import TOTAL

_ORDER = ('preprocess', 'text', 'encode', 'core', 'sharpen', 'decode', 'postprocess')
"""Of stages along a bar: the way of an image."""


def print_report(report: dict[str, Any]) -> None:
    """Print a table for each mode, then what holds for all."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 100)
    for mode in report['modes']:
        console.print(_table(mode))
        where = mode['memory']
        about = f'{mode["device"]}, {where["gib"]:.2f} GiB ({where["kind"]})'
        if 'load_s' in mode:
            about += f', loaded in {mode["load_s"]:.1f} s, at most {mode["max_side"]} px'
        console.print(about, highlight=False, soft_wrap=True)
        for steps, figures in mode.get('deviation', {}).items():
            console.print(
                f'from {report["modes"][0]["name"]} at {steps} steps: {_deviation(figures)}',
                highlight=False,
                soft_wrap=True,
            )
    console.print(
        f'{report["machine"]}, torch {report["torch"]}, {report["repeats"]} runs',
        highlight=False,
        soft_wrap=True,
    )


def _deviation(figures: dict[str, float]) -> str:
    texts = []
    if 'disparity' in figures:
        texts.append(f'disparity {100 * figures["disparity"]:.2f} % of its spread')
    if 'normals_deg' in figures:
        texts.append(f'normals {figures["normals_deg"]:.2f} deg')
    return ', '.join(texts)


def _table(mode: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=mode['name'])
    table.add_column('case and stage')
    for title in ('p50, ms', 'p95, ms', 'frames/s'):
        table.add_column(title, justify='right')
    for case in mode['cases']:
        stages = case['stages_ms']
        total = stages[TOTAL]
        times = f'{total["p50"]:.1f}', f'{total["p95"]:.1f}', f'{case["frames_per_second"]:.1f}'
        table.add_row(case_name(case), *times, style='bold')
        for stage, figures in stages.items():
            if stage != TOTAL:
                table.add_row(f'  {stage}', f'{figures["p50"]:.1f}', f'{figures["p95"]:.1f}', '')
        table.add_section()
    return table


def case_name(case: dict[str, Any]) -> str:
    """A case in words."""
    width, height = case['image']
    return f'{width}x{height} {"+".join(case["tasks"])}, {case["sharpen_steps"]} steps, {TOTAL}'


def plot_report(path: Path, report: dict[str, Any]) -> None:
    """Write a picture: a bar of stages for each mode and case, the 95th percentile as a mark.

    Raises:
        SettingsError: matplotlib is not installed.
        Lotus2Error: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as err:
        raise SettingsError('--plot needs matplotlib: pip install matplotlib') from err
    rows = [(mode['name'], case) for mode in report['modes'] for case in mode['cases']]
    found = dict.fromkeys(s for _, case in rows for s in case['stages_ms'] if s != TOTAL)
    stages = [s for s in _ORDER if s in found] + [s for s in found if s not in _ORDER]
    figure = Figure(figsize=(9, 1.6 + 0.55 * len(rows)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (_, case) in enumerate(rows):
        left = 0.0
        for index, stage in enumerate(stages):
            length = case['stages_ms'].get(stage, {'p50': 0.0})['p50']
            label = stage if place == 0 else None
            axes.barh(place, length, left=left, height=0.6, color=f'C{index}', label=label)
            left += length
        total = case['stages_ms'][TOTAL]
        axes.plot(total['p95'], place, 'k|', markersize=12)
        text = f' {total["p50"]:.1f} ms'
        axes.text(max(left, total['p95']), place, text, va='center', fontsize='small')
    names = [f'{name}\n{case_name(case).removesuffix(", " + TOTAL)}' for name, case in rows]
    axes.set_yticks(range(len(rows)), names, fontsize='small')
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(case['stages_ms'][TOTAL]['p95'] for _, case in rows))
    axes.set_xlabel('median of each stage [ms]; mark: 95th percentile of the total')
    axes.set_title(f'{report["device"]}, torch {report["torch"]}', fontsize='medium')
    figure.legend(ncols=4, fontsize='small', loc='outside upper center')
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise Lotus2Error(f'{path}: cannot be written: {error}') from error
