"""The video node: a file, images, a camera or rendered scenes as a stream of camera images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
import json
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mtl_perception.msg import ClassScore, RecognizedAction, RecognizedGesture
from mtl_perception.ros.diagnostics import status_msg
from mtl_perception.ros.frame_pacer import FramePacer, TimedFrame
from mtl_perception.ros.image_writer import ImageWriter, JpegWriter
from mtl_perception.ros.memory import keep_freed_memory
from mtl_perception.ros.messages import time_msg
from mtl_perception.ros.parameters import declare_parameters
from mtl_perception.ros.signals import ignore_signals
from mtl_perception.ros.transport import use_shipped_transport_profile
from mtl_perception.ros.usage import tells_usage
from mtl_perception.ros.video_parameters import parse_size, VideoParameters
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

# A reliable publisher matches reliable and best-effort subscribers alike. With a history of
# limited depth it never waits for a slow one: the oldest image is overwritten.
IMAGE_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
TRUTH_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_READY_TIMEOUT_SEC = 60.0
# How long the last images may take to arrive at the end, and after a signal.
_ACKNOWLEDGED_SEC, _HURRIED_SEC = 5.0, 0.2
# Best-effort subscribers acknowledge nothing; this is the time that they get for the last image.
_LINGER_SEC = 0.3
_DIAGNOSTICS_PERIOD_SEC = 1.0
_SPIN_END_SEC = 5.0


class VideoNode(Node):
    """
    Publish the frames of a source as images, each stamped with the time when it was due.

    Stamps are of the system's clock, whatever ``use_sim_time`` says: like a camera, the node shows
    its frames in real time, which a simulation neither pauses nor slows down.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('video_node', **kwargs)
        self.parameters = declare_parameters(self, VideoParameters)
        self._size = parse_size(self.parameters.size)
        self._pacer = FramePacer(self.parameters.open, loop=self.parameters.loop)
        self._make_publishers()
        self._system_clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._stopped = threading.Event()
        self._scene: int | None = None
        self.num_published = 0
        self._started_sec = self._last_sec = self._said_sec = time.monotonic()

    def run(self) -> None:
        """
        Publish until the source ends or :meth:`stop` is called.

        :raises VideoSourceError: If the source breaks.
        """
        self._pacer.start_reading()
        self._wait_for_subscribers()
        self._pacer.wait_until_ready(_READY_TIMEOUT_SEC)
        self._stopped.wait(self.parameters.start_delay_sec)
        # Stamps follow the system's clock, due times a steady one: joined once, so that a
        # correction of the former makes no jump in the video.
        self._clock_offset_ns = self._system_clock.now().nanoseconds - time.monotonic_ns()
        self._started_sec = time.monotonic()
        for timed in self._pacer.frames():
            self._publish(timed)
        self._finish()

    def stop(self) -> None:
        """Make :meth:`run` return; may be called from a signal handler."""
        self._stopped.set()
        self._pacer.stop()

    def close(self) -> None:
        """Release the source."""
        self._pacer.close()

    def summary(self) -> str:
        """Return in one line what was published."""
        seconds = self._last_sec - self._started_sec
        rate = f'{(self.num_published - 1) / seconds:.1f} Hz' if seconds > 0 else 'no rate'
        late = f', {self._pacer.num_slips} pauses: the source was too slow'
        return (
            f'{self.num_published} frames of {self._pacer.name} published in {seconds:.1f} s '
            f'({rate}){late if self._pacer.num_slips else ""}'
        )

    def _make_publishers(self) -> None:
        parameters, encoding = self.parameters, self._pacer.encoding
        self._writer: ImageWriter | JpegWriter
        if parameters.image_transport == 'raw':
            self._writer = ImageWriter(encoding, parameters.frame_id)
            self._images = self.create_publisher(Image, 'image', IMAGE_QOS)
        else:
            self._writer = JpegWriter(encoding, parameters.frame_id, parameters.jpeg_quality)
            self._images = self.create_publisher(CompressedImage, 'image/compressed', IMAGE_QOS)
        self._truths = {
            'action': self.create_publisher(RecognizedAction, '~/true_action', TRUTH_QOS),
            'gesture': self.create_publisher(RecognizedGesture, '~/true_gesture', TRUTH_QOS),
        }
        self._frame_truths = self.create_publisher(String, '~/truth', TRUTH_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)

    def _wait_for_subscribers(self) -> None:
        wanted = self.parameters.wait_for_subscribers
        end_sec = time.monotonic() + self.parameters.wait_timeout_sec
        while self._images.get_subscription_count() < wanted and not self._stopped.wait(0.02):
            if time.monotonic() > end_sec:
                found = self._images.get_subscription_count()
                self.get_logger().warning(
                    f'{found} of {wanted} subscribers are there; starting without the others.'
                )
                return

    def _publish(self, timed: TimedFrame) -> None:
        stamp = time_msg(int(timed.due_sec * 1e9) + self._clock_offset_ns)
        pixels = timed.frame.pixels
        if self._size is not None and pixels.shape[:2] != self._size:
            height, width = self._size
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if timed.frame.truth is not None:
            self._publish_truth(timed.frame.truth, stamp)
        self._images.publish(self._writer.write(pixels, stamp))
        self.num_published += 1
        self._last_sec = time.monotonic()
        if self._last_sec - self._said_sec >= _DIAGNOSTICS_PERIOD_SEC:
            self._publish_diagnostics()

    def _publish_truth(self, truth: Mapping[str, Any], stamp: Any) -> None:
        """Publish all that is known of a frame as JSON, and the label of a scene at its start."""
        stamped = {'stamp_ns': stamp.sec * 1_000_000_000 + stamp.nanosec, **truth}
        self._frame_truths.publish(String(data=json.dumps(stamped)))
        if truth.get('scene') == self._scene:
            return
        self._scene = truth.get('scene')
        header = Header(stamp=stamp, frame_id=self.parameters.frame_id)
        for task, kind in (('action', RecognizedAction), ('gesture', RecognizedGesture)):
            label = truth.get(task)
            if label is not None:
                top = [ClassScore(label=label, score=1.0)]
                message = kind(header=header, clip_start=stamp, label=label, score=1.0, top_k=top)
                self._truths[task].publish(message)

    def _publish_diagnostics(self) -> None:
        self._said_sec = self._last_sec
        values = {
            'source': self._pacer.name,
            'frames published': str(self.num_published),
            'pauses of the source': str(self._pacer.num_slips),
        }
        name = f'{self.get_fully_qualified_name().lstrip("/")}: video'
        status = status_msg(name, DiagnosticStatus.OK, 'publishing', values)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._system_clock.now().to_msg()
        self._diagnostics.publish(message)

    def _finish(self) -> None:
        self._publish_diagnostics()
        seconds = _HURRIED_SEC if self._stopped.is_set() else _ACKNOWLEDGED_SEC
        truths = (self._frame_truths, *self._truths.values())
        for publisher in (self._images, self._diagnostics, *truths):
            publisher.wait_for_all_acked(Duration(seconds=seconds))
        self._stopped.wait(_LINGER_SEC)


def main(args: list[str] | None = None) -> int:
    """
    Run the node until its source ends.

    :return: 0 at the end of the source and when told to end, 1 if the source cannot be read.
    """
    what = 'Publish a video, a camera or rendered scenes as a camera driver would.'
    if tells_usage('video_node', what, VideoParameters, args):
        return 0
    keep_freed_memory()
    use_shipped_transport_profile()
    # Our own handlers: rclpy's tear the context down under a publisher that is in use.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: VideoNode | None = None
    spinning: threading.Thread | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        if node is None:
            raise KeyboardInterrupt
        node.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        node = VideoNode()
        spinning = _spin_in_background(node)
        node.run()
        print(node.summary(), flush=True)
        return 0
    except KeyboardInterrupt:
        return 0
    except (ValueError, ParameterException) as error:
        print(f'video_node: {error}', file=sys.stderr, flush=True)
        return 1
    finally:
        ignore_signals()
        if node is not None:
            node.close()
        rclpy.try_shutdown()
        # A thread that is inside rclpy when Python ends aborts the process.
        if spinning is not None:
            spinning.join(_SPIN_END_SEC)


def _spin_in_background(node: Node) -> threading.Thread:
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    return thread


if __name__ == '__main__':
    sys.exit(main())
