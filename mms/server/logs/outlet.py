"""Where lines go, and the form that they get there. Front process."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from mms.server.logs.pattern import Line, Stamp, Timed, compile_pattern, compile_stamp
from mms.server.logs.sinks import Console, RollingFile

PLAIN_LEVEL = "INFO"
PLAIN_THREAD = "main"
_SEVERITIES = {"FATAL": logging.CRITICAL, "ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}


class Outlet(Protocol):
    """A place where lines go. `form` and what `stamp` returns make items of lines at once, in any thread.

    Items are handed to `write` later, in the thread that writes.
    """

    @property
    def form(self) -> Callable[[Line], object]:
        """What makes an item of a line."""

    def stamp(self, stream: str) -> Callable[[Timed], Sequence[object]]:
        """Return what makes items of times and messages, for a stream whose lines differ in nothing else."""

    def write(self, items: list[object]) -> None:
        """Write items, oldest first."""

    def flush(self) -> None:
        """Wait until what was written is there, though not for ever."""

    def close(self) -> None:
        """Write no more."""


class TextOutlet:
    """A file, or the console. An item is the whole text of a line."""

    def __init__(self, pattern: str, sink: RollingFile | Console) -> None:
        self._pattern = pattern
        self._sink = sink
        self.form = compile_pattern(pattern)

    def stamp(self, stream: str) -> Stamp:
        """See Outlet."""
        return compile_stamp(self._pattern, Line(0.0, PLAIN_LEVEL, PLAIN_THREAD, stream, ""))

    def write(self, items: list[object]) -> None:
        """See Outlet."""
        self._sink.write("".join(items))  # type: ignore[arg-type]  # of texts

    def flush(self) -> None:
        """See Outlet."""
        if isinstance(self._sink, Console):
            self._sink.flush()

    def close(self) -> None:
        """See Outlet."""
        self._sink.close()


class LoggerOutlet:
    """A logger of Python's, of the stream's name. An item is a Line."""

    def __init__(self, stream: str) -> None:
        self._logger = logging.getLogger(stream)
        self.form: Callable[[Line], object] = lambda line: line

    def stamp(self, stream: str) -> Callable[[Timed], Sequence[object]]:
        """See Outlet."""
        return lambda lines: [Line(created, PLAIN_LEVEL, PLAIN_THREAD, stream, message) for created, message in lines]

    def write(self, items: list[object]) -> None:
        """See Outlet."""
        for item in items:
            assert isinstance(item, Line)
            severity = _SEVERITIES.get(item.level, logging.DEBUG)
            if not self._logger.isEnabledFor(severity):
                continue
            record = self._logger.makeRecord(self._logger.name, severity, "", 0, item.message, (), None)
            record.created, record.threadName = item.created, item.thread
            record.msecs = float(int(item.created % 1 * 1000))
            self._logger.handle(record)

    def flush(self) -> None:
        """See Outlet."""

    def close(self) -> None:
        """See Outlet."""
