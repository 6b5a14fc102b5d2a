"""Several data sets as one, in which classes that mean the same are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_training.data.video_sets.mapping import merged_names
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex, NoSplitError
from mtl_training.tables import nearest


def merged(
    split: str, *, parts: dict[str, dict[str, Any]], mapping: str | None = None
) -> ClipIndex:
    """
    Several data sets as one, with the classes that a file calls the same made one.

    Classes come in the order of the parts and of their own numbers, a merged class where its
    first member is. Clips may be mirrored where all parts allow it.

    :param split: train, val or test.
    :param parts: By names that you choose: ``dataset`` and the settings of each, such as
        ``{ntu: {dataset: ntu_rgbd, root: data/NTU, partition: gesture}}``.
    :param mapping: A YAML file of merged classes, each with a list of ``part/class`` patterns;
        see :func:`~mtl_training.data.video_sets.mapping.merged_names`.
    :raises ValueError: If a part cannot be built, parts disagree, or the mapping is wrong.
    """
    check_split(split)
    if not parts:
        raise ValueError('parts must name at least one data set, got none.')
    indexes = {part: _build(part, block, split) for part, block in parts.items()}
    names = merged_names({part: index.labels for part, index in indexes.items()}, mapping)
    labels = tuple(dict.fromkeys(name for own in names.values() for name in own.values()))
    numbers = {name: label for label, name in enumerate(labels)}
    entries, missing = [], []
    for part, index in indexes.items():
        of_label = [numbers[names[part][label]] for label in index.labels]
        entries += [_relabelled(entry, of_label[entry.label], part) for entry in index.entries]
        missing += [f'{part}: {name}' for name in index.missing]
    return ClipIndex(labels, entries, missing, _mirrored(indexes, names), _rate_hz(indexes))


def _build(part: str, block: Any, split: str) -> ClipIndex:
    if not part or '/' in part:
        raise ValueError(f'parts must have names without a slash, got {part!r}.')
    if not isinstance(block, Mapping) or not isinstance(block.get('dataset'), str):
        raise ValueError(f"part '{part}' must be a section with its dataset, got {block!r}.")
    settings = {name: value for name, value in block.items() if name != 'dataset'}
    try:
        return _index(block['dataset'], settings, split)
    except ValueError as error:
        kind = NoSplitError if isinstance(error, NoSplitError) else ValueError
        raise kind(f"part '{part}': {error}") from error


def _index(dataset: str, settings: Mapping[str, Any], split: str) -> ClipIndex:
    # The registry names this module's function: an import at the top would go around in a circle.
    from mtl_training.data.videos.registry import build_index, index_settings

    own = index_settings(dataset)
    if unknown := [name for name in settings if name not in own]:
        raise ValueError(
            f"the data set '{dataset}' has no setting '{unknown[0]}' of what it lists. "
            f'{nearest(unknown[0], own)} Settings of how clips are read stand beside parts.'
        )
    return build_index(dataset, split, settings, f"the data set '{dataset}'")[0]


def _relabelled(entry: ClipEntry, label: int, part: str) -> ClipEntry:
    group = f'{part}/{entry.group}' if entry.group else ''
    return entry._replace(label=label, group=group)


def _mirrored(
    indexes: Mapping[str, ClipIndex], names: Mapping[str, Mapping[str, str]]
) -> dict[str, str] | None:
    if any(index.mirrored is None for index in indexes.values()):
        return None
    images: dict[str, tuple[str, str]] = {}
    for part, index in indexes.items():
        for label in index.labels:
            name = names[part][label]
            image = names[part][(index.mirrored or {}).get(label, label)]
            other, owner = images.setdefault(name, (image, f'{part}/{label}'))
            if other != image:
                raise ValueError(
                    f"mapping: the mirror image of '{name}' is '{other}' for '{owner}' but "
                    f"'{image}' for '{part}/{label}'; they cannot be one class."
                )
    return {name: image for name, (image, _) in images.items() if name != image}


def _rate_hz(indexes: Mapping[str, ClipIndex]) -> float:
    rates = {part: index.rate_hz for part, index in indexes.items() if _has_pictures(index)}
    if len(set(rates.values())) > 1:
        raise ValueError(
            'parts of folders of pictures must have the same frames a second, got '
            + ', '.join(f"{rate} of '{part}'" for part, rate in rates.items())
            + '.'
        )
    return next(iter(rates.values()), 30.0)


def _has_pictures(index: ClipIndex) -> bool:
    # To look at one clip of each kind of name will do; 100,000 take a while.
    kinds = {entry.path.suffix: entry.path for entry in index.entries}
    return any(path.is_dir() for path in kinds.values())
