"""What the executables of the nodes answer to --help, without a node."""

from dataclasses import fields

from mtl_perception.ros import perception_node, video_node
from mtl_perception.ros.parameters import PerceptionParameters
from mtl_perception.ros.video_parameters import VideoParameters
import pytest
import rclpy

NODES = (
    (perception_node, PerceptionParameters),
    (video_node, VideoParameters),
)


@pytest.mark.parametrize(('module', 'parameters'), NODES)
@pytest.mark.parametrize('flag', ['-h', '--help'])
def test_help_tells_every_parameter_and_starts_nothing(module, parameters, flag, capsys) -> None:
    assert module.main([flag]) == 0
    assert not rclpy.ok()
    said = capsys.readouterr().out
    for entry in fields(parameters):
        assert f'\n  {entry.name}\n' in said
        assert ' '.join(entry.metadata['description'].split()) in ' '.join(said.split())
    assert max(map(len, said.splitlines())) <= 79


def test_defaults_limits_and_choices_are_told(capsys) -> None:
    assert video_node.main(['video_node', '--help']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert '(default 90; from 1 to 100)' in said
    assert "(default 'raw'; one of raw, compressed)" in said
    assert '(default false)' in said


def test_help_after_ros_args_is_for_ros(monkeypatch) -> None:
    from mtl_perception.ros.usage import tells_usage

    assert not tells_usage('node', 'It does.', VideoParameters, ['--ros-args', '--help'])
    monkeypatch.setattr('sys.argv', ['node', '--help'])
    assert tells_usage('node', 'It does.', VideoParameters)
