"""Results as Markdown tables and as rows for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lotus2_ros.training.evaluation.benchmark import Benchmark, Skipped
from lotus2_ros.training.evaluation.normal_metrics import THRESHOLDS
from lotus2_ros.training.evaluation.paper import PUBLISHED
from lotus2_ros.training.evaluation.running import CORE, Result
from lotus2_ros.training.evaluation.sequences import Sequence
from lotus2_ros.training.evaluation.spectrum import recovered_share
from lotus2_ros.training.evaluation.steadiness import Steadiness

DEPTH_COLUMNS = {
    'abs_rel': ('AbsRel', '{:.4f}'),
    'sq_rel': ('SqRel', '{:.4f}'),
    'rmse': ('RMSE', '{:.3f}'),
    'rmse_log': ('RMSE log', '{:.4f}'),
    'log10': ('log10', '{:.4f}'),
    'delta1': ('delta1', '{:.4f}'),
    'delta2': ('delta2', '{:.4f}'),
    'delta3': ('delta3', '{:.4f}'),
    'silog': ('SILog', '{:.2f}'),
    'i_rmse': ('i-RMSE', '{:.4f}'),
}
DETAIL_COLUMNS = {
    'boundary_f1': ('boundary F1', '{:.4f}'),
    'boundary_precision': ('precision', '{:.4f}'),
    'boundary_recall': ('recall', '{:.4f}'),
    'detail_power': ('fine power / true', '{:.4f}'),
    'detail_agreement': ('fine agreement', '{:.3f}'),
}
NORMAL_COLUMNS = {
    'normal_mean': ('mean', '{:.2f}'),
    'normal_median': ('median', '{:.2f}'),
    'normal_rmse': ('RMSE', '{:.2f}'),
    **{f'normal_under_{limit:g}': (f'% under {limit:g} deg', '{:.1f}') for limit in THRESHOLDS},
}
FLICKER_COLUMNS = {
    'flicker': ('disparity, aligned', '{:.5f}'),
    'flicker_unaligned': ('disparity, as predicted', '{:.5f}'),
    'normal_flicker_deg': ('normals [deg]', '{:.3f}'),
}
"""Disparity's as a share of its spread in the picture."""

_TABLES = {
    'depth': DEPTH_COLUMNS,
    'detail of depth': DETAIL_COLUMNS,
    'normals [deg]': NORMAL_COLUMNS,
}


def summaries(benchmark: str, result: Result) -> dict[str, dict[str, float]]:
    """Predictor to figures; the paper's rows, where there are any, come last."""
    own = {name: row.summary() for name, row in result.rows.items()}
    return own | PUBLISHED.get(benchmark, {})


def markdown(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown tables of depth, detail and normals, as far as there are figures.

    Args:
        rows: predictor to figures.
    """
    return '\n\n'.join(
        _table(title, {name: columns[name] for name in columns}, rows)
        for title, columns in _TABLES.items()
        if any(name in row for row in rows.values() for name in columns)
    )


def _table(
    title: str,
    columns: Mapping[str, tuple[str, str]],
    rows: Mapping[str, Mapping[str, float]],
) -> str:
    lines = [f'| {title} | ' + ' | '.join(head for head, _ in columns.values()) + ' |']
    lines.append('|---' * (len(columns) + 1) + '|')
    for predictor, row in rows.items():
        if not any(name in row for name in columns):
            continue
        cells = [
            form.format(row[name]) if name in row else '' for name, (_, form) in columns.items()
        ]
        lines.append(f'| {predictor} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def recovered(result: Result) -> dict[str, float]:
    """Sharpened setting to `recovered_share`; empty where no true spectrum is known."""
    if not len(result.truth) or CORE not in result.rows:
        return {}
    truth, core = result.truth.mean(), result.rows[CORE].spectrum.mean()
    return {
        name: recovered_share(core, row.spectrum.mean(), truth)
        for name, row in result.rows.items()
        if name.startswith(CORE) and name != CORE and len(row.spectrum)
    }


def page(benchmark: Benchmark, result: Result) -> str:
    """Everything about a benchmark that is printed: tables, counts, names of what is missing."""
    lines = [f'### {benchmark.title}', '', markdown(summaries(benchmark.name, result)), '']
    lines += [
        f'{name}: brings back {share:.1%} of the fine log power that the core misses'
        for name, share in recovered(result).items()
    ]
    return '\n'.join([*lines, *_counts(result)])


def steadiness_page(sequence: Sequence, result: Steadiness) -> str:
    """The same for a sequence's flicker."""
    lines = [f'### {sequence.title}', '', _table('flicker', FLICKER_COLUMNS, result.summary())]
    lines += ['', f'{result.judged} pairs of frames compared, {len(result.skipped)} skipped']
    return '\n'.join([*lines, *_named('skipped', result.skipped)])


def _named(what: str, entries: Iterable[Skipped]) -> list[str]:
    return [f'  {what} {entry.name}: {entry.reason}' for entry in entries]


def _counts(result: Result) -> list[str]:
    """How many samples count, and the names of those that do not."""
    lines = [f'{result.judged} samples judged, {len(result.skipped)} skipped']
    lines += _named('skipped', result.skipped)
    if result.failed:
        lines.append(f'{len(result.failed)} FAILED: the model gave nothing that can be judged')
        lines += _named('failed', result.failed)
    return lines
