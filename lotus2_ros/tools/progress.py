"""A progress bar for each stage of long work, on the terminal's error stream."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """Give what is told a stage's name and the fraction of it that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn('{task.description:>16}'),
        BarColumn(),
        TextColumn('{task.percentage:3.0f}%'),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bars: dict[str, TaskID] = {}

        def tell(stage: str, fraction: float) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=1.0)
            progress.update(bars[stage], completed=fraction)

        yield tell
