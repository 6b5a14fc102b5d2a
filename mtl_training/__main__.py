"""Entry point of ``python -m mtl_training``."""

import sys

from mtl_training.cli import main

if __name__ == '__main__':
    sys.exit(main())
