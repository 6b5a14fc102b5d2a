"""
Perception of people: camera images in; people, poses, activities, actions, gestures, captions out.

``ros2 launch mtl_perception hri.launch.py --show-args`` lists the arguments. The perception node
is a lifecycle node that configures and activates itself, unless ``autostart:=false``.
"""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from mtl_perception.ros.transport import PROFILE_VARIABLES, use_shipped_transport_profile

PACKAGE = 'mtl_perception'
DEFAULT_PARAMS_FILE = PathJoinSubstitution(
    [FindPackageShare(PACKAGE), 'config', 'perception.yaml']
)


def generate_launch_description() -> LaunchDescription:
    """Return the perception node and, where one is asked for, the video node."""
    return LaunchDescription(
        [
            *_arguments(),
            OpaqueFunction(
                function=_set_transport_profile,
                condition=IfCondition(LaunchConfiguration('transport_profile')),
            ),
            GroupAction(
                [
                    PushRosNamespace(LaunchConfiguration('namespace')),
                    OpaqueFunction(function=_nodes),
                ]
            ),
        ]
    )


def _arguments() -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            'image_topic',
            default_value='image_raw',
            description='Topic of the camera images (sensor_msgs/Image). With '
            "image_transport:=compressed, the part of the topic before '/compressed'.",
        ),
        DeclareLaunchArgument(
            'image_transport',
            default_value='',
            choices=['', 'raw', 'compressed'],
            description="'raw' for sensor_msgs/Image, 'compressed' for CompressedImage; empty for "
            "what params_file says, else 'raw'.",
        ),
        DeclareLaunchArgument(
            'checkpoint',
            default_value='',
            description='Path of the checkpoint; empty for what params_file says, else the demo '
            'checkpoint that comes along.',
        ),
        DeclareLaunchArgument(
            'device',
            default_value='',
            description="Where the network runs: 'auto' (a GPU where there is one), 'cpu', 'cuda' "
            "or 'cuda:N'; empty for what params_file says, else 'auto'.",
        ),
        DeclareLaunchArgument(
            'sentences',
            default_value='',
            description='Path of the sentences that captions are chosen from, for a checkpoint '
            'that has captions: a text file with one sentence a line, or a .safetensors file of '
            "embed-sentences; empty for what params_file says, else for none: 'scene_caption' "
            'stays silent.',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=DEFAULT_PARAMS_FILE,
            description='YAML file of ROS parameters. Arguments given to this launch file win '
            'over what it says.',
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='',
            description='Namespace of the nodes and of all relative topics.',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='',
            choices=['', 'true', 'false'],
            description="Configure and activate the perception node; 'false' leaves that to "
            "'ros2 lifecycle' or a manager; empty for what params_file says, else 'true'.",
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='',
            choices=['', 'true', 'false'],
            description='Take the time of the perception node from /clock, for bags and '
            "simulators; empty for what params_file says, else 'false'.",
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='What the nodes log at least.',
        ),
        DeclareLaunchArgument(
            'transport_profile',
            default_value='true',
            choices=['true', 'false'],
            description='Give everything started here the shipped Fast DDS profile, without which '
            'images get lost; never replaces a profile of your own.',
        ),
        DeclareLaunchArgument(
            'video',
            default_value='',
            description='Also publish a video on image_topic: a file, a folder of images, a '
            "camera index, /dev/video*, a URL, or 'scenes' for rendered people; empty for none.",
        ),
        DeclareLaunchArgument(
            'video_rate',
            default_value='',
            description="Frames per second of the video; empty for the video's own.",
        ),
        DeclareLaunchArgument(
            'loop',
            default_value='',
            choices=['', 'true', 'false'],
            description='Start the video again at its end.',
        ),
    ]


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    topic = LaunchConfiguration('image_topic')
    common = {
        'package': PACKAGE,
        'namespace': '',
        'output': 'screen',
        'emulate_tty': True,
        'remappings': [('image', topic), ('image/compressed', [topic, '/compressed'])],
        'ros_arguments': ['--log-level', LaunchConfiguration('log_level')],
    }
    params_file = LaunchConfiguration('params_file')
    transport = _given(context, image_transport=('image_transport', str))
    perception = _given(
        context,
        autostart=('autostart', bool),
        checkpoint=('checkpoint', str),
        device=('device', str),
        sentences=('sentences', str),
        use_sim_time=('use_sim_time', bool),
    )
    nodes = [
        LifecycleNode(
            executable='perception_node',
            name='perception_node',
            parameters=[params_file, {**transport, **perception}],
            **common,
        )
    ]
    video = _given(
        context, source=('video', str), rate_hz=('video_rate', float), loop=('loop', bool)
    )
    if 'source' in video:
        # Waiting loses nothing of the video while the network is being loaded.
        video['wait_for_subscribers'] = 1
        nodes.append(
            Node(
                executable='video_node',
                name='video_node',
                parameters=[params_file, {**transport, **video}],
                **common,
            )
        )
    return nodes


def _given(context: LaunchContext, **names: tuple[str, type]) -> dict[str, ParameterValue]:
    """Return the parameters whose argument is not empty; the others are left to params_file."""
    # Without a type, launch reads 'device:=0' or a path of digits as a number.
    return {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for parameter, (argument, kind) in names.items()
        if LaunchConfiguration(argument).perform(context)
    }


def _set_transport_profile(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    environment = dict(context.environment)
    use_shipped_transport_profile(environment)
    return [
        SetEnvironmentVariable(name, environment[name])
        for name in PROFILE_VARIABLES
        if name in environment
    ]
