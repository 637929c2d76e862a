"""Several scale modes in the simulated world, one after another, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.json_files import write_json

_COLUMNS = (
    ('metric AbsRel', 'abs_rel', '.3f'),
    ('oracle AbsRel', 'oracle_abs_rel', '.3f'),
    ('metric / oracle', 'ratio', '.2f'),
    ('obstacles found', 'nav_found', '.0%'),
    ('free cells marked', 'nav_marked', '.0%'),
)


def modes_of(text: str) -> list[str]:
    """Modes from what a user writes: depth,points,depth+ground.

    Raises:
        SettingsError: one of them is none.
    """
    modes = [mode.strip() for mode in text.split(',')]
    for mode in modes:
        NodeSettings.from_mapping({'camera_height': 1.0, **scale_parameters(mode)})
    if len(set(modes)) != len(modes):
        raise SettingsError(f'--scale-mode is {text}; name each mode once')
    return modes


def scale_parameters(mode: str) -> dict[str, Any]:
    """Of depth_node for a mode; sources joined by + are fused."""
    if '+' in mode:
        return {'scale_mode': 'fused', 'scale_sources': mode.split('+')}
    return {'scale_mode': mode}


def run_modes(
    modes: Sequence[str], out: Path, run: Callable[[str, Path], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Run each mode, then print and write the table.

    Args:
        modes: see `modes_of`.
        out: gets modes.md and modes.json, and a folder for each mode if there are several.
        run: drives in a mode, with a folder for its files; returns `LiveReport.summary`.
    """
    results = {}
    for mode in modes:
        folder = out / mode if len(modes) > 1 else out
        folder.mkdir(parents=True, exist_ok=True)
        results[mode] = run(mode, folder)
        if len(modes) > 1:
            # After every mode: what a run has is not lost with the next one.
            write_json(out / 'modes.json', results)
            (out / 'modes.md').write_text(table(results) + '\n', encoding='utf-8')
    if len(modes) > 1:
        print(table(results))
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, a mode in each row."""
    titles = ('scale mode', 'images', 'locked', *(title for title, _, _ in _COLUMNS))
    lines = [f'| {" | ".join(titles)} |', f'|{" --- |" * len(titles)}']
    for mode, summary in results.items():
        images, states = summary['images'], summary['scale_states']
        cells = [mode, str(images), f'{states.get("locked", 0) / max(images, 1):.0%}']
        for _, name, form in _COLUMNS:
            value = summary['figures'].get(name)
            cells.append('' if value is None else format(value, form))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)
