"""Several data sets as one: classes, their order, mirror images, groups and what is refused."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.mapping import merged_names
from mtl_training.data.video_sets.merged import merged
from mtl_training.data.videos import registry
from mtl_training.data.videos.index import ClipEntry, ClipIndex
import pytest

CLASSES = {'a': ['eat meal/snack', 'wave', 'OK [sign]'], 'b': ['wave', 'left', 'right']}


def one(split: str, *, root: str = 'one', rate_hz: float = 30.0, pictures: bool = False):
    """Three classes, of which none is changed by a mirror."""
    paths = [Path(root) / split / f'{label}{"" if pictures else ".avi"}' for label in (0, 1, 2, 1)]
    entries = [ClipEntry(path, int(path.stem), None, 'me') for path in paths]
    return ClipIndex(tuple(CLASSES['a']), entries, ['gone.avi'], {}, rate_hz)


def two(split: str, *, root: str, mirrored: bool = True, pictures: bool = False):
    """Three classes with sides."""
    suffix = '' if pictures else '.mp4'
    entries = [ClipEntry(Path(root) / f'{label}{suffix}', label, (3, 9)) for label in (2, 0, 1)]
    sides = {'left': 'right', 'right': 'left'}
    return ClipIndex(tuple(CLASSES['b']), entries, [], sides if mirrored else None, 12.0)


PARTS = {'a': {'dataset': 'one'}, 'b': {'dataset': 'two', 'root': 'two'}}


@pytest.fixture(autouse=True)
def _registered(monkeypatch) -> None:
    for name, function in (('one', one), ('two', two), ('merged', merged)):
        monkeypatch.setitem(registry.VIDEO_SETS, name, function)


def written(folder: Path, text: str) -> str:
    (folder / 'm.yaml').write_text(text)
    return str(folder / 'm.yaml')


def test_classes_of_the_same_meaning_are_one(tmp_path) -> None:
    mapping = written(tmp_path, 'hello: [a/wave, b/wave]\n')
    index = merged('val', parts=PARTS, mapping=mapping)
    assert index.labels == ('eat meal/snack', 'hello', 'OK [sign]', 'left', 'right')
    assert [(str(e.path), index.labels[e.label], e.frames, e.group) for e in index.entries] == [
        ('one/val/0.avi', 'eat meal/snack', None, 'a/me'),
        ('one/val/1.avi', 'hello', None, 'a/me'),
        ('one/val/2.avi', 'OK [sign]', None, 'a/me'),
        ('one/val/1.avi', 'hello', None, 'a/me'),
        ('two/2.mp4', 'right', (3, 9), ''),
        ('two/0.mp4', 'hello', (3, 9), ''),
        ('two/1.mp4', 'left', (3, 9), ''),
    ]
    assert index.missing == ['a: gone.avi']
    assert index.mirrored == {'left': 'right', 'right': 'left'}


def test_one_part_without_a_mapping_is_itself() -> None:
    index = merged('train', parts={'a': PARTS['a']})
    alone = one('train')
    assert index.labels == alone.labels
    assert [e._replace(group='me') for e in index.entries] == alone.entries


def test_a_merged_data_set_can_be_a_part(tmp_path) -> None:
    inner = {'dataset': 'merged', 'parts': {'a': PARTS['a']}}
    mapping = written(tmp_path, 'hello: [in/wave, b/wave]')
    index = merged('train', parts={'in': inner, 'b': PARTS['b']}, mapping=mapping)
    assert index.labels == ('eat meal/snack', 'hello', 'OK [sign]', 'left', 'right')
    assert index.entries[0].group == 'in/a/me'


def test_clips_are_mirrored_where_all_parts_allow_it(tmp_path) -> None:
    parts = {'a': PARTS['a'], 'b': {**PARTS['b'], 'mirrored': False}}
    mapping = written(tmp_path, 'hello: [a/wave, b/wave]')
    assert merged('train', parts=parts, mapping=mapping).mirrored is None


def test_mirror_images_are_of_merged_classes(tmp_path) -> None:
    # Both sides of a wave are one class, which a mirror then leaves as it is.
    mapping = written(tmp_path, 'hello: [a/wave, b/wave, b/left, b/right]')
    assert merged('train', parts=PARTS, mapping=mapping).mirrored == {}
    mapping = written(tmp_path, 'hello: [a/wave, b/wave]\nto the left: [b/left]')
    sides = {'to the left': 'right', 'right': 'to the left'}
    assert merged('train', parts=PARTS, mapping=mapping).mirrored == sides


def test_classes_with_other_mirror_images_cannot_be_one(tmp_path) -> None:
    mapping = written(tmp_path, 'hello: [a/wave, b/left]\nwave: [b/wave]')
    with pytest.raises(
        ValueError, match="image of 'hello' is 'hello' for 'a/wave' but 'right' for 'b/left'"
    ):
        merged('train', parts=PARTS, mapping=mapping)


def test_folders_of_pictures_agree_on_their_rate(tmp_path) -> None:
    mapping = written(tmp_path, 'hello: [a/wave, b/wave]')
    (tmp_path / 'train').mkdir()
    for folder in ('train/0', 'train/1', 'train/2', '0', '1', '2'):
        (tmp_path / folder).mkdir()

    def rate(one_hz: float, **pictures: bool) -> float:
        parts = {
            'a': {'dataset': 'one', 'root': str(tmp_path), 'rate_hz': one_hz},
            'b': {'dataset': 'two', 'root': str(tmp_path)},
        }
        for part, value in pictures.items():
            parts[part]['pictures'] = value
        return merged('train', parts=parts, mapping=mapping).rate_hz

    assert rate(12.0, a=True, b=True) == 12
    assert rate(25.0, a=True, b=False) == 25
    assert rate(25.0, a=False, b=True) == 12
    with pytest.raises(ValueError, match=r"same frames a second, got 25\.0 of 'a', 12\.0 of 'b'"):
        rate(25.0, a=True, b=True)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('hi: [b/wvae]', r"m\.yaml': 'hi' names 'b/wvae', no class. Did you mean 'b/wave'"),
        ('hi: [wave]', r"'hi' names 'wave', no class. Did you mean '[ab]/wave'"),
        ('hi: [a/wave, a/]', "names 'a/', no class"),
        ('hi: [a/snack]', "names 'a/snack', no class"),
        ('hi: [a/wave]\nho: [a/w*]', "'a/wave' is in two merged classes, 'hi' and 'ho'"),
        ('left: [a/wave]', "'a/wave' and 'b/left' would both be the class 'left'"),
        ('hi: [a/left]', r"names 'a/left', no class. Did you mean 'b/left'"),
        ('hi: [a/wave]\nho: [b/wave]\nhi: [b/left]', r"line 3: 'hi' is there twice"),
        ('hi: a/wave', r"expected a merged class and a list .*got 'hi': 'a/wave'"),
        ('hi: []', r"expected a merged class .*got 'hi': \[\]"),
        ('hi: [1]', r'expected a merged class .*got .hi.: \[1\]'),
        ('yes: [a/wave]', r"in quotes where YAML .*got True: \['a/wave'\]"),
        ('- a/wave', r"m\.yaml' must be a mapping, got list"),
        ('hi: [', r"m\.yaml' is not plain YAML"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused(tmp_path, text, match) -> None:
    with pytest.raises(ValueError, match=match):
        merged('train', parts=PARTS, mapping=written(tmp_path, text))


def test_the_same_name_twice_asks_for_a_mapping(tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"'a/wave' and 'b/wave' would both be the class 'wave': .* name both"
    ):
        merged('train', parts=PARTS)
    mapping = written(tmp_path, 'big wave: [a/wave]\nsmall wave: [b/wave]')
    labels = merged('train', parts=PARTS, mapping=mapping).labels
    assert labels[1:4] == ('big wave', 'OK [sign]', 'small wave')


def test_a_missing_mapping_is_named(tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"mapping '.*none\.yaml' is not a file that exists, seen"
    ):
        merged('train', parts=PARTS, mapping=str(tmp_path / 'none.yaml'))


@pytest.mark.parametrize(
    ('parts', 'match'),
    [
        ({}, 'parts must name at least one data set, got none'),
        ({'a/b': PARTS['a']}, "must have names without a slash, got 'a/b'"),
        ({'a': 'one'}, "part 'a' must be a section with its dataset, got 'one'"),
        ({'a': {'root': 'x'}}, r"part 'a' must be a section with its dataset, got \{'root'"),
        ({'a': {'dataset': 'onne'}}, "part 'a': Unknown dataset 'onne'. Did you mean 'one'"),
        ({'a': {'dataset': 'one', 'rot': 1}}, "part 'a': .* has no setting 'rot' .*mean 'root'"),
        ({'a': {'dataset': 'two'}}, "part 'a': the data set 'two': missing .* 'root'"),
        ({'a': {'dataset': 'one', 'root': 3}}, "part 'a': .*root must be str, got 3"),
    ],
)
def test_a_wrong_part_is_refused(parts, match) -> None:
    with pytest.raises(ValueError, match=match):
        merged('train', parts=parts)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"split must be one of .*, got 'dev'"):
        merged('dev', parts=PARTS)


def test_a_name_wins_over_a_pattern(tmp_path) -> None:
    classes = {'a': ['a[bc]', 'ab', 'ac', 'ad']}
    found = merged_names(classes, written(tmp_path, 'x: ["a/a[bc]"]'))
    assert found == {'a': {'a[bc]': 'x', 'ab': 'ab', 'ac': 'ac', 'ad': 'ad'}}
    found = merged_names(classes, written(tmp_path, 'x: ["a/a[b-c]", "a/?d"]'))
    assert found == {'a': {'a[bc]': 'a[bc]', 'ab': 'x', 'ac': 'x', 'ad': 'x'}}


@given(st.text() | st.text(alphabet='ab/wave: [],*?\n\'"#&!-'))
def test_any_text_is_a_mapping_or_refused(tmp_path_factory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / 'any.yaml'
    path.write_text(text, encoding='utf-8', errors='replace')
    refusal = ''
    names = None
    try:
        names = merged_names({'a': ['a', 'wave'], 'b': ['b']}, path)
    except ValueError as error:
        refusal = str(error)
    assert names or 'any.yaml' in refusal
