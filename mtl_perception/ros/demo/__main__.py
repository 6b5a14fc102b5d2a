"""``python -m mtl_perception.ros.demo``."""

import sys

from mtl_perception.ros.demo import main

if __name__ == '__main__':
    sys.exit(main())
