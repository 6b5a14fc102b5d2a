"""The perception node: camera images in; people, their poses, what they do and captions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
import sys
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.ros.captions import CaptionSentences
from mtl_perception.ros.diagnostics import ERROR, OK, status_msg
from mtl_perception.ros.introduction import describe_engine, unused_tasks
from mtl_perception.ros.memory import keep_freed_memory
from mtl_perception.ros.messages import labels_msg
from mtl_perception.ros.parameters import (
    changed_parameters,
    declare_parameters,
    PerceptionParameters,
    whole_numbers_as_floats,
)
from mtl_perception.ros.qos import latched_qos
from mtl_perception.ros.result_publishers import ResultPublishers
from mtl_perception.ros.signals import ignore_signals
from mtl_perception.ros.stream import Stream
from mtl_perception.ros.throttle import Throttle
from mtl_perception.ros.transport import shipped_file, use_shipped_transport_profile
from mtl_perception.ros.usage import tells_usage
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.recognizer import load_frame_branch
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import String
import torch

DEMO_CHECKPOINT = Path('checkpoints', 'demo.safetensors')
# Read before a node sets the number for its own threads.
DEFAULT_THREADS = torch.get_num_threads()


Transition = Callable[['PerceptionNode', LifecycleState], TransitionCallbackReturn]


def explained(transition: Transition) -> Transition:
    """Make a transition say why it fails, whatever it is: rclpy says nothing of an exception."""

    @wraps(transition)
    def explained_transition(
        node: PerceptionNode, state: LifecycleState
    ) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            # Whatever fails because ROS has gone down meanwhile is no failure of the node.
            if node.context.ok():
                where = traceback.extract_tb(error.__traceback__)[-1]
                node.fail(
                    f'{transition.__name__} failed: {type(error).__name__}: {error} '
                    f'({where.filename}:{where.lineno})'
                )
            return TransitionCallbackReturn.ERROR

    return explained_transition


class PerceptionNode(LifecycleNode):
    """
    Publish who is seen by a camera, where, and what people in its newest seconds do.

    Two threads: the executor's takes images in and never infers; an inference thread always takes
    the newest frames, so that a slow network skips frames instead of falling behind.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('perception_node', **kwargs)
        self._parameters_now: PerceptionParameters = declare_parameters(self, PerceptionParameters)
        self.add_on_set_parameters_callback(self._on_parameters)
        if hasattr(self, 'add_pre_set_parameters_callback'):  # Humble wants floats with a dot
            self.add_pre_set_parameters_callback(
                lambda changes: whole_numbers_as_floats(PerceptionParameters, changes)
            )
        self._state = 'unconfigured'
        self._failure = ''  # why the last transition did not go well
        self._num_threads = DEFAULT_THREADS
        self._engine: Engine | None = None
        self._stream: Stream | None = None
        self._sentences: CaptionSentences | None = None
        self._result_publishers: ResultPublishers | None = None
        self._labels_publisher = self.create_publisher(String, '~/labels', latched_qos())
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._warn = Throttle(self.get_logger().warning)
        # A paused simulation must not stop the watchdog.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0, self._on_timer, clock=steady)
        self._was_silent = False

    @property
    def parameters(self) -> PerceptionParameters:
        """Return the parameters as they are now."""
        return self._parameters_now

    def start(self) -> bool:
        """Configure and activate; return whether both went well."""
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate)
        )

    def fail(self, reason: str) -> None:
        """Log why a transition fails, and go on saying so until one goes well."""
        self._failure = reason
        self.get_logger().error(reason)

    def close(self) -> None:
        """Stop the inference thread and free what the network holds, in whatever state."""
        self._stop_stream()
        self._drop_engine()

    @explained
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network; on a failure the node can be configured again."""
        parameters = self.parameters
        self._num_threads = parameters.num_threads or DEFAULT_THREADS
        torch.set_num_threads(self._num_threads)
        try:
            engine = Engine(
                find_checkpoint(parameters.checkpoint),
                device=parameters.device,
                precision=parameters.precision,
            )
            if engine.frame_trunk is not None:
                load_frame_branch()
            self._sentences = CaptionSentences(self, engine, parameters.sentences)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            self.fail(f'Cannot configure: {error}')
            return TransitionCallbackReturn.FAILURE
        finally:
            # From here on this thread only shrinks images: too little work to be divided.
            torch.set_num_threads(1)
        self._engine = engine
        self._result_publishers = ResultPublishers(self, engine)
        self._labels_publisher.publish(labels_msg(engine.config.tasks))
        self.get_logger().info(describe_engine(engine, self._num_threads))
        for complaint in unused_tasks(engine):
            self.get_logger().warning(complaint)
        self._state, self._failure = 'inactive', ''
        return super().on_configure(state)

    @explained
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to recognise."""
        assert self._engine is not None
        assert self._sentences is not None
        assert self._result_publishers is not None
        sentences = self._sentences
        try:
            self._engine.load()
            self._stream = Stream(
                self,
                self._engine,
                parameters=lambda: self.parameters,
                publishers=self._result_publishers,
                sentences=lambda: sentences.listed,
                num_threads=self._num_threads,
            )
        except (ValueError, RuntimeError) as error:
            self.fail(f'Cannot activate: {error}')
        if self._stream is None:
            # Not sooner: the error held on to what there was of the stream.
            self._engine.unload()
            return TransitionCallbackReturn.FAILURE
        self._was_silent = False
        self._state, self._failure = 'active', ''
        self.get_logger().info(f"Listening on '{self._stream.topic}'")
        return super().on_activate(state)

    @explained
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, stop to recognise and give the GPU's memory back."""
        self._stop_stream()
        self._state = 'inactive'
        return super().on_deactivate(state)

    @explained
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the network."""
        self._drop_engine()
        self._state, self._failure = 'unconfigured', ''
        return super().on_cleanup(state)

    @explained
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self.close()
        self._state, self._failure = 'finalized', ''
        return super().on_shutdown(state)

    @explained
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to the beginning."""
        self.get_logger().error(f'A transition from {state.label} failed; configure again.')
        self.close()
        self._state = 'unconfigured'
        return super().on_error(state)

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        try:
            parameters = changed_parameters(self.parameters, changes, self._state)
            if self._sentences is not None and any(c.name == 'sentences' for c in changes):
                self._sentences.change(parameters.sentences)
            self._parameters_now = parameters
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_timer(self) -> None:
        stream = self._stream
        complaint = stream.complaint() if stream is not None else None
        if complaint is not None:
            self._warn('silence', complaint[0].upper() + complaint[1:])
        elif stream is not None and self._was_silent:
            self.get_logger().info(f"Usable images arrive on '{stream.topic}'")
            self._warn.forget('silence')
        self._was_silent = complaint is not None
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        name, values = self.get_fully_qualified_name().lstrip('/'), self._values()
        if stream is None:
            level, said = OK, self._state
            if self._failure:
                level, said = ERROR, f'{self._state}: {self._failure}'
            array.status = [status_msg(f'{name}: inference', level, said, values)]
        else:
            array.status = stream.statuses(name, complaint=complaint, values=values)
        if self._sentences is not None:
            array.status += self._sentences.statuses(name)
        self._diagnostics_publisher.publish(array)

    def _values(self) -> dict[str, str]:
        """Return what diagnostics say of the node itself."""
        values, engine = {'state': self._state}, self._engine
        if engine is not None:
            values |= {'device': str(engine.device), 'precision': engine.precision}
            if (memory := engine.memory_bytes()) is not None:
                values['GPU memory [MiB]'] = f'{memory / 2**20:.0f}'
        return values

    def _stop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        # The clips are on the device too, and go with the stream.
        del stream
        if self._engine is not None:
            self._engine.unload()

    def _drop_engine(self) -> None:
        if self._result_publishers is not None:
            self._result_publishers.close()
            self._result_publishers = None
        if self._sentences is not None:
            self._sentences.close()
            self._sentences = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def find_checkpoint(path: str) -> Path:
    """
    Return the path of a checkpoint; an empty one stands for the demo checkpoint.

    :raises FileNotFoundError: If there is no demo checkpoint.
    """
    return Path(path).expanduser() if path else shipped_file(DEMO_CHECKPOINT)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; return the exit status."""
    what = 'Publish who is seen by a camera, where, and what people do.'
    if tells_usage('perception_node', what, PerceptionParameters, args):
        return 0
    keep_freed_memory()
    use_shipped_transport_profile()
    rclpy.init(args=args)
    node = None
    try:
        node = PerceptionNode()
        if node.parameters.autostart:
            node.start()
        # Told to stop while the network was being loaded.
        if rclpy.ok():
            rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterException, ValueError) as error:
        print(f'perception_node: {error}', file=sys.stderr)
        return 1
    except Exception:
        # Whatever fails because ROS has gone down meanwhile is no failure of the node.
        if rclpy.ok():
            raise
    finally:
        ignore_signals()
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
