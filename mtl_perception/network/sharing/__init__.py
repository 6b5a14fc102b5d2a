"""Sharing methods: who owns the trunks, and which task reads which; one file each."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any

from mtl_perception.network.sharing.cgc import CGC
from mtl_perception.network.sharing.contract import MakeTrunk, SampleLosses, SharingMethod
from mtl_perception.network.sharing.cross_stitch import CrossStitch
from mtl_perception.network.sharing.dselect_k import DSelectK
from mtl_perception.network.sharing.hard import HardSharing
from mtl_perception.network.sharing.learned_weight_sharing import LearnedWeightSharing
from mtl_perception.network.sharing.learning_to_branch import LearningToBranch
from mtl_perception.network.sharing.mmoe import MMoE
from mtl_perception.network.sharing.mtan import MTAN
from mtl_perception.network.sharing.ple import PLE
from mtl_perception.network.sharing.single_task import SingleTask

# Each class takes (make_trunk, tasks, **settings); its settings are its remaining parameters.
SHARING: dict[str, Any] = {
    'hard': HardSharing,
    'single_task': SingleTask,
    'cross_stitch': CrossStitch,
    'learned_weight_sharing': LearnedWeightSharing,
    'mtan': MTAN,
    'mmoe': MMoE,
    'cgc': CGC,
    'ple': PLE,
    'dselect_k': DSelectK,
    'learning_to_branch': LearningToBranch,
}

__all__ = [
    'CGC',
    'MTAN',
    'PLE',
    'SHARING',
    'CrossStitch',
    'DSelectK',
    'HardSharing',
    'LearnedWeightSharing',
    'LearningToBranch',
    'MMoE',
    'MakeTrunk',
    'SampleLosses',
    'SharingMethod',
    'SingleTask',
    'build_sharing',
    'choose_method',
]


def build_sharing(
    name: str, make_trunk: MakeTrunk, tasks: Sequence[str], **settings: Any
) -> SharingMethod:
    """
    Build the sharing method that a config names.

    :param name: A key of ``SHARING``.
    :param make_trunk: Called once per copy of the trunk that the method needs.
    :param tasks: Names of the tasks that share.
    :param settings: The method's own settings.
    :raises ValueError: If the name or a setting is unknown.
    """
    method = choose_method(SHARING, name, settings)
    built: SharingMethod = method(make_trunk, tasks, **settings)
    return built


def choose_method(table: Mapping[str, Any], name: str, settings: Mapping[str, Any]) -> Any:
    """
    Return the class of a sharing method, once its settings are known to be among its own.

    :param table: Classes by their names; each takes two arguments before its settings.
    :raises ValueError: If the name or a setting is unknown.
    """
    if name not in table:
        raise ValueError(
            f"Unknown sharing method '{name}'; known methods: {sorted(table)}."
            f'{_nearest(name, list(table))}'
        )
    parameters = list(signature(table[name]).parameters.values())[2:]
    known = [p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(
            f"Sharing '{name}' has no setting {unknown}; its settings: {known}."
            f'{_nearest(unknown[0], known)}'
        )
    return table[name]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ''
