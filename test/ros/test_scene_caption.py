"""Captions of a running node: heard, changed while it runs, and refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import threading
import time
from typing import Any

from caption_network import DIM, SENTENCES, write_caption_checkpoint
from image_messages import SECOND
from mtl_perception.ros.perception_node import PerceptionNode
from mtl_perception.runtime import sentence_keeper
from mtl_perception.sentences import SentenceList, write_sentence_file
import numpy as np
from perception import stamp_of, write_checkpoint
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from scene import COLOURFUL, launch_scene, Scene, STARTS
import torch

WARN = b'\x01'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a network with captions and nothing else."""
    return write_caption_checkpoint(tmp_path_factory.mktemp('node') / 'captions.safetensors')


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where embeddings are kept: nothing is left with the user."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'mtl_perception' / 'sentences'


@pytest.fixture
def launch(
    start_node: Callable[..., Any], ros_node: Any, spin: Callable[..., Any], checkpoint: Path
) -> Callable[..., Scene]:
    """Start a node for one test."""

    def launch_one(**parameters: Any) -> Scene:
        settings = {'checkpoint': checkpoint, 'min_caption_score': -1.0, **parameters}
        scene = launch_scene(start_node, ros_node, spin, (), settings)
        scene.wait(lambda: 'Listening' in scene.process.output, 180.0)
        if 'sentences' in parameters:  # they are embedded meanwhile
            scene.wait(lambda: 'Captions are chosen from' in scene.process.output)
        return scene

    return launch_one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / 'list.txt'
    file.write_text('\n'.join(SENTENCES))
    return file


def film(scene: Scene) -> Any:
    """Show a film and return the caption of the clip that ends with its last frame."""
    last_ns = scene.camera.film(COLOURFUL, start_ns=next(STARTS))
    return scene.wait(lambda: scene.ears.caption_at(last_ns))


def candidates_of(message: Any) -> dict[str, float]:
    return {item.sentence: item.score for item in message.candidates}


def test_a_caption_says_what_where_and_when(
    launch: Callable[..., Scene], path: Path, cache: Path
) -> None:
    scene = launch(sentences=path)
    start_ns = next(STARTS)
    last_ns = scene.camera.film(COLOURFUL, start_ns=start_ns)
    message = scene.wait(lambda: scene.ears.caption_at(last_ns))
    assert message.header.frame_id == 'camera'
    assert stamp_of(message.header.stamp) == last_ns
    assert stamp_of(message.clip_start) == start_ns + 2 * SECOND // 10
    found = candidates_of(message)
    assert set(found) == set(SENTENCES)
    assert all(-1 <= score <= 1 for score in found.values())
    assert [*found.values()] == sorted(found.values(), reverse=True)
    assert message.sentence == message.candidates[0].sentence
    assert message.score == message.candidates[0].score
    scene.wait(lambda: scene.ears.status('captions', text='sentences to choose from are there'))
    assert [*cache.glob('*.sqlite')]
    assert not scene.ears.actions
    assert scene.control.set('min_caption_score', 1) == (True, '')  # a whole number
    assert scene.control.set('top_k', 1) == (True, '')
    after = film(scene)
    assert after.sentence == ''
    assert candidates_of(after) == pytest.approx({message.sentence: message.score}, abs=1e-5)
    assert scene.process.stop() == 0, scene.process.output
    assert 'Traceback' not in scene.process.output


def test_the_list_changes_while_the_node_runs(
    launch: Callable[..., Scene], path: Path, tmp_path: Path
) -> None:
    scene = launch()  # without a list
    said = f"'{scene.namespace}/scene_caption' stays silent"
    scene.wait(lambda: scene.ears.status('captions', level=WARN, text=said))
    scene.camera.film(COLOURFUL, start_ns=next(STARTS))
    scene.wait(lambda: scene.process.output.count(said) == 1)
    assert 'launch argument sentences:=PATH' in scene.process.output
    assert not scene.ears.captions
    assert scene.control.set('sentences', str(path)) == (True, '')
    assert set(candidates_of(film(scene))) == set(SENTENCES)

    path.write_text('a dog barks\n')
    os.utime(path, ns=(path.stat().st_mtime_ns + SECOND,) * 2)
    scene.wait(lambda: 'chosen from 1 sentences' in scene.process.output)
    assert film(scene).candidates[0].sentence == 'a dog barks'

    path.write_text('# to be filled\n')
    scene.wait(lambda: scene.ears.status('captions', level=WARN, text='holds no sentence'))
    other = tmp_path / 'other.txt'
    accepted, reason = scene.control.set('sentences', str(other))
    assert not accepted
    assert 'other.txt' in reason
    assert 'cannot be read' in reason
    assert film(scene).candidates[0].sentence == 'a dog barks'
    assert scene.process.output.count('holds no sentence') == 1

    assert scene.control.set('sentences', '') == (True, '')
    scene.wait(lambda: scene.ears.status('captions', level=WARN, text=said))


