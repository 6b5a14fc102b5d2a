"""A running perception node and everything around it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from image_messages import image_msg, random_rgb, SECOND
from perception import Camera, Control, Ears, MODULE

STARTS = count(1_795_000_000 * SECOND, 1000 * SECOND)
NUMBERS = count()
NUM_FRAMES = 8  # at 10 Hz: more than the half second of a clip
COLOURFUL = [random_rgb(seed=i) for i in range(NUM_FRAMES)]


class Scene:
    """A running perception node and everything around it."""

    def __init__(self, node: Any, process: Any, namespace: str, spin: Callable[..., Any]) -> None:
        self.node, self.process, self.namespace, self._spin = node, process, namespace, spin
        self.ears = Ears(node, namespace)
        self.control = Control(node, namespace, spin)
        self._camera: Camera | None = None

    @property
    def camera(self) -> Camera:
        if self._camera is None:
            self._camera = Camera(self.node, f'{self.namespace}/image', self._spin)
            self.meet(self._camera)
        return self._camera

    def meet(self, camera: Camera, message: Any = None) -> None:
        """
        Show single images until the node says that it sees them.

        A publisher knows of its match before the subscription does, and best effort is just that.
        """

        def is_seen() -> bool:
            camera.send(message or image_msg(COLOURFUL[0], stamp_ns=next(STARTS)))
            status = self.ears.status('input')
            values = {item.key: item.value for item in status.values} if status else {}
            return values.get('frames received', '0') != '0'

        self.ears.clear()
        self.wait(is_seen)
        self.ears.clear()

    def wait(self, condition: Callable[[], Any], timeout_sec: float = 30.0) -> Any:
        found = self._spin(self.node, condition, timeout_sec)
        said = '\n'.join(str(status) for status in self.ears.statuses[-2:])
        assert found, f'in vain; the node printed:\n{self.process.output}\nand said:\n{said}'
        return found

    def watch(self, frames: Any, encoding: str = 'rgb8', **settings: Any) -> Any:
        """Film the frames and return the action recognised in the clip that ends with the last."""
        start_ns = settings.pop('start_ns', None) or next(STARTS)
        last_ns = self.camera.film(frames, encoding, start_ns=start_ns, **settings)
        return self.wait(lambda: self.ears.action_at(last_ns))


def launch_scene(
    start: Callable[..., Any],
    node: Any,
    spin: Callable[..., Any],
    arguments: tuple[str, ...],
    parameters: dict[str, Any],
) -> Scene:
    namespace = f'/perception_{next(NUMBERS)}'
    settings = {
        'precision': 'float32',
        'qos_depth': 100,
        'smoothing_sec': 0.0,
        'min_score': 0.0,
        'top_k': 9,
        **parameters,
    }
    pairs = [part for key, value in settings.items() for part in ('-p', f'{key}:={value}')]
    process = start(MODULE, '-r', f'__ns:={namespace}', *pairs, *arguments)
    return Scene(node, process, namespace, spin)
