"""
Run every benchmark, one process each, and keep what each printed as JSON.

``python -m benchmarks [--quick] [NAME ...]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
import subprocess
import sys

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem.removeprefix('bench_') for path in FOLDER.glob('bench_*.py'))


def main() -> int:
    """Run the benchmarks that are named, or all; return 1 if one could not run."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'any of: {", ".join(NAMES)}')
    parser.add_argument('--quick', action='store_true', help='fewer repetitions, rougher figures')
    parser.add_argument('--out', type=Path, default=Path('out/bench'), help='folder of the JSON')
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f'unknown benchmark {unknown[0]!r}; known benchmarks: {", ".join(NAMES)}')
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.names or NAMES:
        print(f'\n== {name}', flush=True)
        result = arguments.out / f'{name}.json'
        command = [sys.executable, '-m', f'benchmarks.bench_{name}', '--json', str(result)]
        if subprocess.run([*command, *['--quick'] * arguments.quick], check=False).returncode:
            failed.append(name)
    if failed:
        print(f'\nfailed: {", ".join(failed)}', file=sys.stderr)
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
