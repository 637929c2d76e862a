"""The power spectrum as a plot."""

from __future__ import annotations

from pathlib import Path

from lotus2_ros.training.evaluation.running import Result
from lotus2_ros.training.evaluation.spectrum import HIGH, ring_frequencies
from lotus2_ros.types import AnyArray

TRUTH = 'ground truth'


def spectrum_curves(result: Result) -> dict[str, AnyArray]:
    """Mean log10 power by ring of the truth and of the model's settings."""
    curves = {TRUTH: result.truth.mean()} if len(result.truth) else {}
    return curves | {
        name: row.spectrum.mean() for name, row in result.rows.items() if len(row.spectrum)
    }


def plot_spectrum(path: Path, title: str, curves: dict[str, AnyArray]) -> None:
    """Write curves of log power over frequency, as in the paper's figure 12.

    Needs matplotlib.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, curve in curves.items():
        style = 'k--' if name == TRUTH else '-'
        axes.plot(ring_frequencies(), curve, style, label=name)
    axes.axvspan(HIGH, 0.5, color='0.95', zorder=0)
    axes.set_xlim(0, 0.5)
    axes.set_xlabel('frequency [cycles / pixel]; shaded: fine detail')
    axes.set_ylabel('log10 power of disparity')
    axes.set_title(title, fontsize='medium')
    axes.legend()
    figure.savefig(path, dpi=120)
