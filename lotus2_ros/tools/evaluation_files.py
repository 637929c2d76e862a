"""Results of an evaluation as files: tables, figures of every sample, spectra, the worst ten."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lotus2_ros.photographs import write_picture
from lotus2_ros.tools.sheet import contact_sheet, sheet_row
from lotus2_ros.training.evaluation.benchmark import Benchmark
from lotus2_ros.training.evaluation.plots import plot_spectrum, spectrum_curves
from lotus2_ros.training.evaluation.running import Remembered, Result
from lotus2_ros.training.evaluation.sequences import Sequence as FrameSequence
from lotus2_ros.training.evaluation.spectrum import ring_frequencies
from lotus2_ros.training.evaluation.steadiness import Steadiness
from lotus2_ros.training.evaluation.tables import FLICKER_COLUMNS, recovered, summaries

_TILE = (320, 240)


def write_results(folder: Path, benchmark: Benchmark, result: Result) -> None:
    """Write everything about one benchmark but its tables.

    Raises:
        OSError: a file cannot be written.
        ImageError: a picture cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = benchmark.name
    _write_samples(folder / f'{stem}.csv', result)
    curves = spectrum_curves(result)
    if curves:
        header = ['cycles_per_pixel', *curves]
        rows = np.column_stack([ring_frequencies(), *curves.values()])
        _write_csv(folder / f'{stem}_spectrum.csv', header, rows.tolist())
        title = f'{benchmark.title}: mean of {len(result.truth)} images'
        plot_spectrum(folder / f'{stem}_spectrum.png', title, curves)
    sheets = {
        'worst_depth': result.worst_depth,
        'worst_normals': result.worst_normals,
        'first_depth': result.first_depth,
        'first_normals': result.first_normals,
    }
    for name, samples in sheets.items():
        if samples:
            task = name.partition('_')[2]
            write_picture(folder / f'{stem}_{name}.jpg', _sheet(samples, task))


def write_steadiness(folder: Path, sequence: FrameSequence, result: Steadiness) -> None:
    """Write the flicker of every pair of frames.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = [
        [pair, setting, *(figures.get(name, '') for name in FLICKER_COLUMNS), '']
        for setting, pairs in result.rows.items()
        for pair, figures in pairs.items()
    ]
    blank = [''] * len(FLICKER_COLUMNS)
    rows += [[e.name, '', *blank, f'skipped: {e.reason}'] for e in result.skipped]
    header = ['frame', 'predictor', *FLICKER_COLUMNS, 'remark']
    _write_csv(folder / f'{sequence.name}.csv', header, rows)


def plain_steadiness(sequence: FrameSequence, result: Steadiness) -> dict[str, Any]:
    """A sequence's flicker as plain JSON data."""
    return {
        'title': sequence.title,
        'judged': result.judged,
        'skipped': [asdict(entry) for entry in result.skipped],
        'figures': result.summary(),
    }


def plain(benchmark: Benchmark, result: Result) -> dict[str, Any]:
    """One benchmark's results as plain JSON data."""
    return {
        'title': benchmark.title,
        'judged': result.judged,
        'skipped': [asdict(entry) for entry in result.skipped],
        'failed': [asdict(entry) for entry in result.failed],
        'figures': summaries(benchmark.name, result),
        'fine_log_power_recovered': recovered(result),
        'worst_depth': [{'name': w.name, 'abs_rel': w.error} for w in result.worst_depth],
        'worst_normals': [{'name': w.name, 'mean': w.error} for w in result.worst_normals],
    }


def _write_samples(path: Path, result: Result) -> None:
    """A row for each sample and predictor; skipped and failed ones have their reason."""
    figures = list(
        dict.fromkeys(
            name for row in result.rows.values() for entry in row.figures.values() for name in entry
        )
    )
    rows: list[list[Any]] = [
        [sample, predictor, *(entry.get(name, '') for name in figures), '']
        for predictor, row in result.rows.items()
        for sample, entry in row.figures.items()
    ]
    blank = [''] * len(figures)
    rows += [[e.name, '', *blank, f'skipped: {e.reason}'] for e in result.skipped]
    rows += [[e.name, '', *blank, f'failed: {e.reason}'] for e in result.failed]
    _write_csv(path, ['sample', 'predictor', *figures, 'remark'], rows)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)


def _sheet(worst: Sequence[Remembered], task: str) -> Any:
    unit = 'AbsRel {:.3f}' if task == 'depth' else 'mean {:.1f} deg'
    rows = [
        sheet_row(entry.tiles, f'{entry.name}: {unit.format(entry.error)}', tile_size=_TILE)
        for entry in worst
    ]
    return contact_sheet(rows, worst[0].titles, tile_size=_TILE)
