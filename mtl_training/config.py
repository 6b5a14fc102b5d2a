"""
The configuration of a training run: typed, read from YAML, overridden on the command line.

Every rule about a value lives in the dataclass that holds it, so a YAML file, an override and a
checkpoint's metadata are checked alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
import math
from pathlib import Path
from typing import Any

from mtl_perception.network.config import from_mapping, NetworkConfig, to_mapping
import yaml

OPTIMISERS = ('adam', 'adamw')
SCHEDULES = ('constant', 'cosine', 'step', 'plateau')
SELECTIONS = ('cumulative', 'mean', 'score', 'last')
SPLITS = ('train', 'val', 'test')
PRECISIONS = ('32-true', 'bf16-mixed', '16-mixed', 'bf16-true', '64-true')
DTYPES = ('float32', 'float16')
ACCELERATORS = ('auto', 'cpu', 'cuda', 'mps')
# Regimes that can do with tasks without data, which come whole from init_checkpoint.
WITHOUT_DATA = ('backpack',)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """
    The data set of one task.

    :param dataset: Its name in the table of data sets.
    :param settings: Its settings for every split.
    :param train: Settings of the training split; they win over ``settings``.
    :param val: Settings of the validation split.
    :param test: Settings of the test split.
    :param label_noise: Share of the training clips that get a wrong label, on purpose.
    :param label_noise_seed: Which of them, and which label instead.
    """

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    val: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    label_noise: float = 0.0
    label_noise_seed: int = 0

    def __post_init__(self) -> None:
        # Written so that NaN is refused too.
        if not 0 <= self.label_noise < 1:
            raise ValueError(f'label_noise must lie in [0, 1), got {self.label_noise}.')
        _at_least('label_noise_seed', self.label_noise_seed, 0)

    def of_split(self, split: str) -> dict[str, Any]:
        """Return the settings of a split."""
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
        return {**self.settings, **getattr(self, split)}


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """
    How a gradient becomes a step.

    :param name: adam or adamw.
    :param lr: Learning rate.
    :param weight_decay: Never on biases, norms and learned task weights.
    :param schedule: constant, cosine, step or plateau.
    :param warmup: Iterations of linear warm-up.
    :param final_lr: Where the cosine ends.
    :param step_iters: Iterations between the steps of the schedule step.
    :param gamma: Factor of each step, and of each reduction on a plateau.
    :param patience: Validations without a lower loss that make a plateau.
    :param clip_norm: Largest norm of the whole gradient.
    """

    name: str = 'adam'
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = 'constant'
    warmup: int = 0
    final_lr: float = 0.0
    step_iters: int = 136_106
    gamma: float = 0.333
    patience: int = 3
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        _one_of('name', self.name, OPTIMISERS)
        _one_of('schedule', self.schedule, SCHEDULES)
        _at_least('warmup', self.warmup, 0)
        _at_least('step_iters', self.step_iters, 1)
        _at_least('patience', self.patience, 0)
        if not 0 < self.gamma < 1:
            raise ValueError(f'gamma must lie between 0 and 1, got {self.gamma}.')
        # Written so that NaN is refused too.
        if not 0 < self.lr < math.inf:
            raise ValueError(f'lr must be positive, got {self.lr}.')
        if not 0 <= self.final_lr <= self.lr:
            raise ValueError(f'final_lr must lie in [0, lr], got {self.final_lr}.')
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f'weight_decay must not be negative, got {self.weight_decay}.')
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f'clip_norm must be positive and finite, got {self.clip_norm}.')


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodConfig:
    """
    A method that a table names.

    :param name: Its name; ``list`` shows them all.
    :param settings: Its settings.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """
    When the network is validated, and what makes it the best so far.

    :param every: Iterations between validations.
    :param batch_size: Clips per forward pass.
    :param selection: What chooses the best network: the cumulative or the mean accuracy, or the
        mean score of all tasks, which those of boxes, joints and captions have too; last: none,
        the network at the end is taken.
    :param test: Evaluate the best network on the test split at the end.
    """

    every: int = 500
    batch_size: int = 32
    selection: str = 'cumulative'
    test: bool = True

    def __post_init__(self) -> None:
        _at_least('every', self.every, 1)
        _at_least('batch_size', self.batch_size, 1)
        _one_of('selection', self.selection, SELECTIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class RelevanceConfig:
    """
    How the finished network learns which clips are none of a task's own.

    :param background: Data sets whose clips belong to no task, by names of their own, which are
        also what they are asked for (``nothing`` of the rendered scenes).
    :param max_clips: Of each data set and split, spread evenly over it.
    :param l2: Weight decay of the relevance heads, on standardised features.
    """

    background: dict[str, DataConfig] = field(default_factory=dict)
    max_clips: int = 2000
    l2: float = 1e-4

    def __post_init__(self) -> None:
        _at_least('max_clips', self.max_clips, 1)
        if not 0 < self.l2 < math.inf:
            raise ValueError(f'l2 must be positive and finite, got {self.l2}.')


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """
    One training run.

    :param network: Trunks and tasks.
    :param data: One data set per task; with the regime backpack, known tasks that come from
        init_checkpoint need none.
    :param iterations: How long to train.
    :param batch_size: Samples per task and iteration, over all devices together.
    :param batch_sizes: Of single tasks, where they differ.
    :param seed: Of the initial weights, the order of the samples and their augmentation.
    :param optimiser: How a gradient becomes a step.
    :param losses: Settings of the loss of each task.
    :param weighting: How the losses of the tasks become one update.
    :param regime: How the tasks take turns.
    :param evaluation: Validation and the choice of the best network.
    :param relevance: At the end, fit what tells a task's own clips from all others; null: don't.
    :param merge_tasks: Run the batches of all tasks through what they share in one pass; null:
        unless the weighting needs the gradients of each task by itself. False makes live batch
        norms see the same under every weighting.
    :param trainable_stages: Stages of the backbones that train; null trains all.
    :param freeze_batch_norm: Keep the statistics of the initial weights.
    :param init_weights: File of a torchvision state dict for the trunks that it fits.
    :param init_checkpoint: Checkpoint whose trunks and heads of the same names to start from.
    :param ema_decay: Validate and keep a moving average of the weights, with this decay; not in
        stages.
    :param checkpoint_dtype: How checkpoints are stored, float32 or float16.
    :param save_every: Iterations between resume points; null: evaluation.every.
    :param log_every: Iterations between lines of metrics.jsonl.
    :param accelerator: auto, cpu, cuda or mps.
    :param devices: Devices per machine.
    :param num_nodes: Machines.
    :param precision: 32-true, bf16-mixed, 16-mixed, bf16-true or 64-true.
    :param channels_last: Memory layout of the clips; faster in low precision.
    :param workers: Processes that load clips.
    :param threads: Of torch on the CPU; null: torch decides.
    """

    network: NetworkConfig
    data: dict[str, DataConfig]
    iterations: int
    batch_size: int = 8
    batch_sizes: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    weighting: MethodConfig = field(default_factory=lambda: MethodConfig(name='average'))
    regime: MethodConfig = field(default_factory=lambda: MethodConfig(name='joint'))
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    relevance: RelevanceConfig | None = None
    merge_tasks: bool | None = None
    trainable_stages: tuple[str, ...] | None = None
    freeze_batch_norm: bool = False
    init_weights: str | None = None
    init_checkpoint: str | None = None
    ema_decay: float | None = None
    checkpoint_dtype: str = 'float32'
    save_every: int | None = None
    log_every: int = 20
    accelerator: str = 'auto'
    devices: int = 1
    num_nodes: int = 1
    precision: str = '32-true'
    channels_last: bool = False
    workers: int = 2
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ('iterations', 'batch_size', 'log_every', 'devices', 'num_nodes'):
            _at_least(name, getattr(self, name), 1)
        for name in ('seed', 'workers'):
            _at_least(name, getattr(self, name), 0)
        for name in ('save_every', 'threads'):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        _one_of('precision', self.precision, PRECISIONS)
        _one_of('checkpoint_dtype', self.checkpoint_dtype, DTYPES)
        _one_of('accelerator', self.accelerator, ACCELERATORS)
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f'ema_decay must lie between 0 and 1, got {self.ema_decay}.')
        for section in ('batch_sizes', 'losses'):
            if unknown := sorted(getattr(self, section).keys() - self.network.tasks.keys()):
                raise ValueError(
                    f'{section} must name tasks of the network, {sorted(self.network.tasks)}, got '
                    f"'{unknown[0]}'."
                )
        for task, size in self.batch_sizes.items():
            _at_least(f'batch_sizes.{task}', size, 1)
        if self.evaluation.selection not in ('score', 'last') and any(
            task.kind != 'classification' for task in self.network.tasks.values()
        ):
            raise ValueError(
                'evaluation.selection must be score for tasks of frames and of captions, which '
                f'may have no accuracy, or last, got {self.evaluation.selection!r}.'
            )
        unused = [name for name in self.network.trunks if not self.network.tasks_of(name)]
        if unused:
            raise ValueError(
                f"network.trunks: no task reads the trunk '{unused[0]}'; those that tasks read: "
                f'{sorted({task.trunk for task in self.network.tasks.values()})}.'
            )
        strange = set(self.data) ^ set(self.network.tasks)
        may_lack = self.regime.name in WITHOUT_DATA and self.init_checkpoint is not None
        if strange and not (may_lack and strange < set(self.network.tasks)):
            raise ValueError(
                f'data must name a data set for each task of the network, '
                f'{sorted(self.network.tasks)}, got {sorted(self.data)}.'
            )
        if early := [name for name, task in self.network.tasks.items() if task.relevance]:
            raise ValueError(
                f'network.tasks.{early[0]}.relevance must not be set: it is fitted at the end of '
                'a run with the section relevance.'
            )
        background = self.relevance.background if self.relevance else {}
        if both := sorted(background.keys() & self.network.tasks.keys()):
            raise ValueError(
                f"relevance.background must not have the name of a task, got '{both[0]}'."
            )
        for name, value in _leaves(to_mapping(self)):
            # They go into every checkpoint.
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f'{name} must be a value that JSON knows, got {value!r}.'
                ) from error

    def batch_size_of(self, task: str) -> int:
        """Return the samples of a task per iteration, over all devices together."""
        return self.batch_sizes.get(task, self.batch_size)


