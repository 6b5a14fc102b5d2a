"""The sentences that a node chooses captions from, and what it says of them."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.ros.diagnostics import OK, status_msg, WARN
from mtl_perception.ros.messages import CAPTION_TOPIC
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.sentence_keeper import SentenceKeeper
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.user_files import user_cache
from rclpy.node import Node


class CaptionSentences:
    """
    Keeps the sentences of a node; for a network without captions it keeps none.

    :param path: The parameter ``sentences``.
    :raises ValueError: If there is a task of captions, a path, and no list to be had from it.
    """

    def __init__(self, node: Node, engine: Engine, path: str) -> None:
        self._node, settings, logger = node, engine.caption_settings, node.get_logger()
        self._keeper = None
        if settings is not None:
            self._keeper = SentenceKeeper(
                settings,
                path,
                tell=logger.info,
                warn=logger.warning,
                cache_dir=None if (folder := user_cache()) is None else folder / 'sentences',
            )
            if not path:
                logger.warning(self._silence())
        elif path:
            logger.warning('The checkpoint has no task of captions: sentences is not used')

    @property
    def listed(self) -> SentenceList | None:
        """Return what captions are chosen from now, or None."""
        return None if self._keeper is None else self._keeper.listed

    def change(self, path: str) -> None:
        """
        Choose from another list, or from the same file read again.

        :raises ValueError: If there is no list to be had; the old one stays.
        """
        if self._keeper is not None:
            self._keeper.change(path)

    def close(self) -> None:
        """Stop to look at the file."""
        if self._keeper is not None:
            self._keeper.close()

    def statuses(self, name: str) -> list[DiagnosticStatus]:
        """Return the diagnostics of a node that has captions; ``name`` is the node's."""
        keeper = self._keeper
        if keeper is None:
            return []
        listed, level, message = keeper.listed, OK, 'sentences to choose from are there'
        if keeper.trouble:
            level, message = WARN, keeper.trouble
        elif listed is None and keeper.awaited:
            message = f"the sentences of '{keeper.awaited}' are being embedded"
        elif listed is None:
            level, message = WARN, self._silence()
        count = 0 if listed is None else len(listed.sentences)
        values = {'list': keeper.path, 'sentences': str(count)}
        return [status_msg(f'{name}: captions', level, message, values)]

    def _silence(self) -> str:
        return (
            f"'{self._node.resolve_topic_name(CAPTION_TOPIC)}' stays silent: there are no "
            'sentences to choose from. Give a text file with one sentence a line: launch argument '
            f'sentences:=PATH, or ros2 param set {self._node.get_fully_qualified_name()} '
            'sentences PATH'
        )
