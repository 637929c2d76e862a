"""The `lotus2` command. Only the chosen subcommand is imported: `lotus2 --help` stays quick."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from lotus2_ros import __version__
from lotus2_ros.errors import Lotus2Error
from lotus2_ros.settings import CPU_THREAD_ENVIRONMENT

COMMANDS = {
    'predict': 'depth and normals of photographs, without ROS',
    'demo': 'camera and depth node on real photographs, watched over DDS',
    'models': 'what a model folder holds and what is wrong with it; prepare one',
    'benchmark': 'how long each stage of the model takes',
    'train': 'train the stages of a model, or nano, the way of the paper',
    'evaluate': 'accuracy of a model against ground truth',
}
"""Subcommand, which is also its module beside this one, to what it does.

Each module has `add_arguments(parser)` and `run(args) -> int`. Where a word after its name means
another module, it has `SUBCOMMANDS`, word to module.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        Its exit code; 1 for an error, 2 for a wrong command line, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ''
    if name not in COMMANDS:
        parser = _overview()
        parser.parse_args(arguments)  # --help and --version end here, unknown words too
        parser.print_help(sys.stderr)
        return 2
    for variable, value in CPU_THREAD_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    module = importlib.import_module(f'lotus2_ros.tools.{name}')
    rest = arguments[1:]
    if rest and rest[0] in getattr(module, 'SUBCOMMANDS', {}):
        name, module_name = f'{name} {rest[0]}', module.SUBCOMMANDS[rest[0]]
        module, rest = importlib.import_module(f'lotus2_ros.tools.{module_name}'), rest[1:]
    parser = argparse.ArgumentParser(
        prog=f'lotus2 {name}',
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    try:
        return int(module.run(args))
    except Lotus2Error as error:
        print(f'lotus2 {name}: error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'lotus2 {name}: interrupted', file=sys.stderr)
        return 130


def _overview() -> argparse.ArgumentParser:
    width = max(len(name) for name in COMMANDS)
    lines = [f'  {name:{width}}  {about}' for name, about in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog='lotus2',
        description='Depth and surface normals from single images with Lotus-2.',
        epilog='commands (lotus2 COMMAND --help tells more):\n' + '\n'.join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    parser.add_argument('command', choices=list(COMMANDS), metavar='COMMAND', nargs='?')
    return parser


if __name__ == '__main__':
    sys.exit(main())
