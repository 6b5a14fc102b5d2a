"""A process that trains one run after another, without starting Python for each."""

from __future__ import annotations

import gc
from multiprocessing import parent_process
from multiprocessing.connection import Connection
import os
from pathlib import Path
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from mtl_training.config import build_config
from mtl_training.stop_request import SIGNALS
from mtl_training.trainer import Trainer
from rich.console import Console
import torch

STOPPED = 130


def work(connection: Connection) -> None:
    """
    Train what the connection names, until it says None.

    For each (config as plain values, folder, log file) it is told (outcome, reason), the outcome
    being finished, stopped or failed. An error that is not about a config or a file ends the
    process: the state of a GPU after one is anyone's guess, and a new process is cheap.
    """
    _settle_signals()
    threading.Thread(target=_stop_without_parent, daemon=True).start()
    try:
        while (order := connection.recv()) is not None:
            connection.send(_train(*order))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone; the run has its resume point


def _train(block: dict[str, Any], out: str, log: str) -> tuple[str, str]:
    _print_into(Path(log))
    try:
        figures = Trainer(build_config(block), out, Console(stderr=True)).run(resume=True)
    except (ValueError, OSError) as error:
        reason = ' '.join(str(error).split())
        print(f'error: {reason}', file=sys.stderr)
        return 'failed', reason
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return ('finished' if figures['finished'] else 'stopped'), ''


def _settle_signals() -> None:
    # Ctrl-C reaches every process of the terminal's group: only the parent decides what it means.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)  # in training, the trainer's own handler stands in
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(STOPPED)


def _stop_without_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _print_into(log: Path) -> None:
    """Send what is printed from now on, by libraries and children too, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open('a', encoding='utf-8') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
