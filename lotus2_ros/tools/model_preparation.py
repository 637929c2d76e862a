r"""Make a model ready once, so that it loads in seconds and without text encoders.

  lotus2 models prepare jingheya/Lotus-2 --base black-forest-labs/FLUX.1-dev \
      --precision fp8 --layout shared --out models/lotus2-fp8

Adapters are folded into the weights in float32, prompt and modulation become tables, and all is
checked, rounded once and written with checksums. The new folder is a model like any other: give it
to --model, or to the node's parameter model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lotus2_ros.tools.model_inspection import in_bytes
from lotus2_ros.tools.progress import progress_bars
from lotus2_ros.tools.sizes import parse_size
from lotus2_ros.types import TASKS

if TYPE_CHECKING:
    from lotus2_ros.model.prepared.preparing import Preparation

_GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from lotus2_ros.model.prepared.manifest import LAYOUTS, PRECISIONS
    from lotus2_ros.model.prepared.preparing import Preparation

    default = Preparation()
    sizes = ' '.join(f'{width}x{height}' for height, width in default.sizes)
    parser.add_argument('model', help='nano, a folder of Lotus-2 files, or a hub id')
    parser.add_argument(
        '--base', default='', help='FLUX base: folder or hub id, if it is elsewhere'
    )
    parser.add_argument('--out', type=Path, required=True, help='new folder')
    parser.add_argument(
        '--tasks', nargs='+', default=list(default.tasks), choices=TASKS, metavar='TASK',
        help=f'of {" ".join(TASKS)} (default: both)',
    )  # fmt: skip
    parser.add_argument('--no-sharpener', action='store_true', help='leave the sharpeners out')
    parser.add_argument(
        '--precision', default=default.precision, choices=PRECISIONS,
        help='of the weights; fp8 is e4m3, int8 whole numbers, both with a scale a row (default:'
        ' %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--layout', default=default.layout, choices=LAYOUTS,
        help='every stage whole, or one whole and the others as differences of low rank, which'
        ' takes less memory and some time a frame (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--sizes', nargs='+', default=None, metavar='WxH',
        help=f'camera sizes that will be sharpened (default: {sizes})',
    )  # fmt: skip
    parser.add_argument(
        '--keep-modulation', action='store_true',
        help='keep what makes tables for all other sizes: 6.5 GB of FLUX on disk, none in memory',
    )  # fmt: skip
    parser.add_argument(
        '--shard-gib', type=float, default=default.shard_bytes / _GIB, metavar='GIB',
        help='largest weight file (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--device', default='cpu', help='where to compute (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Prepare.

    Returns:
        0.

    Raises:
        Lotus2Error: the options, a file or the disk do not allow it.
    """
    from lotus2_ros.model.latents import IMAGE_MULTIPLE
    from lotus2_ros.model.loading import locate
    from lotus2_ros.model.prepared.preparing import prepare
    from lotus2_ros.runtime.device import choose_device
    from lotus2_ros.runtime.preprocess import working_sizes

    plan = _plan(args)
    plan.check()
    device = choose_device(args.device, None)
    folders = locate(args.model, args.base or None, plan.tasks, sharpener=plan.sharpener)
    seen = [working_sizes(size, folders.max_side)[-1] for size in plan.sizes]
    tokens = [height // IMAGE_MULTIPLE * (width // IMAGE_MULTIPLE) for height, width in seen]
    out = args.out.expanduser()
    with progress_bars() as tell:
        manifest = prepare(folders, plan, tokens, out, device=device, progress=tell)
    size = sum(record.size for record in manifest.files.values())
    print(f'{out}: {in_bytes(size)} in {len(manifest.files)} files')
    print(manifest.licence)
    return 0


def _plan(args: argparse.Namespace) -> Preparation:
    from lotus2_ros.model.prepared.preparing import Preparation

    sizes = {}
    if args.sizes is not None:
        sizes['sizes'] = tuple(parse_size(text, '--sizes') for text in args.sizes)
    return Preparation(
        tasks=tuple(name for name in TASKS if name in args.tasks),
        sharpener=not args.no_sharpener,
        precision=args.precision,
        layout=args.layout,
        keep_modulation=args.keep_modulation,
        shard_bytes=int(args.shard_gib * _GIB),
        **sizes,
    )
