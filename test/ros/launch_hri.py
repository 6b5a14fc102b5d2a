"""
A launch_testing file: starts hri.launch.py and holds it to what it promises.

Run by test_launch.py, or by hand: ``launch_test launch_hri.py checkpoint:=... video:=...``
shows a video and waits for actions; ``params_file:=...`` with ``autostart: false`` only starts.
"""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any
import unittest

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
import launch_testing
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from mtl_perception.msg import RecognizedAction
from rcl_interfaces.srv import GetParameters
import rclpy
from sensor_msgs.msg import Image

LAUNCH_FILE = Path(__file__).parents[2] / 'launch' / 'hri.launch.py'
NAMESPACE, IMAGE_TOPIC = 'robot', 'camera/image_raw'
TIMEOUT_SEC = 90.0


def generate_test_description() -> LaunchDescription:
    arguments = {
        'namespace': NAMESPACE,
        'image_topic': IMAGE_TOPIC,
        'video_rate': '20',
        'loop': 'true',
    }
    passed = ('checkpoint', 'video', 'params_file', 'use_sim_time')
    default_file = str(LAUNCH_FILE.parents[1] / 'config' / 'perception.yaml')
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH_FILE)),
        launch_arguments={
            **arguments, **{name: LaunchConfiguration(name) for name in passed}
        }.items(),
    )  # fmt: skip
    declared = [
        DeclareLaunchArgument(
            name, default_value=default_file if name == 'params_file' else '', description=name
        )
        for name in passed
    ]
    return LaunchDescription([*declared, included, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    def setUp(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node('launch_tester')

    def tearDown(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown()

    def spin_until(self, condition: Any, timeout_sec: float = TIMEOUT_SEC) -> Any:
        end = time.monotonic() + timeout_sec
        while not (result := condition()) and time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return result

    def test_actions_are_recognised(self, test_args: dict[str, str]) -> None:
        if not test_args.get('video'):
            self.skipTest('no video')
        images: list[Any] = []
        results: list[Any] = []
        subscribe = self.node.create_subscription
        subscribe(Image, f'{NAMESPACE}/{IMAGE_TOPIC}', images.append, 10)
        subscribe(RecognizedAction, f'{NAMESPACE}/recognized_action', results.append, 10)
        assert self.spin_until(lambda: len(results) > 5 and images)
        assert results[-1].header.frame_id == 'camera_optical_frame'
        assert results[-1].label in ('walk', 'run', '')

    def test_it_waits_unconfigured(self, test_args: dict[str, str]) -> None:
        if test_args.get('video'):
            self.skipTest('with a video')
        names = self.node.get_node_names_and_namespaces
        started = ('perception_node', f'/{NAMESPACE}')
        assert self.spin_until(lambda: started in names())
        self.spin_until(lambda: False, 2.0)
        assert self.node.count_subscribers(f'/{NAMESPACE}/{IMAGE_TOPIC}') == 0
        assert ('video_node', f'/{NAMESPACE}') not in names()

    def test_its_time_is_that_of_the_argument(self, test_args: dict[str, str]) -> None:
        if not test_args.get('use_sim_time'):
            self.skipTest('not given')
        name = f'/{NAMESPACE}/perception_node/get_parameters'
        client = self.node.create_client(GetParameters, name)
        assert client.wait_for_service(TIMEOUT_SEC)
        self.spin_until(lambda: False, 1.0)
        future = client.call_async(GetParameters.Request(names=['use_sim_time']))
        assert self.spin_until(future.done)
        assert future.result().values[0].bool_value == (test_args['use_sim_time'] == 'true')


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_all_nodes_end_cleanly(self, proc_info: Any) -> None:
        assertExitCodes(proc_info, allowable_exit_codes=[0])
