"""Contact sheets of what tasks say of each other's clips: a page, and a picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
import io
from textwrap import wrap

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from mtl_training.cross_prediction import CrossPrediction
import numpy as np
from PIL import Image

COLUMNS, WIDTH_INCHES, WIDTH_CHARACTERS = 2, 6.0, 88
LINE_INCHES, GAP_INCHES = 0.17, 0.25
MIN_HEIGHT = 96  # pixels of a frame on the page: smaller ones are enlarged
MORE = 'and {} more'

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; }
body { padding: 0 1rem; }
div.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); }
div.sheet { gap: 1.2rem 1.5rem; }
figure { margin: 0; }
img { width: 100%; border-radius: 4px; }
figcaption p { margin: .2rem 0; }
.truth { opacity: .8; }
.source { opacity: .6; font-size: 85%; }
li.best { font-weight: 600; }
ol { margin: .2rem 0; padding-left: 1.6rem; }
"""


def sheet_title(task: str, other: str, caption: str) -> str:
    """Return what a part of the sheet is about."""
    what = 'Sentences retrieved' if other == caption else f'{other}: classes predicted'
    return f'{what} for clips of {task}'


def sheet_html(
    predictions: Sequence[CrossPrediction], *, caption: str, title: str, notes: Sequence[str]
) -> str:
    """
    Return the sheet as a page that needs nothing else.

    :param caption: The task of captions.
    :param notes: What was asked, and out of how many sentences.
    """
    parts = [f'<h1>{escape(title)}</h1>', *(f'<p>{escape(note)}</p>' for note in notes)]
    for (task, other), group in _groups(predictions).items():
        parts.append(f'<h2>{escape(sheet_title(task, other, caption))}</h2><div class="sheet">')
        parts += [_figure(one, is_sentence=other == caption) for one in group]
        parts.append('</div>')
    body = '\n'.join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n'
        '</body></html>\n'
    )


def sheet_png(
    predictions: Sequence[CrossPrediction], *, caption: str, title: str, notes: Sequence[str]
) -> bytes:
    """Return the sheet as a PNG; arguments as of :func:`sheet_html`."""
    groups = list(_groups(predictions).items())
    tiles = [_text(p, is_sentence=p.other == caption) for p in predictions]
    text_inches = LINE_INCHES * max(text.count('\n') + 1 for text in tiles) + GAP_INCHES
    strip_inches = max(WIDTH_INCHES / _aspect(p) for p in predictions)
    row_inches, head_inches = text_inches + strip_inches, LINE_INCHES * (3 + len(notes))
    rows = sum(-(-len(group) // COLUMNS) for _, group in groups)
    height = head_inches + rows * row_inches + len(groups) * 3 * LINE_INCHES
    figure = plt.figure(figsize=(COLUMNS * WIDTH_INCHES, height))
    left = 0.01

    def write(x: float, top: float, text: str, size: float, **style: str) -> None:
        # Texts are the user's own: dollars are no formulas.
        place = {'va': 'top', 'ha': 'left', 'parse_math': False, 'linespacing': 1.15}
        figure.text(x, 1 - top / height, text, fontsize=size, **place, **style)  # type: ignore[arg-type]

    write(left, 0.5 * LINE_INCHES, title, 13, weight='bold')
    write(left, 2.2 * LINE_INCHES, '\n'.join(notes), 9)
    top = head_inches
    for (task, other), group in groups:
        write(left, top + LINE_INCHES, sheet_title(task, other, caption), 11, weight='bold')
        top += 3 * LINE_INCHES
        for number, one in enumerate(group):
            column, x = number % COLUMNS, number % COLUMNS / COLUMNS
            tall = WIDTH_INCHES / _aspect(one)
            box = (x + left, 1 - (top + tall) / height, 1 / COLUMNS - 2 * left, tall / height)
            axis = figure.add_axes(box)
            axis.imshow(_strip(one), interpolation='bilinear')
            axis.axis('off')
            text = _text(one, is_sentence=other == caption)
            write(x + left, top + tall + 0.3 * LINE_INCHES, text, 8.5)
            if column == COLUMNS - 1 or number == len(group) - 1:
                top += row_inches
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    plt.close(figure)
    return file.getvalue()


def _groups(
    predictions: Sequence[CrossPrediction],
) -> dict[tuple[str, str], list[CrossPrediction]]:
    groups: dict[tuple[str, str], list[CrossPrediction]] = {}
    for one in predictions:
        groups.setdefault((one.task, one.other), []).append(one)
    return groups


def _figure(one: CrossPrediction, *, is_sentence: bool) -> str:
    items = ''.join(
        f'<li{" class=best" * (not i)}>{escape(text)} ({_shown(value, is_sentence)})</li>'
        for i, (text, value) in enumerate(one.said)
    )
    source = f'<p class="source">{escape(one.source)}</p>' if one.source else ''
    alt = f'frames of clip {one.index} of {one.task}'
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/jpeg;base64,{_jpeg(one)}">'
        f'<figcaption><p class="truth">{escape(_truth(one))}</p><ol>{items}</ol>{source}'
        '</figcaption></figure>'
    )


def _text(one: CrossPrediction, *, is_sentence: bool) -> str:
    best, *others = [f'{text} ({_shown(value, is_sentence)})' for text, value in one.said]
    lines = [_truth(one), f'→ {best}']
    # Further sentences are on the page: here there is no room.
    lines += [] if is_sentence or not others else [f'    {", ".join(others)}']
    return '\n'.join(part for line in lines for part in wrap(line, WIDTH_CHARACTERS))


def _truth(one: CrossPrediction) -> str:
    first, *others = one.truth or ('unknown',)
    if len(one.truth) > 1 and max(map(len, one.truth)) < WIDTH_CHARACTERS // 4:
        return f'{one.task}, true: {", ".join(one.truth)}'
    more = f' ({MORE.format(len(others))})' if others else ''
    return f'{one.task}, true: {first}{more}'


def _shown(value: float, is_sentence: bool) -> str:
    return f'cosine {value:.2f}' if is_sentence else f'{value:.0%}'


def _strip(one: CrossPrediction) -> np.ndarray:
    """Return the frames side by side, with a light gap between them."""
    gap = max(1, one.frames.shape[2] // 40)
    spaced = np.pad(one.frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(spaced), axis=1)[:, :-gap]


def _aspect(one: CrossPrediction) -> float:
    height, width, _ = _strip(one).shape
    return width / height


def _jpeg(one: CrossPrediction) -> str:
    image = Image.fromarray(_strip(one))
    if image.height < MIN_HEIGHT:
        scale = MIN_HEIGHT / image.height
        image = image.resize((round(image.width * scale), MIN_HEIGHT), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, 'jpeg', quality=88)
    return base64.b64encode(file.getvalue()).decode()
