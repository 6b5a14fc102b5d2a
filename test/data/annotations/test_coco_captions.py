"""Captions of COCO, real and made up."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.coco_captions import (
    parse_caption,
    read_coco_captions,
    read_coco_split,
)
import pytest

TINY = Path(__file__).parents[3].parent / 'shared' / 'data' / 'coco_tiny'
needs_tiny = pytest.mark.skipif(not TINY.is_dir(), reason=f"'{TINY}' is not there.")
JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=4,
)


def write(root: Path, **changes: Any) -> Path:
    """Write a data set of three images, the last of which is not on disk."""
    content = {
        'images': [{'id': i, 'file_name': f'{i:012d}.jpg'} for i in (7, 3, 9)],
        'annotations': [
            {'id': 1, 'image_id': 7, 'caption': 'A man\n riding. '},
            {'id': 2, 'image_id': 3, 'caption': ''},
            {'id': 3, 'image_id': 7, 'caption': 'A bike.'},
            {'id': 4, 'image_id': 9, 'caption': 'Nobody has it.'},
        ],
        **changes,
    }
    (root / 'annotations').mkdir()
    (root / 'val2017').mkdir()
    for i in (7, 3):
        (root / f'val2017/{i:012d}.jpg').touch()
    path = root / 'annotations' / 'captions_val2017.json'
    path.write_text(json.dumps(content))
    return path


@needs_tiny
@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_real_files_have_50_images_of_5_captions(split: str) -> None:
    path = TINY / 'annotations' / f'captions_{split}2017.json'
    found = read_coco_captions(path)
    assert len(found.names) == len(found.captions) == 50
    assert {len(said) for said in found.captions.values()} == {5}
    # As grep has it.
    for entry in json.loads(path.read_text())['annotations']:
        assert ' '.join(entry['caption'].split()) in found.captions[entry['image_id']]


@needs_tiny
@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_real_images_on_disk_are_found(split: str) -> None:
    captions = read_coco_split(split, root=str(TINY))
    on_disk = {path.name for path in (TINY / f'{split}2017').glob('*.jpg')}
    assert {file.name for file in captions.files} == on_disk
    assert len(captions.files) + len(captions.missing) == 50
    assert captions.num_captions() == 5 * len(on_disk)


def test_captions_are_those_of_their_image_on_one_line(tmp_path: Path) -> None:
    found = read_coco_captions(write(tmp_path))
    assert found.captions == {7: ('A man riding.', 'A bike.'), 9: ('Nobody has it.',)}
    assert found.names[3] == '000000000003.jpg'
    assert found.dropped == 1
    captions = read_coco_split('val', root=str(tmp_path))
    assert [file.name for file in captions.files] == ['000000000007.jpg']
    assert captions.missing == ('000000000009.jpg',)
    assert captions.uncaptioned == ('000000000003.jpg',)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'annotations': [{'image_id': 8, 'caption': 'x'}]}, r'annotations\[0\]: .* got 8'),
        ({'annotations': [{'image_id': 7}]}, r'annotations\[0\]: caption must be a text'),
        ({'annotations': None}, "must hold a list of 'annotations'"),
        ({'images': [{'id': 7}]}, r"images\[0\] must have a text 'file_name'"),
    ],
)
def test_entries_of_another_format_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        read_coco_captions(path)


def test_a_missing_file_is_named_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'captions_train2017\.json.*; the layout is <root>/anno'):
        read_coco_split('train', root=str(tmp_path))


@given(entry=JSON | st.fixed_dictionaries({'image_id': JSON, 'caption': JSON}))
def test_any_entry_gives_a_value_or_an_error_that_names_it(entry: Any) -> None:
    try:
        image_id, caption = parse_caption("'x.json': annotations[7]", entry)
        assert image_id >= 0
        assert '\n' not in caption
    except ValueError as error:
        assert str(error).startswith("'x.json': annotations[7]")  # noqa: PT017
