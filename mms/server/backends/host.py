"""The front end's end of a host: a process that forks workers on request. Runs in the front process."""

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterator

from mms.protocol.fork import FORK, ForkEvent, ForkReport, ReportReader
from mms.protocol.frames import FrameError
from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import LogLine
from mms.server.backends.forked import ForkedProcess, close_all
from mms.server.backends.output import WorkerOutput
from mms.server.backends.worker import EXIT_GRACE_S, ProcessWorker
from mms.server.errors import WorkerInitializationException

logger = logging.getLogger(__name__)

Start = Callable[[int], Coroutine[None, None, ProcessWorker]]
"""Starts the host process, which inherits this descriptor, and has it load what its workers are to share."""


class Host:
    """The front end's end of a host process, and the workers that it forked.

    It ends with the last of them, unless somebody holds it. If its process dies before, its workers go on:
    the front end watches over them by itself then.
    """

    def __init__(self, name: str, start: Start, *, on_end: Callable[["asyncio.Task[None]"], None]) -> None:
        """`name` is what the host is called in the log; `on_end` gets the task `ending`."""
        self.ending: asyncio.Task[None] | None = None
        """Set as soon as the host takes no more workers; done when its process is gone."""
        self.has_forked = False
        self._name = name
        self._on_end = on_end
        self._is_lost = False
        self._holds = 0
        self._forking: deque[ForkedProcess] = deque()
        self._children: dict[int, ForkedProcess] = {}
        self._reports = ReportReader()
        self._channel: socket.socket | None = None
        self._loading = asyncio.create_task(self._load(start), name=f"load {name}")

    async def loaded(self) -> None:
        """Wait until the process runs and has loaded what it is told to. Raises WorkerInitializationException."""
        # Not awaited itself: whoever is cancelled here must not cancel what others wait for as well.
        await asyncio.wait((self._loading,))
        self._loading.result()

    def hold(self) -> None:
        """Keep the host without workers as well, until as many calls of `release`."""
        self._holds += 1

    def release(self) -> None:
        """Undo `hold`."""
        self._holds -= 1
        self._end_if_idle()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the host while a worker starts."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    async def end(self) -> None:
        """End the host, whoever holds it; returns when its process is gone."""
        self._end()
        assert self.ending is not None
        await asyncio.wait((self.ending,))

    async def fork(
        self, spec: WorkerSpec, on_line: LogLine, *, timeout_s: float, first_bytes: bytes = b""
    ) -> ProcessWorker:
        """Have a worker forked; `first_bytes` are the first that it gets. Raises WorkerInitializationException."""
        process = ForkedProcess(spec.model_name, WorkerOutput(on_line))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                await self._request(process, theirs, spec.model_name)
            async with asyncio.timeout(timeout_s):
                await process.forked
                if first_bytes:
                    await asyncio.get_running_loop().sock_sendall(ours, first_bytes)
        except BaseException as exc:
            ours.close()
            process.abandon()
            if isinstance(exc, TimeoutError):
                # It would not tell of the end of its workers either.
                self._lose()
                raise _unforked(spec.model_name, f"its host process gave no answer in {timeout_s:g} s") from None
            if isinstance(exc, OSError):
                raise _unforked(spec.model_name, str(exc)) from exc
            raise
        return await ProcessWorker.connect(process, process.output, ours, spec)

    async def _load(self, start: Start) -> ProcessWorker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await start(theirs.fileno())
        except BaseException:
            ours.close()
            # Whoever starts a worker next finds another host.
            self._end()
            raise
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours, self._read)
        return process

    async def _request(self, process: ForkedProcess, theirs: socket.socket, model_name: str) -> None:
        streams = await process.open_streams()
        try:
            if self._channel is None:
                raise _unforked(model_name, "its host process is gone")
            socket.send_fds(self._channel, [FORK], [theirs.fileno(), *streams])
        except OSError as exc:
            raise _unforked(model_name, str(exc)) from exc
        finally:
            close_all(streams)
        self._forking.append(process)

    def _read(self) -> None:
        """The loop: the host process reports, or is gone."""
        assert self._channel is not None
        try:
            data = self._channel.recv(1 << 16)
            for report in self._reports.received(data):
                self._hear(report)
        except BlockingIOError:
            return
        except (OSError, FrameError, LookupError):
            # User code ran in that process: what makes no sense is its end.
            data = b""
        if not data:
            self._lose()

    def _hear(self, report: ForkReport) -> None:
        if report.event is ForkEvent.ENDED:
            self._children.pop(report.pid).ended(report.number)
            self._end_if_idle()
            return
        process = self._forking.popleft()
        if report.event is ForkEvent.REFUSED:
            process.failed(_unforked(process.model_name, os.strerror(report.number)))
            return
        self.has_forked = True
        self._children[report.pid] = process
        process.began(report.pid)

    def _lose(self) -> None:
        """Give up a host process that is gone or of no use any more."""
        if self.ending is not None:
            return
        self._is_lost = True
        self._disconnect()
        for process in self._forking:
            process.failed(_unforked(process.model_name, "its host process ended"))
        self._end()

    def _disconnect(self) -> None:
        if self._channel is None:
            return
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._channel = None
        while self._children:
            _, process = self._children.popitem()
            process.orphaned()

    def _end_if_idle(self) -> None:
        if not (self._holds or self._forking or self._children):
            self._end()

    def _end(self) -> None:
        if self.ending is None:
            self.ending = asyncio.create_task(self._close(), name=f"end {self._name}")
            self._on_end(self.ending)

    async def _close(self) -> None:
        """End the process, loaded or not."""
        self._loading.cancel()
        await asyncio.wait((self._loading,))
        self._disconnect()
        if self._loading.cancelled() or self._loading.exception() is not None:
            return
        process = self._loading.result()
        await process.stop(grace_s=EXIT_GRACE_S)
        if self._is_lost:
            logger.error(
                "%s (pid %s) died: %s. Its workers go on; those that start from now on have another.",
                *(self._name, process.pid, await process.wait()),
            )


def _unforked(model_name: str, why: str) -> WorkerInitializationException:
    return WorkerInitializationException(f"Worker of model {model_name} cannot be forked: {why}")
