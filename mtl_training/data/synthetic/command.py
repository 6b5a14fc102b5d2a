"""The ``scenes`` command: stream, film or show rendered scenes."""

import argparse
import os
from pathlib import Path
import sys

from mtl_training.data.synthetic.contact_sheet import contact_sheet
from mtl_training.data.synthetic.stream import (
    BOTH,
    render_stream,
    render_video,
    STREAM_TASKS,
    StreamSettings,
    truth_path,
)


def _size(text: str | tuple[int, int]) -> tuple[int, int]:
    # The command line validates what it has parsed by parsing it again.
    if isinstance(text, tuple):
        return text
    height, _, width = text.partition('x')
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"size must be HEIGHTxWIDTH, got '{text}'")
    return int(height), int(width)


def add_scenes_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument(
        '--stream',
        action='store_true',
        help='write raw frames to the standard output: a JSON header line, then for each frame a '
        'JSON line and height * width * 3 bytes of RGB',
    )
    output.add_argument(
        '--out', type=Path, metavar='FILE', help='write a video, and FILE.truth.json beside it'
    )
    output.add_argument(
        '--contact-sheet', type=Path, metavar='FILE', help='write a picture of every label'
    )
    parser.add_argument('--size', type=_size, metavar='HxW', help='image size (default 240x320)')
    parser.add_argument('--fps', type=float, default=20.0, help='frames per second (default 20)')
    parser.add_argument('--seed', type=int, default=0, help='which scenes (default 0)')
    parser.add_argument(
        '--scenes', type=int, metavar='N', help='how many (default: 18 for a video, else endless)'
    )
    parser.add_argument('--task', choices=tuple(STREAM_TASKS), default=BOTH)
    parser.add_argument(
        '--clip-seconds', type=float, default=2.0, help='length of the clips that will be judged'
    )


def run_scenes(args: argparse.Namespace) -> int:
    """
    Run the command.

    :return: The exit status: 0, or 2 where an argument is wrong or a file cannot be written.
    """
    try:
        _run(args)
    except (OSError, ValueError) as error:
        print(f'scenes: {error}', file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    size = args.size or (240, 320)
    if args.contact_sheet is not None:
        size = args.size or (128, 171)
        contact_sheet(
            args.contact_sheet,
            size=size,
            seed=args.seed,
            task=args.task,
            clip_seconds=args.clip_seconds,
        )
        print(f'Wrote {args.contact_sheet}')
        return
    num_scenes = args.scenes
    if args.out is not None and num_scenes is None:
        num_scenes = 18
    settings = StreamSettings(size, args.fps, args.seed, num_scenes, args.task, args.clip_seconds)
    if args.out is not None:
        render_video(args.out, settings)
        print(f'Wrote {args.out} and {truth_path(args.out)}')
        return
    render_stream(sys.stdout.buffer, settings)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends; let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Run the command by itself."""
    parser = argparse.ArgumentParser(prog='scenes', description=__doc__)
    add_scenes_arguments(parser)
    return run_scenes(parser.parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
