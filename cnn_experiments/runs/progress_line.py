"""The line at the bottom of the terminal that says how far a command is. What is printed meanwhile comes above it."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN = 0.1  # from one drawing to the next, at the least
SHORTEST_BAR = 5  # columns
MARGIN = 3  # columns: the terminal writes ^C behind the line
WIDTH_OF_NOTEBOOK = 100  # columns


@contextmanager
def progress_line(wanted: bool = True) -> Iterator["ProgressLine | None"]:
    """Keep a line for the progress of what is done meanwhile, if somebody sees it: on a terminal or in a notebook.

    Args:
        wanted: whether the user wants to see it.
    """
    notebook = in_notebook()
    if not wanted or not (sys.stderr.isatty() or notebook):
        yield None
        return
    # A notebook starts a new paragraph where one stream follows the other.
    line = ProgressLine(sys.stdout if notebook else sys.stderr)
    try:
        with printed_above(line):
            yield line
    finally:
        line.remove()


def in_notebook() -> bool:
    """Whether this is the process of a notebook, which shows what is printed, and HTML, below its cell."""
    module: Any = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class _Line(tqdm):  # type: ignore[type-arg]
    """tqdm's way to draw and remove a line of text; which text, is said here."""

    monitor_interval = 0  # no thread
    text = ""

    def __str__(self) -> str:
        return self.text


class ProgressLine:
    """A line that is drawn anew where it stands. It is never wider than the terminal.

    Args:
        stream: a terminal, or what a notebook prints to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._line = _Line(file=stream, leave=False, dynamic_ncols=True)
        self._lock = self._line.get_lock()  # type: ignore[no-untyped-call]  # of processes that load images, too
        self._drawn = 0.0

    def is_due(self) -> bool:
        """Whether it is time to draw the line again: about ten times a second."""
        return time.monotonic() - self._drawn >= SECONDS_BETWEEN

    def show(
        self, share: float | None, before: Sequence[str], after: Sequence[str], dispensable: Sequence[str] = ()
    ) -> None:
        """Draw the line.

        Args:
            share: from 0 to 1, for a bar; None if there is no end in sight.
            before: texts before the bar; an empty one is left out.
            after: texts after the bar.
            dispensable: those of the texts that a narrow terminal does without, the first to go first.
        """
        self._line.text = fitted(self.width, share, before, after, dispensable, bool(self._line.ascii))
        with self._lock:
            self._line.refresh(nolock=True)
        self._drawn = time.monotonic()

    @property
    def width(self) -> int:
        """How many columns the line may have."""
        columns: int | None = self._line.format_dict["ncols"]
        return max(1, (columns or WIDTH_OF_NOTEBOOK) - MARGIN)

    def write_above(self, stream: TextIO, text: str) -> None:
        """Write whole lines to a stream of the same terminal, above this line."""
        with self._lock:
            self._erase()
            stream.write(text)
            stream.flush()
            self._line.refresh(nolock=True)

    def remove(self) -> None:
        """Leave nothing of the line on the terminal."""
        with self._lock:
            self._erase()
        self._line.close()

    def _erase(self) -> None:
        if not self._line.disable:
            self._line.sp(" " * (self.width + MARGIN - 1))  # with the ^C behind it
            self._line.clear(nolock=True)


def fitted(
    width: int,
    share: float | None,
    before: Sequence[str],
    after: Sequence[str],
    dispensable: Sequence[str] = (),
    ascii_only: bool = False,
) -> str:
    """The texts of a progress line with a bar between them, in at most so many columns; see `ProgressLine.show`."""
    left = right = ""
    for number in range(len(dispensable) + 1):
        dropped = {"", *dispensable[:number]}
        left, right = ("  ".join(text for text in side if text not in dropped) for side in (before, after))
        if len(left) + len(right) + (0 if share is None else SHORTEST_BAR + 2) + 2 <= width:
            break
    form = f"{left}  {right}" if share is None else f"{left}  {{bar}}  {right}"
    return str(tqdm.format_meter(share or 0, 1, 0, ncols=width, bar_format=form, ascii=ascii_only)).rstrip()


def counted(what: str, number: int, of_all: float) -> str:
    """``batch  12/860``, as wide for every number."""
    return f"{what} {number:{len(str(of_all))}}/{of_all}"


def percentage(share: float) -> str:
    """`` 37 %`` of a share from 0 to 1, as wide for every share; 100 % is all."""
    return f"{int(100 * share):3} %"


def left(seconds: float, at_most: bool) -> str:
    """The time that is left: ``01:23 left``, ``at most 1:02:03 left``."""
    return f"{'at most ' * at_most}{tqdm.format_interval(seconds)} left"


@contextmanager
def printed_above(line: ProgressLine) -> Iterator[None]:
    """Have everything that Python prints to the terminal appear above the line: prints, warnings, log messages."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream.isatty() or in_notebook()]
    above = {id(stream): _Above(stream, line) for stream in streams}
    handlers = [handler for handler in _handlers() if id(handler.stream) in above]
    for handler in handlers:
        handler.setStream(above[id(handler.stream)])
    out, error = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (above.get(id(stream), stream) for stream in (out, error))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, error
        for stream in above.values():
            stream.write_rest()
        for handler in handlers:
            if isinstance(handler.stream, _Above):
                handler.setStream(handler.stream.stream)


def _handlers() -> list[Any]:
    """All handlers of log messages that write to a stream."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    found = [handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers]
    return [handler for handler in found if isinstance(handler, logging.StreamHandler)]


class _Above:
    """A stream that writes whole lines above the progress line, and is otherwise the stream that it stands for."""

    def __init__(self, stream: TextIO, line: ProgressLine) -> None:
        self.stream, self._line, self._rest = stream, line, ""

    def write(self, text: str) -> int:
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._line.write_above(self.stream, lines + newline)
        return len(text)

    def write_rest(self) -> None:
        if self._rest:
            self._line.write_above(self.stream, self._rest + "\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
