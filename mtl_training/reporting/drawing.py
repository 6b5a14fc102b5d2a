"""What all pictures of a report have in common: panels, legends, line styles, small files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import io
import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from mtl_perception.checkpoint import write_atomically
from mtl_training.reporting.document import Block, Picture
from PIL import Image

DPI = 90
NUM_COLOURS = 96


class Pictures:
    """Draws pictures into files that are numbered through."""

    def __init__(self, out: Path, stem: str) -> None:
        self._out, self._stem, self._count = out, stem, 0

    def draw(self, draw: Callable[[Path], bool], text: str) -> list[Block]:
        """Return the picture, or nothing where there was nothing to draw."""
        path = self._out / f'{self._stem}_{self._count:02}.png'
        if not draw(path):
            return []
        self._count += 1
        return [Picture(path, text)]


def look(names: Sequence[str], name: str) -> dict[str, Any]:
    """Return the line style of a name, the same wherever the names are."""
    index = names.index(name)
    style = ('-', '--', ':')[index // 10 % 3]
    return {'color': f'C{index % 10}', 'linestyle': style, 'linewidth': 1.3}


def panels(
    count: int,
    *,
    width: float = 3.7,
    height: float = 3.0,
    sharey: bool = False,
    columns: int = 0,
) -> tuple[Any, list[Any]]:
    """
    Return a figure and its axes; those beyond the count are not to be seen.

    :param columns: In a row; 0: three, or four where that leaves fewer places empty.
    """
    columns = min(count, columns or min((3, 4), key=lambda n: -count % n if count > n else 0))
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, sharey=sharey
    )
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat


def shared_legend(figure: Any, axes: Sequence[Any]) -> None:
    """Put one legend of all axes below them."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    columns = math.ceil(len(entries) / math.ceil(len(entries) / 6))  # rows of equal length
    place = {'loc': 'upper center', 'bbox_to_anchor': (0.5, 0.0)}
    figure.legend(entries.values(), entries.keys(), ncols=columns, fontsize=8, **place)


def legend_beside(axis: Any) -> None:
    """Put the legend of an axis to its right, where it hides nothing."""
    entries = dict(zip(*reversed(axis.get_legend_handles_labels())))
    place = {'loc': 'center left', 'bbox_to_anchor': (1.01, 0.5)}
    columns = math.ceil(len(entries) / 14)
    axis.legend(entries.values(), entries.keys(), fontsize=7, ncols=columns, **place)


def save(figure: Any, path: Path) -> None:
    """Write a figure as a small PNG, and close it."""
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, bbox_inches='tight')
    plt.close(figure)
    # Few colours make a third of the bytes, and no difference to lines and text.
    with Image.open(drawn) as image:
        # This method keeps colours that few pixels have, such as those of a legend.
        drawn_in_few = image.convert('RGB').quantize(NUM_COLOURS, Image.Quantize.MAXCOVERAGE)
    file = io.BytesIO()
    drawn_in_few.save(file, 'png', optimize=True)
    write_atomically(path, file.getvalue())
