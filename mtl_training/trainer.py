"""The training loop: iterations, validation, resume points; on Lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, repeat
import math
from pathlib import Path
from statistics import median
import time
from typing import Any, cast

from lightning_fabric.wrappers import _FabricOptimizer
from mtl_perception.checkpoint import load_checkpoint, load_network, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.completion import complete_network
from mtl_training.config import TrainingConfig
from mtl_training.criteria import build_criteria, Criterion
from mtl_training.data.fingerprint import check_same_samples, fingerprint
from mtl_training.data.loading import (
    build_datasets,
    training_batches,
    with_labels,
)
from mtl_training.data.sample import AnyDataset, varies
from mtl_training.data.videos.index import NoSplitError
from mtl_training.data.videos.problems import forget_problems, list_problems
from mtl_training.devices import build_fabric
from mtl_training.evaluation import evaluate
from mtl_training.initial_checkpoint import load_parts
from mtl_training.initial_weights import initialise
from mtl_training.inputs import TaskInputs
from mtl_training.metrics import Evaluation
from mtl_training.optimisation import (
    build_optimiser,
    learning_rate,
    Plateau,
    set_learning_rate,
    set_train_mode,
)
from mtl_training.processes import broadcast_state
from mtl_training.progress import TrainingProgress
from mtl_training.provenance import cpu_time, describe, git_revision, rounded
from mtl_training.recording import RunRecorder
from mtl_training.regimes import build_regime, Round, Stage
from mtl_training.relevance import build_sources, calibrate
from mtl_training.report import draw_confusions, draw_learning_curves
from mtl_training.run_folder import RunFolder
from mtl_training.run_log import RunLog
from mtl_training.run_progress import RunProgress
from mtl_training.run_state import (
    load_module,
    load_optimiser_tensors,
    load_state,
    optimiser_tensors,
    RunState,
    save_state,
)
from mtl_training.stages import (
    check_stages,
    freeze,
    frozen_modules,
    StoredPoses,
    with_predicted_poses,
)
from mtl_training.step import Batches, count_parameters, StepResult, TrainingStep
from mtl_training.stop_request import StopRequest
from mtl_training.synced_batch_norm import sync_batch_norms
from mtl_training.weighting import build_weighting
from mtl_training.weighting.merging import merges_tasks
from mtl_training.weighting.positive_losses import check_signs
from rich.console import Console
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Trainer:
    """
    One training run.

    :param config: What to train.
    :param out: The run's folder.
    :param console: Where progress is shown.
    :raises ValueError: If the config names something that does not exist or does not fit.
    """

    def __init__(self, config: TrainingConfig, out: str | Path, console: Console) -> None:
        self._started = time.monotonic()
        # Now: the tree may move on while the run goes on with the code that it loaded.
        self._git_revision = git_revision()
        self._config, self._console = config, console
        self._folder = RunFolder(out)
        if config.threads:
            torch.set_num_threads(config.threads)
        self._fabric = build_fabric(config)
        self._fabric.launch()
        self._log = RunLog(self._folder, console, writes=self._fabric.is_global_zero)
        self._fabric.seed_everything(config.seed, verbose=False)
        forget_problems()
        # All of them now: a wrong entry must not be found after hours of training.
        splits = ('train', 'val', 'test') if config.evaluation.test else ('train', 'val')
        with self._fabric.rank_zero_first():
            self._datasets = {split: build_split(config, split) for split in splits}
            if config.relevance is not None:
                background = config.relevance.background
                self._sources = {
                    split: build_sources(config.network, config.data, background, split)
                    for split in splits
                }
        network_config = with_labels(config.network, self._datasets['train'])
        for split in splits[1:]:
            with_labels(network_config, self._datasets[split])
        network_config = complete_network(config, network_config, self._datasets['train'])
        # Anew: a data set may have drawn numbers, and more of them in the process that filled a
        # cache. All processes draw alike from here on.
        self._fabric.seed_everything(config.seed, verbose=False)
        self._build(network_config)
        self._samples = {t: fingerprint(data) for t, data in self._datasets['train'].items()}
        self._progress = RunProgress()
        # Since the last line of metrics: the time of each step, and what each task reported last.
        # In a round of one task the others report nothing.
        self._step_ms: list[float] = []
        self._last_loss: dict[str, float] = {}
        self._last_fit: dict[str, float] = {}
        self._iteration = 0
        self._stop_request = StopRequest(self._log.say)

    def _build(self, network_config: NetworkConfig) -> None:
        config, fabric = self._config, self._fabric
        tasks = list(network_config.tasks)
        network = MultiTaskNetwork(network_config)
        initialise(network, config)
        if config.channels_last:
            lay_out_channels_last(network)
        self._weighting = build_weighting(
            config.weighting.name, tasks, **config.weighting.settings
        )
        self._weighting.prepare(
            {task: len(data) for task, data in self._datasets['train'].items()}
        )
        self._weighting.to(fabric.device)
        self._criteria = build_criteria(network_config, config.losses)
        check_signs(
            self._weighting,
            config.weighting.name,
            cast('Mapping[str, Criterion]', self._criteria),
        )
        for task, data in self._datasets['train'].items():
            if (targets := getattr(data, 'targets', None)) is not None:
                cast('Criterion', self._criteria[task]).learn_targets(targets)
        self._regime = build_regime(
            config.regime.name,
            tasks,
            cast('Mapping[str, Criterion]', self._criteria),
            **config.regime.settings,
        )
        self._regime.to(fabric.device)
        self._regime.prepare(
            {task: len(data) for task, data in self._datasets['train'].items()},
            {task: config.batch_size_of(task) for task in tasks},
        )
        self._regime.check(
            network_config, {task: varies(data) for task, data in self._datasets['train'].items()}
        )
        if config.init_checkpoint is not None:
            own = self._regime.records_prototypes
            load_parts(network, config.init_checkpoint, prototypes=not own)
        if self._regime.remembers and self._weighting.uses_upcoming_batch:
            raise ValueError(
                f"the weighting '{config.weighting.name}' looks at the batch of the next step, "
                f"which may be of another round: it does not go with '{config.regime.name}'."
            )
        self._stages = self._regime.stages(config.iterations)
        check_stages(self._stages, network_config)
        for stage in self._stages:
            replace(config.optimiser, **stage.optimiser)  # refused now, not when it begins
        if config.ema_decay is not None and len(self._stages) > 1:
            raise ValueError(
                f'ema_decay must be null in several stages, got {config.ema_decay}: what a '
                'stage leaves as it is would go on moving in the average.'
            )
        sync_batch_norms(network)
        # Not Fabric's wrapper: its hooks would average gradients that a weighting has yet to make.
        fabric.strategy.precision.convert_module(fabric.to_device(network))
        broadcast_state(network, self._weighting, self._regime)
        optimiser = build_optimiser(
            config.optimiser,
            network,
            [*self._weighting.parameters(), *self._regime.parameters()],
            [pair for method in network.sharing_methods for pair in method.rate_multipliers()],
        )
        wrapped_optimiser = cast(_FabricOptimizer, fabric.setup_optimizers(optimiser))
        dtype = next(network.parameters()).dtype
        self._inputs = TaskInputs(network_config, channels_last=config.channels_last, dtype=dtype)
        self._inputs.to(fabric.device)
        self._network, self._optimiser = network, optimiser
        self._recorder = self._recorder_of(network)
        self._trainable = {id(p): p.requires_grad for p in network.parameters()}
        self._averaged: AveragedModel | None = None
        if config.ema_decay is not None:
            average = get_ema_multi_avg_fn(config.ema_decay)
            self._averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        # Of the network that is judged and stored, which may be an average.
        self._stored_recorder = self._recorder_of(self._current())
        self._step = TrainingStep(
            fabric,
            network,
            wrapped_optimiser,
            inputs=self._inputs,
            regime=self._regime,
            weighting=self._weighting,
            clip_norm=config.optimiser.clip_norm,
            merge=merges_tasks(config.merge_tasks, self._weighting, config.weighting.name),
            iterations=config.iterations,
        )

    def _recorder_of(self, network: MultiTaskNetwork) -> RunRecorder:
        data = self._datasets['train']
        return RunRecorder(self._fabric, self._config, network, self._inputs, data)

    @property
    def is_main_process(self) -> bool:
        """Tell whether this is the process, of all devices', that writes and prints."""
        return self._fabric.is_global_zero

    def run(self, *, resume: bool = False) -> dict[str, Any]:
        """
        Train to the end, or until a signal asks to stop.

        :param resume: Go on with the run in the folder, if there is one.
        :return: The summary; ``finished`` tells whether the end was reached.
        :raises ValueError: If the folder holds another run.
        """
        with self._fabric.rank_zero_first():
            if self._fabric.is_global_zero:
                self._folder.open(self._config, resume=resume)
        self._announce()
        if resume and self._folder.state.exists():
            self._resume()
        first, total = self._iteration, self._config.iterations
        shown = TrainingProgress(self._console, first, total)
        with self._log.open(first), self._stop_request, shown as self._shown:
            if not first and self._regime.round_at(0) is not None:
                self._judge_beginning()
            for number, stage in enumerate(self._stages):
                end = stage.first + stage.iterations
                # One that is not reached has not begun: the run was stopped, here or elsewhere.
                if not stage.first <= self._iteration < end or self._stop_request.is_made:
                    continue
                batches = self._begin(number, stage)
                while self._iteration < end and not self._should_stop():
                    self._iterate(*next(batches))
        return self._finish()

    # -- Stages ------------------------------------------------------------------------------

    def _begin(self, number: int, stage: Stage) -> Iterator[tuple[Batches, Batches | None]]:
        """Prepare a stage and return its batches, and those after them where they are needed."""
        progress = self._progress
        if progress.stage != number:
            progress.stage, progress.plateau = number, Plateau()
            if set(self._judged(stage.first)) != set(self._judged(stage.first - 1)):
                progress.best = -1.0  # of other tasks
            if stage.is_fresh:
                self._optimiser.state.clear()
        self._stage, self._settings = stage, replace(self._config.optimiser, **stage.optimiser)
        self._step.clip_norm = self._settings.clip_norm
        freeze(self._network, stage, self._trainable)
        self._frozen = frozen_modules(self._network, stage)
        self._step.refresh()
        if len(self._stages) > 1:
            self._log.say(
                f'stage {number + 1} of {len(self._stages)}: '
                f'{", ".join(self._tasks_at(stage.first))}, '
                f'{stage.iterations} iterations'
            )
        datasets = dict(self._datasets['train'])
        if stage.predicted_poses:
            datasets |= with_predicted_poses(
                self._config,
                self._current(),
                self._inputs,
                self._fabric,
                stored=StoredPoses(self._folder.poses, number, keep=self._iteration > stage.first),
                say=self._log.say,
            )
        stream = training_batches(
            datasets,
            self._config,
            tasks_at=self._tasks_at,
            start=self._iteration,
            rank=self._fabric.global_rank,
            world_size=self._fabric.world_size,
        )
        return pairwise(stream) if self._step.looks_ahead else zip(stream, repeat(None))

    def _tasks_at(self, iteration: int) -> list[str]:
        # What comes after the present stage is as in it: the next one reads other data.
        number = sum(stage.first <= iteration for stage in self._stages) - 1
        stage = self._stages[min(number, self._progress.stage)]
        return [task for task in self._regime.tasks_at(iteration) if task in stage.tasks]

    def _iterate(self, batches: Batches, upcoming: Batches | None) -> None:
        config = self._config
        stage, optimiser = self._stage, self._settings
        rate = learning_rate(optimiser, self._iteration - stage.first, stage.iterations)
        rate *= (stage.lr or optimiser.lr) / optimiser.lr * self._progress.plateau.factor
        set_learning_rate(self._optimiser, rate)
        self._regime.begin(self._iteration, self._recorder)
        if self._iteration == stage.first:
            self._step.refresh()  # what tasks share may have changed
        set_train_mode(
            self._network, freeze_batch_norm=config.freeze_batch_norm, frozen=self._frozen
        )
        started = time.perf_counter()
        result = self._step(self._iteration, batches, upcoming)
        self._step_ms.append(1e3 * (time.perf_counter() - started))
        if self._averaged is not None and not result.skipped:
            self._averaged.update_parameters(self._network)
        self._iteration += 1
        self._progress.samples.update({t: config.batch_size_of(t) for t in result.loss})
        self._progress.num_skipped += result.skipped
        self._report(result, rate)
        last = self._iteration in (stage.first + stage.iterations, config.iterations)
        ended = self._ended_round()
        validates = self._iteration % config.evaluation.every == 0 or last or ended is not None
        if validates:
            self._validate()
        every = config.save_every or config.evaluation.every
        if validates or self._iteration % every == 0:
            self._save()

    # -- Validation --------------------------------------------------------------------------

    def _validate(self) -> None:
        self._regime.before_validation(self._stored_recorder)
        judged = self._judged(self._iteration - 1, 'val')
        evaluation = self._evaluate(self._current(), judged, self._share())
        figures = evaluation.summary()
        structure = {
            name: self._network.sharing(name).structure() for name in self._network.trunks
        }
        record = {'kind': 'val', 'iteration': self._iteration, **figures}
        if (ended := self._ended_round()) is not None:
            record |= {'round': ended.number, 'trained': [ended.task]}
        self._log.record({**record, 'structure': structure})
        chosen = chosen_figure(self._config.evaluation.selection, evaluation)
        self._progress.plateau.update(
            sum(evaluation.losses.get(task, 0.0) for task in self._stage.tasks),
            self._settings,
        )
        if self._config.evaluation.selection == 'last' or chosen >= self._progress.best:
            self._progress.best, self._progress.best_iteration = chosen, self._iteration
            self._write_checkpoint(self._folder.best, {'val': figures})
        self._write_checkpoint(self._folder.last, {'val': figures})
        shares = '  '.join(f'{task} {value:.1%}' for task, value in evaluation.scores.items())
        selection = self._config.evaluation.selection
        is_best = selection != 'last' and self._progress.best_iteration == self._iteration
        chosen_by = selected_name(selection).replace('_', ' ')
        best = ', best so far' if is_best else ''
        self._log.say(f'validation {self._iteration}: {shares}  {chosen_by} {chosen:.1%}{best}')

    def _judged(self, iteration: int, split: str = 'train') -> dict[str, AnyDataset]:
        """Return the data sets of the tasks that count after an iteration."""
        tasks = self._regime.judged_tasks(iteration)
        return {task: data for task, data in self._datasets[split].items() if task in tasks}

    def _ended_round(self) -> Round | None:
        """Return the round that the last iteration ended, if it did."""
        done = self._regime.round_at(self._iteration - 1) if self._iteration else None
        is_last = self._iteration == self._config.iterations
        return done if done and (done.end == self._iteration or is_last) else None

    def _judge_beginning(self) -> None:
        """Validate the network before its first round, for curves over rounds."""
        if any(record.get('round') == -1 for record in self._folder.records()):
            return
        figures = self._evaluate(self._current(), self._datasets['val'], self._share()).summary()
        self._log.record({'kind': 'val', 'iteration': 0, **figures, 'round': -1, 'trained': []})

    def _evaluate(
        self,
        network: MultiTaskNetwork,
        datasets: Mapping[str, AnyDataset],
        share: tuple[int, int] = (0, 1),
    ) -> Evaluation:
        return evaluate(
            network.deploy(),
            datasets,
            criteria=self._criteria,
            batch_size=self._config.evaluation.batch_size,
            device=self._fabric.device,
            workers=self._config.workers,
            channels_last=self._config.channels_last,
            autocast=self._fabric.autocast,
            share=share,
        )

    def _current(self) -> MultiTaskNetwork:
        if self._averaged is None:
            return self._network
        return cast(MultiTaskNetwork, self._averaged.module)

    # -- Files -------------------------------------------------------------------------------

    def _cost(self) -> dict[str, float]:
        """Return the time that the run has taken so far, interruptions left out."""
        wall_sec = self._progress.wall_sec + time.monotonic() - self._started
        return {'wall_sec': wall_sec, 'cpu_sec': self._progress.cpu_sec + cpu_time()}

    def _write_checkpoint(
        self, path: Path, metrics: dict[str, Any], network: MultiTaskNetwork | None = None
    ) -> None:
        if not self._fabric.is_global_zero:
            return
        training = describe(
            self._config,
            iteration=self._iteration,
            samples=dict(self._progress.samples),
            cost=self._cost(),
        )
        save_checkpoint(
            path,
            network or self._current(),
            metrics=metrics,
            training=training,
            git_revision=self._git_revision,
            dtype=self._config.checkpoint_dtype,
        )

    def _modules(self) -> dict[str, torch.nn.Module]:
        modules = {
            'network': self._network,
            'weighting': self._weighting,
            'regime': self._regime,
        }
        return modules if self._averaged is None else {**modules, 'averaged': self._averaged}

    def _save(self) -> None:
        """Write a resume point."""
        if self._fabric.is_global_zero:
            facts = {
                'labels': self._labels(),
                'samples': self._samples,
                'precision': self._fabric.strategy.precision.state_dict(),
                'progress': {**self._progress.facts(), **self._cost()},
            }
            modules = {name: module.state_dict() for name, module in self._modules().items()}
            optimiser = optimiser_tensors(self._optimiser)
            save_state(self._folder.state, RunState(self._iteration, facts, modules, optimiser))
        self._fabric.barrier()

    def _labels(self) -> dict[str, Any]:
        return {
            name: {group: list(labels) for group, labels in task.groups.items()}
            if task.groups
            else list(task.labels)
            for name, task in self._network.config.tasks.items()
        }

    def _resume(self) -> None:
        """
        Restore the resume point.

        :raises ValueError: If it is of other labels or other training samples.
        """
        state = load_state(self._folder.state)
        if state.facts['labels'] != self._labels():
            raise ValueError(
                f"'{self._folder.path}' holds a run with other labels: {state.facts['labels']} "
                f'against {self._labels()}.'
            )
        # A run of before they were stored has nothing to compare.
        check_same_samples(state.facts.get('samples', {}), self._samples, self._folder.path)
        for name, module in self._modules().items():
            load_module(module, state.modules.get(name, {}), name)
        load_optimiser_tensors(self._optimiser, state.optimiser)
        # In 16-mixed, the scale of the loss.
        self._fabric.strategy.precision.load_state_dict(state.facts['precision'])
        self._progress = RunProgress.from_facts(state.facts['progress'])
        self._iteration = state.iteration
        self._log.say(f'resuming at iteration {state.iteration}')

    # -- Telling -----------------------------------------------------------------------------

    def _announce(self) -> None:
        network, config = self._network, self._config
        clips = ', '.join(f'{len(data)} {task}' for task, data in self._datasets['train'].items())
        self._log.say(
            f'{count_parameters(network):,} parameters, '
            f'{count_parameters(network, trained=True):,} trained; {clips} clips; '
            f'{self._fabric.device}, {config.precision}; run folder {self._folder.path}'
        )

    def _report(self, result: StepResult, rate: float) -> None:
        if self._fabric.is_global_zero:
            self._shown.update(self._iteration, sum(result.loss.values()), result.fit)
        self._last_loss |= {t: value for t, value in result.loss.items() if math.isfinite(value)}
        self._last_fit |= result.fit
        if self._iteration % self._config.log_every and not result.skipped:
            return
        record = {'kind': 'train', 'iteration': self._iteration, 'lr': rate}
        record |= {'loss': dict(self._last_loss), 'accuracy': dict(self._last_fit)}
        record |= {'weights': self._weighting.weights()}
        record |= {'step_ms': round(median(self._step_ms), 3)}
        for since in (self._step_ms, self._last_loss, self._last_fit):
            since.clear()
        self._log.record(record | {'skipped': self._progress.num_skipped})

    # -- The end -----------------------------------------------------------------------------

    def _should_stop(self) -> bool:
        if self._fabric.world_size == 1:
            return self._stop_request.is_made
        # All processes leave the loop at the same iteration, or none would get past a barrier.
        votes = self._fabric.all_reduce(
            torch.tensor(float(self._stop_request.is_made)), reduce_op='sum'
        )
        return bool(votes)

    def _finish(self) -> dict[str, Any]:
        if self._iteration < self._config.iterations:
            self._save()
            self._log.say(
                f'stopped at iteration {self._iteration}; go on with: '
                f'python -m mtl_training train --resume --out {self._folder.path}'
            )
            figures = self._figures() | self._video_problems()
            return {'out': str(self._folder.path), 'finished': False, **figures}
        figures = self._figures()
        summary = {'out': str(self._folder.path), 'finished': True, **figures}
        best, evaluation = self._evaluate_best()
        summary |= self._video_problems()
        if self._fabric.is_global_zero:
            summary |= self._write_best(best, evaluation, figures)
            draw_learning_curves(self._folder.records(), self._folder.path / 'learning_curves.png')
            summary |= rounded(self._cost())
            self._folder.write_summary(summary)
        self._fabric.barrier()
        return summary

    def _video_problems(self) -> dict[str, Any]:
        """Tell how many videos were left out or repaired, and where all of them stand."""
        list_problems(lambda line: None, self._folder.video_problems)
        self._fabric.barrier()
        count = list_problems(self._log.say, self._folder.video_problems)
        file = str(self._folder.video_problems)
        return {'video_problems': count, 'video_problems_file': file} if count else {}

    def _figures(self) -> dict[str, Any]:
        return {
            'iteration': self._iteration,
            'best_iteration': self._progress.best_iteration,
            f'best_{selected_name(self._config.evaluation.selection)}': self._progress.best,
            'samples': dict(self._progress.samples),
            'skipped_steps': self._progress.num_skipped,
            'parameters': {
                'training': count_parameters(self._network),
                'deployed': count_parameters(self._network.deploy()),
            },
            'step_ms': self._median_step_ms(),
            **rounded(self._cost()),
        }

    def _median_step_ms(self) -> float | None:
        times = [record['step_ms'] for record in self._folder.records() if 'step_ms' in record]
        return round(median(times), 3) if times else None

    def _evaluate_best(self) -> tuple[MultiTaskNetwork, Evaluation]:
        """Evaluate the best network, as stored; each process does its share."""
        if self._fabric.is_global_zero:
            best, _ = load_network(self._folder.best)
        else:
            best = MultiTaskNetwork(self._network.config).eval()
        best = best.to(self._fabric.device)
        broadcast_state(best)
        judged = self._judged(self._config.iterations - 1, self._last_split())
        return best, self._evaluate(best, judged, self._share())

    def _last_split(self) -> str:
        return 'test' if self._config.evaluation.test else 'val'

    def _share(self) -> tuple[int, int]:
        return self._fabric.global_rank, self._fabric.world_size

    def _write_best(
        self, best: MultiTaskNetwork, evaluation: Evaluation, run: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Calibrate the best network, tell its checkpoint what it reached, draw its mistakes."""
        split, checkpoint = self._last_split(), load_checkpoint(self._folder.best)
        draw_confusions(evaluation, self._folder.path / 'confusion.png')
        figures = evaluation.summary()
        if self._config.relevance is not None:
            best, scenes = calibrate(
                best,
                self._sources,
                self._config.relevance,
                split=split,
                batch_size=self._config.evaluation.batch_size,
                device=self._fabric.device,
                workers=self._config.workers,
            )
            figures['relevance'] = scenes.summary()
        # The best checkpoint learns what it reached; its own facts about its training stay.
        save_checkpoint(
            self._folder.best,
            best,
            metrics={**checkpoint.metrics, split: figures},
            training={**checkpoint.training, 'run': dict(run)},
            git_revision=checkpoint.git_revision,
            dtype=self._config.checkpoint_dtype,
        )
        figures['confusion'] = {
            task: {'labels': list(matrix.labels), 'counts': matrix.counts.tolist()}
            for task, matrix in evaluation.confusions.items()
        }
        return {split: figures}


def build_split(config: TrainingConfig, split: str) -> dict[str, AnyDataset]:
    """
    Return the data sets of a split.

    :raises ValueError: If a task has none; for the split test it says how to train without.
    """
    try:
        return build_datasets(config, split)
    except NoSplitError as error:
        if split != 'test':
            raise
        raise ValueError(f'{error} Train without one by --evaluation.test false.') from error


def chosen_figure(selection: str, evaluation: Evaluation) -> float:
    """Return what the best network has most of, or what is told of the last one."""
    if selection in ('score', 'last'):
        return evaluation.mean_score
    figure: float = evaluation.summary()[selected_name(selection)]
    return figure


def selected_name(selection: str) -> str:
    """Return the name of the figure that chooses the best network, as it stands in summaries."""
    return 'mean_score' if selection in ('score', 'last') else f'{selection}_accuracy'


def lay_out_channels_last(network: MultiTaskNetwork) -> None:
    """Give the weights of convolutions the memory layout in which channels are innermost."""
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim in (4, 5):
                layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=layout)