# What may differ between a run and its resumption without changing what is computed.
MAY_CHANGE = frozenset(
    (
        'accelerator',
        'devices',
        'num_nodes',
        'workers',
        'threads',
        'save_every',
        'log_every',
        'relevance',
    )
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """
    Read a YAML mapping; no objects are built from it.

    :raises ValueError: If the file is missing, is not YAML or is not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise ValueError(
            f"The config '{path}' does not exist; examples are in config/training."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Cannot read the config '{path}': {error}.") from error
    except yaml.YAMLError as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f"The config '{path}' is not plain YAML: {reason}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"The config '{path}' must be a mapping, got {type(content).__name__}.")
    return content


def set_entry(block: dict[str, Any], dotted: str, value: Any) -> None:
    """
    Set an entry of nested mappings by its dotted name.

    :raises ValueError: If the name leads through something that is not a mapping.
    """
    *parents, last = dotted.split('.')
    for parent in parents:
        inner = block.get(parent)
        if inner is None:
            inner = block[parent] = {}
        if not isinstance(inner, dict):
            raise ValueError(f"'{dotted}': '{parent}' is a value, not a section.")
        block = inner
    block[last] = value


def parse_value(text: str) -> Any:
    """Return the value that a command-line text means in YAML; ``1e-4`` is a number here."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f'{text!r} is not plain YAML.') from error
    return _with_numbers(value)


def build_config(
    block: Mapping[str, Any], overrides: Sequence[tuple[str, Any]] = ()
) -> TrainingConfig:
    """
    Build a config from plain values and dotted overrides.

    :raises ValueError: Naming the entry, the rule and what was found.
    """
    merged = _copy(block)
    for dotted, value in overrides:
        set_entry(merged, dotted, value)
    return from_mapping(TrainingConfig, _with_numbers(merged), 'config')


def load_config(path: str | Path, overrides: Sequence[tuple[str, Any]] = ()) -> TrainingConfig:
    """Read a config from a YAML file and apply overrides."""
    return build_config(read_yaml(path), overrides)


def dump_config(config: TrainingConfig) -> str:
    """Return the whole config as YAML, defaults included."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def differences(ours: TrainingConfig, theirs: TrainingConfig) -> list[str]:
    """Return the dotted names of the entries that change what is computed and differ."""
    one, two = (dict(_leaves(to_mapping(config))) for config in (ours, theirs))
    return sorted(
        name
        for name in one.keys() | two.keys()
        if name.partition('.')[0] not in MAY_CHANGE and one.get(name) != two.get(name)
    )


def _leaves(block: Mapping[str, Any], prefix: str = '') -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in block.items():
        if isinstance(value, Mapping):
            pairs += _leaves(value, f'{prefix}{key}.')
        else:
            pairs.append((f'{prefix}{key}', value))
    return pairs


def _copy(block: Any) -> Any:
    return {k: _copy(v) for k, v in block.items()} if isinstance(block, Mapping) else block


def _with_numbers(block: Any) -> Any:
    if isinstance(block, dict):
        return {key: _with_numbers(value) for key, value in block.items()}
    # YAML 1.1 reads 1e-3 as a string (it wants 1.0e-3); people write it as a number.
    if isinstance(block, str) and 'e' in block.lower() and block[0] in '-+.0123456789':
        try:
            number = float(block)
        except ValueError:
            return block
        return int(number) if number.is_integer() else number
    return block


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{name} must be one of {tuple(choices)}, got {value!r}.')


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f'{name} must be at least {least}, got {value}.')