@pytest.fixture
def node(ros_node: Any, checkpoint: Path) -> Iterator[PerceptionNode]:
    num_threads = torch.get_num_threads()
    values = {'checkpoint': str(checkpoint), 'precision': 'float32'}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    made = PerceptionNode(context=ros_node.context, parameter_overrides=overrides)
    yield made
    made.close()
    made.destroy_node()
    torch.set_num_threads(num_threads)


def set_sentences(node: PerceptionNode, path: Path | str) -> Any:
    (result,) = node.set_parameters([Parameter('sentences', value=str(path))])
    return result


def wait_for_list(node: PerceptionNode) -> tuple[str, ...]:
    """Return the sentences of a node once they are embedded."""
    sentences, end_sec = node._sentences, time.monotonic() + 30
    assert sentences is not None
    while sentences.listed is None:
        assert time.monotonic() < end_sec
        time.sleep(0.005)
    return sentences.listed.sentences


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('empty', 'holds no sentence: it is empty'),
        ('pipe', 'must be a regular file'),
        ('missing', 'cannot be read'),
        ('size', 'has embeddings of 7 numbers, the captions have 16'),
    ],
)
def test_what_is_no_list_is_refused(
    node: PerceptionNode,
    tmp_path: Path,
    path: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    reason: str,
) -> None:
    broken = tmp_path / (f'{kind}.txt' if kind in ('empty', 'missing') else f'{kind}.safetensors')
    if kind == 'empty':
        broken.write_text('')
    elif kind == 'pipe':
        os.mkfifo(broken)
    elif kind == 'size':
        write_sentence_file(broken, SentenceList(('one',), np.ones((1, 7), np.float32)))
    # What it is good for is known once there is a network.
    assert set_sentences(node, broken).successful
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    error = capfd.readouterr().err
    assert 'Cannot configure: Sentence ' in error
    assert f"'{broken}'" in error
    assert reason in error
    assert set_sentences(node, path).successful
    assert node.start()
    assert wait_for_list(node) == SENTENCES
    refused = set_sentences(node, broken)
    assert not refused.successful
    assert reason in refused.reason
    assert node.get_parameter('sentences').value == str(path)
    assert node.parameters.sentences == str(path)
    assert wait_for_list(node) == SENTENCES


def test_a_home_that_is_not_there_is_refused(node: PerceptionNode, path: Path) -> None:
    assert set_sentences(node, path).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    refused = set_sentences(node, '~nobody-of-this-name/list.txt')
    assert not refused.successful
    assert 'there is no such home folder' in refused.reason
    assert wait_for_list(node) == SENTENCES


def test_nobody_waits_for_sentences_to_be_embedded(
    node: PerceptionNode, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, read = threading.Event(), sentence_keeper.read_sentence_list

    def slow(*args: Any, **settings: Any) -> Any:
        may_go.wait(60)
        return read(*args, **settings)

    monkeypatch.setattr(sentence_keeper, 'read_sentence_list', slow)
    assert set_sentences(node, path).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node._sentences is not None
    assert node._sentences.listed is None
    (status,) = node._sentences.statuses('node')
    assert status.message == f"the sentences of '{path}' are being embedded"
    may_go.set()
    assert wait_for_list(node) == SENTENCES
    (status,) = node._sentences.statuses('node')
    assert status.message == 'sentences to choose from are there'


def test_an_encoder_that_is_not_there_is_refused(
    node: PerceptionNode, tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = {'name': 'files', 'model': str(tmp_path / 'nowhere.npy')}
    other = write_caption_checkpoint(tmp_path / 'other.safetensors', encoder=encoder)
    node.set_parameters([Parameter('checkpoint', value=str(other))])
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    refused = set_sentences(node, path)
    assert not refused.successful
    assert 'nowhere.npy' in refused.reason
    assert 'is not there: copy the file of embeddings' in refused.reason
    # What has been embedded elsewhere needs none.
    embedded = tmp_path / 'embedded.safetensors'
    write_sentence_file(embedded, SentenceList(('one',), np.eye(1, DIM, dtype=np.float32)))
    assert set_sentences(node, embedded).successful
    assert 'stays silent' in capfd.readouterr().err


def test_sentences_without_captions_are_not_used(
    node: PerceptionNode, tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = write_checkpoint(tmp_path / 'plain.safetensors')
    node.set_parameters([Parameter('checkpoint', value=str(plain))])
    assert set_sentences(node, path).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    error = capfd.readouterr().err
    assert error.count('has no task of captions: sentences is not used') == 1
    assert 'stays silent' not in error
    assert set_sentences(node, 'nowhere').successful
    assert node._result_publishers is not None
    topics = {topic for _, topic in node._result_publishers.topics()}
    assert topics == {'/recognized_action', '/recognized_gesture'}
