"""What a worker process prints, line by line, and the news of its end. Runs in the front process."""

import asyncio

from mms.server.backends.base import LogLine

LOG_LINE_BYTES = 1 << 16
"""A worker's line that grows longer is cut there, so that a print without end cannot fill the front's memory."""
STREAMS = {1: "stdout", 2: "stderr"}


class WorkerOutput(asyncio.SubprocessProtocol):
    """Hears of everything that a worker process prints, and of its end.

    The end is known at once: `asyncio.subprocess.Process.wait` of Python 3.11 waits until all pipes are closed, which a
    child of the worker may keep open for as long as it likes.
    """

    def __init__(self, on_line: LogLine) -> None:
        self.exited = asyncio.Event()
        self.drained = asyncio.Event()
        """Set when nothing more can come: every process that had the pipes has closed them."""
        self._on_line = on_line
        self._rests = dict.fromkeys(STREAMS, b"")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """asyncio: the worker wrote something."""
        *lines, rest = (self._rests[fd] + data).split(b"\n")
        for line in lines:
            self._tell(fd, line.removesuffix(b"\r"))
        if len(rest) >= LOG_LINE_BYTES:
            self._tell(fd, rest)
            rest = b""
        self._rests[fd] = rest

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """asyncio: one of the pipes is closed."""
        rest = self._rests.pop(fd, b"")
        if rest:
            self._tell(fd, rest)
        if not self._rests:
            self.drained.set()

    def process_exited(self) -> None:
        """asyncio: the process ended."""
        self.exited.set()

    def _tell(self, fd: int, line: bytes) -> None:
        self._on_line(STREAMS[fd], line.decode(errors="replace"))
