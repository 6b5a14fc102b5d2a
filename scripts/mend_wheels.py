"""Make the CMake files of the ROS 2 wheels name this virtual environment's Python."""

from pathlib import Path
import re
import sys

# Where the Python lay that the wheels were built with.
BUILDERS_PREFIX = re.compile(r'/opt/python/cp\d+-cp\d+')


def main(prefix: Path) -> None:
    """Rewrite the files below ``prefix/share`` in place; those already mended stay as they are."""
    for path in prefix.glob('share/*/cmake/*.cmake'):
        text = path.read_text()
        mended = BUILDERS_PREFIX.sub(lambda _: str(prefix), text)
        if mended != text:
            path.write_text(mended)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
