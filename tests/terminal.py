"""A terminal for tests: what a command prints to it is seen as a person would see it."""

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyte
import pytest


class Terminal:
    """A pseudo-terminal whose screen is interpreted by an emulator.

    Args:
        columns: its width.
        rows: its height; more than is printed, so that nothing scrolls away.
    """

    def __init__(self, columns: int, rows: int = 60) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.file = os.fdopen(self._slave, "w", buffering=1, encoding="utf-8")
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.states: list[list[str]] = []  # the screen, whenever it changed: its lines
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # how the end is told on Linux
            while shown := os.read(self._master, 4096):
                for part in re.split(b"(?=\r)", shown):  # before the line is drawn anew
                    self._stream.feed(part)
                    lines = [line.rstrip() for line in self._screen.display]
                    while lines and not lines[-1]:
                        lines.pop()
                    if not self.states or self.states[-1] != lines:
                        self.states.append(lines)

    def end(self) -> None:
        """Close the terminal, once everything that was printed has been seen."""
        self.file.close()
        self._reader.join(10)
        os.close(self._master)


def in_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that prints to a terminal.

    Returns:
        The terminal, which is closed, and what the function returned.
    """
    terminal = Terminal(columns)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal.file)
        patched.setattr(sys, "stderr", terminal.file)
        returned = function(*arguments)
    for handler in list(logging.getLogger().handlers):
        if getattr(handler, "stream", None) is terminal.file:
            logging.getLogger().removeHandler(handler)
    terminal.end()
    return terminal, returned
