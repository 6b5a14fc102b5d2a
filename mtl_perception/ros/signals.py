"""What every executable does about signals when it ends."""

from __future__ import annotations

import signal

from rclpy.signals import uninstall_signal_handlers


def ignore_signals() -> None:
    """
    Ignore SIGINT and SIGTERM from now on: the process is ending already.

    A second Ctrl-C would otherwise interrupt what gives threads and memory back.
    """
    # rclpy would put the old handlers back when its context is shut down.
    uninstall_signal_handlers()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
