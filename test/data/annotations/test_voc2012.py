"""PASCAL VOC2012, from folders as the archive has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.voc2012 import (
    ACTIONS,
    CLASSES,
    parse_action,
    parse_flag,
    parse_id,
    read_voc_actions,
    read_voc_labels,
)
from mtl_training.data.annotations.voc2012_boxes import parse_annotation, read_voc_boxes
import numpy as np
import pytest

IDS = ('2008_000008', '2008_000023', '2009_000001')
XML = """<annotation>
  <filename>2008_000008.jpg</filename>
  <size><width>500</width><height>442</height><depth>3</depth></size>
  <object>
    <name>horse</name><pose>Left</pose><truncated>0</truncated><occluded>1</occluded>
    <bndbox><xmin>53</xmin><ymin>87</ymin><xmax>471</xmax><ymax>420</ymax></bndbox>
    <difficult>0</difficult>
  </object>
  <object>
    <name>person</name>
    <actions><jumping>0</jumping><ridinghorse>1</ridinghorse><other>0</other></actions>
    <bndbox><xmin>45.70</xmin><ymin>1</ymin><xmax>289</xmax><ymax>167</ymax></bndbox>
    <difficult>1</difficult>
    <part><name>head</name>
      <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>
    </part>
  </object>
</annotation>
"""


def write(root: Path) -> Path:
    """Write a data set: its flags are those of (image + class) % 3; return the folder."""
    folder = root / 'VOCdevkit' / 'VOC2012'
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main', 'ImageSets/Action'):
        (folder / name).mkdir(parents=True)
    for name in IDS[:2]:
        (folder / 'JPEGImages' / f'{name}.jpg').touch()
    main = folder / 'ImageSets' / 'Main'
    (main / 'train.txt').write_text('\n'.join(IDS) + '\n')
    for column, name in enumerate(CLASSES):
        # The order of a list of a class is not that of the split.
        lines = [f'{IDS[i]} {(i + column) % 3 - 1:2d}' for i in (2, 0, 1)]
        (main / f'{name}_train.txt').write_bytes('\r\n'.join(lines).encode())
    for column, name in enumerate(ACTIONS):
        lines = [f'{IDS[0]}  2 {(column % 2) * 2 - 1:2d}', f'{IDS[2]}  1  1']
        if name == 'walking':
            lines.append(f'{IDS[1]}  1  1')
        (folder / f'ImageSets/Action/{name}_train.txt').write_text('\n'.join(lines))
    return folder


def test_flags_are_a_matrix_of_images_and_classes(tmp_path: Path) -> None:
    folder = write(tmp_path)
    labels = read_voc_labels('train', root=str(tmp_path))
    assert labels.ids == IDS[:2]
    assert labels.missing == IDS[2:]
    assert labels.paths[1] == folder / 'JPEGImages' / '2008_000023.jpg'
    expected = [[(i + column) % 3 - 1 for column in range(20)] for i in range(2)]
    np.testing.assert_array_equal(labels.flags, expected)
    assert labels.flags.dtype == np.int8
    assert labels.classes[14] == 'person'
    assert len(set(labels.classes)) == 20
    assert list(labels.classes) == sorted(labels.classes)


@pytest.mark.parametrize('root', ['VOCdevkit', 'VOCdevkit/VOC2012'])
def test_the_root_may_be_any_of_three_folders(tmp_path: Path, root: str) -> None:
    write(tmp_path)
    labels = read_voc_labels('train', root=str(tmp_path / root))
    assert labels.ids == IDS[:2]


def test_flags_of_one_and_of_two_characters_are_read() -> None:
    path = Path('x.txt')
    assert parse_flag(path, 7, '2008_000008 -1') == ('2008_000008', -1)
    assert parse_flag(path, 7, '2008_000023  1\r\n') == ('2008_000023', 1)
    assert parse_flag(path, 7, '2008_000023  0') == ('2008_000023', 0)


def test_people_have_actions_and_objects_count_from_0(tmp_path: Path) -> None:
    write(tmp_path)
    actions = read_voc_actions('train', root=str(tmp_path))
    assert actions.actions == ACTIONS
    assert actions.ids == (IDS[0], IDS[1])
    assert actions.objects.tolist() == [1, 0]
    assert actions.flags[0].tolist() == [-1, 1] * 5
    # The list of walking alone has this one.
    assert actions.flags[1].tolist() == [0] * 9 + [1]
    assert actions.missing == (IDS[2],)


def test_the_action_other_is_read_where_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / 'ImageSets/Action/other_train.txt').write_text(f'{IDS[0]}  2 -1\n')
    actions = read_voc_actions('train', root=str(tmp_path))
    assert actions.actions == (*ACTIONS, 'other')
    assert actions.flags[:, 10].tolist() == [-1, 0]


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('cat_train.txt', f'{IDS[0]} 1\n', r"cat_train.txt' must list the 3 images .* got 1"),
        (
            'cat_train.txt',
            f'{IDS[0]}  1\n{IDS[1]} 2\n',
            r"cat_train.txt', line 2: expected the id",
        ),
        ('train.txt', f'{IDS[0]} 1\n', r"train.txt', line 1: expected the id of an image, got"),
        ('cat_train.txt', None, r"cat_train.txt' is not a file that exists"),
        ('train.txt', 'nobody', r"aeroplane_train.txt' must list the 1 images of 'train.txt'"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    path = write(tmp_path) / 'ImageSets' / 'Main' / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_voc_labels('train', root=str(tmp_path))


@pytest.mark.parametrize('read', [read_voc_labels, read_voc_actions])
def test_missing_images_and_splits_are_named(tmp_path: Path, read: Callable[..., Any]) -> None:
    folder = write(tmp_path)
    with pytest.raises(ValueError, match=r"split must be one of .*, got 'test'"):
        read('test', root=str(tmp_path))
    (folder / 'JPEGImages').rename(folder / 'elsewhere')
    with pytest.raises(ValueError, match=r"JPEGImages' holds none of the 3 listed images, as '20"):
        read('train', root=str(tmp_path))
    with pytest.raises(ValueError, match=r'has no folder .*; the layout is <root>/VOCdevkit'):
        read('train', root=str(folder / 'elsewhere'))


def test_boxes_reach_to_the_outer_edges_of_their_pixels(tmp_path: Path) -> None:
    path = tmp_path / '2008_000008.xml'
    path.write_text(XML)
    image = read_voc_boxes(path)
    assert image.size == (442, 500)
    horse, person = image.objects
    # Pixels 53 to 471, from 1, are 52 to 470 from 0, and 419 of them.
    np.testing.assert_array_equal(horse.box, [51.5, 85.5, 470.5, 419.5])
    assert horse.box[2] - horse.box[0] == 471 - 53 + 1
    assert (horse.name, horse.pose, horse.is_occluded, horse.actions) == (
        'horse',
        'Left',
        True,
        (),
    )
    np.testing.assert_allclose(person.box, [44.2, -0.5, 288.5, 166.5], atol=1e-5)
    assert (person.is_difficult, person.is_occluded, person.pose) == (True, False, '')
    assert person.actions == ('ridinghorse',)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<xmin>53</xmin>', '', r"'x.xml': object 1: bndbox must be four numbers, got \[''"),
        ('<xmin>53</xmin>', '<xmin>nan</xmin>', r'object 1: bndbox must be xmin, ymin, xmax'),
        ('<xmin>53</xmin>', '<xmin>1e300</xmin>', r'object 1: bndbox must be xmin'),
        ('<xmin>53</xmin>', '<xmin>472</xmin>', r'object 1: bndbox must be xmin'),
        ('<name>person</name>', '', r"object 2 must have a 'name'"),
        ('</annotation>', '', r"'x.xml' is not XML"),
        ('annotation>', 'note>', r"'x.xml' must hold an 'annotation', got 'note'"),
    ],
)
def test_annotations_of_another_format_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_annotation(Path('x.xml'), XML.replace(old, new))


@pytest.mark.parametrize(
    'declared',
    [
        '<!DOCTYPE annotation>',
        '<!DOCTYPE a SYSTEM "file:///etc/hostname">',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]>',
    ],
)
@pytest.mark.parametrize(
    ('encoding', 'message'),
    [('utf-8', 'must not declare a document type or entities'), ('utf-16', 'is not XML')],
)
def test_files_that_declare_entities_are_refused(
    tmp_path: Path, declared: str, encoding: str, message: str
) -> None:
    path = tmp_path / 'x.xml'
    path.write_text(declared + XML, encoding=encoding)
    with pytest.raises(ValueError, match=rf"x.xml' {message}"):
        read_voc_boxes(path)


def test_a_declared_encoding_does_not_change_what_is_parsed() -> None:
    # In UTF-7 this would be a document type, had the declaration a say.
    text = f'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a>{XML}'
    with pytest.raises(ValueError, match=r"'x.xml' is not XML"):
        parse_annotation(Path('x.xml'), text)
    text = f'<?xml version="1.0" encoding="latin-1"?>{XML.replace("horse", "chevée")}'
    assert parse_annotation(Path('x.xml'), text).objects[0].name == 'chevée'


def test_a_missing_annotation_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x.xml' is not a file that exists; the layout is"):
        read_voc_boxes(tmp_path / 'x.xml')


@given(text=st.text() | st.text().map(lambda value: XML.replace('53', value)))
def test_any_xml_gives_a_value_or_an_error_that_names_it(text: str) -> None:
    try:
        for element in parse_annotation(Path('x.xml'), text).objects:
            assert np.isfinite(element.box).all()
    except ValueError as error:
        assert str(error).startswith("'x.xml'")  # noqa: PT017


@pytest.mark.parametrize('parse', [parse_id, parse_flag, parse_action], ids=lambda p: p.__name__)
@given(line=st.text() | st.from_regex(r'2008_00000\d +\S{1,2}( +\S{1,2})?'))
def test_any_line_gives_a_value_or_an_error_that_names_it(
    parse: Callable[..., Any], line: str
) -> None:
    try:
        assert parse(Path('x.txt'), 7, line)
    except ValueError as error:
        assert str(error).startswith("'x.txt', line 7: expected ")  # noqa: PT017


@given(number=st.integers(1, 99), flag=st.sampled_from([-1, 0, 1]))
def test_any_line_of_an_action_is_read(number: int, flag: int) -> None:
    line = f'2010_006215 {number:2d} {flag:2d}'
    assert parse_action(Path('x.txt'), 7, line) == ('2010_006215', number - 1, flag)
