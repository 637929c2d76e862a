"""Tables of what `lotus2 benchmark node` found."""

from __future__ import annotations

import sys
from typing import Any

from lotus2_ros.tools.node_figures import QUANTILES, STEPS

_KNOWN = ('model folder', 'device', 'precision', 'acceleration', 'tasks loaded', 'output size [px]')
_GPU = 'GPU memory [B]'


def print_node_report(report: dict[str, Any]) -> None:
    """Print it."""
    from rich.console import Console

    # As wide as the tables need where the output is no terminal: a log must not cut off names.
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    camera, node, machine = report['camera'], report['node'], report['machine']
    width, height = camera['size']
    console.print(f'{machine["machine"]}; transports {machine["transports"]}')
    console.print('; '.join(f'{name} {node[name]}' for name in _KNOWN if name in node))
    console.print(f'camera {width}x{height} at {camera["rate"]:g} Hz ({camera["source"]})\n')
    for phase in report['phases']:
        console.print(_outputs(phase))
        console.print(_made_of(phase))
        console.print()
    for phase in report['phases']:
        console.print(f'[bold]{phase["name"]}[/bold]')
        console.print(
            f'  the node worked on {_share(phase["worked_on"])} of {phase["images"]} images'
        )
        console.print(f'  core, frame given to result back: {_line(phase["core"])}')
        console.print(f'  depth, beyond own time: {_line(phase["depth_beyond_own_time"])}')
    for name, seconds in zip(('first', 'second'), report['starts'], strict=False):
        console.print(f'{name} start, process to first depth received: {seconds:.1f} s')
    memory = int(node.get(_GPU, 0))
    console.print(f'GPU memory, as the node says: {memory / 2**30:.2f} GiB')


def _outputs(phase: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f'{phase["name"]}: camera stamp to received [ms]')
    table.add_column('topic', no_wrap=True)
    for title in ('messages', 'of frames', 'Hz', *QUANTILES):
        table.add_column(title, justify='right', no_wrap=True)
    for topic, found in phase['outputs'].items():
        if not found['messages'] and found['received'] is None:
            continue  # nothing was sharpened
        table.add_row(
            topic if topic.startswith('/') else f'~/{topic}',
            str(found['messages']), _share(found['received']), f'{found["rate"]:.2f}',
            *_cells(found['latency']),
        )  # fmt: skip
    return table


def _made_of(phase: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f'{phase["name"]}: what the latency of ~/depth/image is made of [ms]')
    table.add_column('part', no_wrap=True)
    table.add_column('what it is')
    for title in QUANTILES:
        table.add_column(title, justify='right', no_wrap=True)
    for name, about in STEPS.items():
        table.add_row(name, about, *_cells(phase['depth_latency_made_of'][name]))
    return table


def _cells(found: dict[str, float] | None) -> list[str]:
    return ['-' if found is None else f'{found[name]:.1f}' for name in QUANTILES]


def _line(found: dict[str, float] | None) -> str:
    if found is None:
        return 'nothing came'
    return ', '.join(f'{name} {found[name]:.1f}' for name in QUANTILES) + ' ms'


def _share(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f} %'
