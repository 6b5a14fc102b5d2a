"""One activation of the perception node: from the image subscription to the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.ros.diagnostics import (
    inference_status,
    inference_values,
    input_values,
    InputDiagnostics,
    memory_values,
    status_msg,
)
from mtl_perception.ros.image_input import ImageInput
from mtl_perception.ros.inference_thread import InferenceThread
from mtl_perception.ros.parameters import PerceptionParameters
from mtl_perception.ros.result_publishers import ResultPublishers
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.ros.watchdog import Watchdog
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.sentences.sentence_list import SentenceList
from rclpy.node import Node


class Stream:
    """
    The subscription, the recognizer, its thread, and who watches over them.

    :param parameters: Returns the parameters as they are now.
    :param publishers: What the results are published by, on the inference thread.
    :param sentences: Returns what captions are chosen from now, or None.
    :param num_threads: CPU threads of the network.
    """

    def __init__(
        self,
        node: Node,
        engine: Engine,
        *,
        parameters: Callable[[], PerceptionParameters],
        publishers: ResultPublishers,
        sentences: Callable[[], SentenceList | None],
        num_threads: int,
    ) -> None:
        self._parameters, settings = parameters, parameters()
        self._num_frames = max(
            (trunk.num_frames for trunk in engine.config.trunks_of('clip').values()), default=0
        )
        self.statistics = statistics = StreamStatistics()
        publishers.overlay.forget()
        self._recognizer = Recognizer(
            engine, max_gap_sec=settings.max_gap_sec, sentences=sentences
        )
        self._input = ImageInput(
            node,
            self._recognizer,
            statistics,
            transport=settings.image_transport,
            depth=settings.qos_depth,
            wants_pictures=publishers.overlay.is_wanted,
        )
        try:
            self._watchdog = Watchdog(node, self._input, self._recognizer, statistics)
            self._diagnostics = InputDiagnostics(statistics)
            self._thread = InferenceThread(
                self._recognizer,
                statistics,
                parameters=parameters,
                # Not self.statistics: the clips would live on in a cycle of references.
                publish=lambda results: publishers.publish(results, statistics),
                show=lambda results: publishers.overlay.publish(results, statistics),
                log_error=node.get_logger().error,
                is_running=node.context.ok,
                num_threads=num_threads,
            )
        except BaseException:
            # A subscription that nobody closes would go on calling.
            self._input.close()
            raise

    @property
    def topic(self) -> str:
        """Return the full name of the image topic."""
        return self._input.topic

    def close(self) -> None:
        """Unsubscribe and stop the thread."""
        self._input.close()
        self._thread.close()

    def complaint(self) -> str | None:
        """Return why no usable image has come for too long, or None if one has."""
        parameters = self._parameters()
        return self._watchdog.complaint(parameters.input_timeout_sec, parameters.min_period_sec)

    def statuses(
        self, name: str, *, complaint: str | None, values: Mapping[str, str]
    ) -> list[DiagnosticStatus]:
        """
        Return the diagnostics of input and inference.

        :param name: Of the node.
        :param complaint: What :meth:`complaint` returned.
        :param values: Of the node, to be listed with the inference.
        """
        statistics, parameters = self.statistics, self._parameters()
        timeout_sec = parameters.input_timeout_sec + parameters.min_period_sec
        recognizer, memory = self._recognizer, self._recognizer.memory
        figures = input_values(statistics, self.topic, recognizer.span_sec)
        results = inference_values(statistics, recognizer.num_superseded, recognizer.num_tracks)
        return [
            status_msg(
                f'{name}: input', *self._diagnostics.status(complaint, self._num_frames), figures
            ),
            status_msg(
                f'{name}: inference',
                *inference_status(statistics, timeout_sec, memory),
                {**values, **results, **memory_values(memory)},
            ),
        ]
