"""The command ``embed-sentences``: a list of sentences that a robot reads without an encoder."""

from __future__ import annotations

from collections.abc import Sequence
import json
import sys

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.network.captions import CaptionConfig, EncoderConfig, ENCODERS
from mtl_perception.network.heads import settings_of
from mtl_perception.sentences import build_encoder, read_sentence_list, write_sentence_file
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_training.arguments import OneLineParser
from mtl_training.commands.output import check_output
from rich.console import Console
from rich.progress import Progress

DESCRIPTION = """Embed a list of sentences, so that a robot needs no encoder for it.

The list is a text file in UTF-8 with one sentence a line; blank lines and lines that begin with #
are left out. The robot takes the file that this writes wherever it takes a list.

With --checkpoint the encoder is the one of its task of captions, the one that the robot needs.

Examples:
  python -m mtl_training embed-sentences sentences.txt --out sentences.safetensors \\
      --checkpoint hri.safetensors
  python -m mtl_training embed-sentences sentences.txt --out sentences.safetensors \\
      --model models/all-mpnet-base-v2 --dim 768
  python -m mtl_training embed-sentences sentences.txt --out sentences.safetensors \\
      --encoder hashed --dim 64 --overwrite"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parsed = _parser().parse_args(list(arguments))
    config = _config(parsed)
    if not parsed.out.endswith('.safetensors'):
        raise ValueError(f"--out must end in .safetensors, got '{parsed.out}'.")
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    listed = _embed(parsed, config)
    write_sentence_file(parsed.out, listed)
    if parsed.json:
        facts = {'sentences': len(listed.sentences), 'dim': listed.dim, 'encoder': listed.identity}
        print(json.dumps({'out': parsed.out, **facts}))
    else:
        print(
            f'{parsed.out}: {len(listed.sentences)} sentences, {listed.dim} numbers each, by the '
            f'encoder {listed.identity}'
        )
    return 0


def _embed(parsed: Namespace, config: CaptionConfig) -> SentenceList:
    encoder = build_encoder(config.encoder, config.dim, device=parsed.device)
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task('Embedding sentences', total=None)
        listed = read_sentence_list(
            parsed.sentences,
            encoder,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    return listed


def _config(parsed: Namespace) -> CaptionConfig:
    """Return the space and the encoder that the arguments name."""
    if parsed.checkpoint is None:
        given = {name: parsed[name] for name in ('model', 'seed') if parsed[name] is not None}
        encoder = EncoderConfig(name=parsed.encoder or EncoderConfig().name, **given)
        return CaptionConfig(
            encoder=encoder, **({} if parsed.dim is None else {'dim': parsed.dim})
        )
    said = [name for name in ('encoder', 'model', 'seed', 'dim') if parsed[name] is not None]
    if said:
        raise ValueError(f'--{said[0]} must not be given with --checkpoint, which says it.')
    network = load_checkpoint(parsed.checkpoint).config
    task = network.task_of_kind('caption')
    if task is None:
        raise ValueError(
            f"--checkpoint '{parsed.checkpoint}' must have a task of captions, its tasks are "
            f'{[*network.tasks]}.'
        )
    settings = settings_of(task, network.tasks[task])
    assert isinstance(settings, CaptionConfig)
    return settings


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training embed-sentences', description=DESCRIPTION)
    parser.add_argument('sentences', type=str, help='text file, one sentence a line')
    parser.add_argument('--out', type=str, required=True, help='the .safetensors file to write')
    parser.add_argument('--checkpoint', type=str, help='whose task of captions says the encoder')
    parser.add_argument(
        '--encoder',
        type=str,
        help=f'{", ".join(ENCODERS)} (default: {EncoderConfig().name})',
    )
    parser.add_argument(
        '--model',
        type=str,
        help='of sentence_transformers: its folder or name (default: the packaged '
        'all-MiniLM-L6-v2); of files: the file of embeddings',
    )
    parser.add_argument('--seed', type=int, help='of hashed (default: 0)')
    parser.add_argument(
        '--dim', type=int, help=f'size of the space (default: {CaptionConfig().dim})'
    )
    parser.add_argument(
        '--device', type=str, default='cpu', help='where a model runs (default: cpu)'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser
