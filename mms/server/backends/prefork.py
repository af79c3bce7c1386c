"""The backend of `preload_model`: one process loads a model once and forks its workers. Runs in the front process."""

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial

from mms.protocol.fork import FORK, ForkEvent, ForkReport, ReportReader
from mms.protocol.frames import FrameError
from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import LogLine
from mms.server.backends.forked import ForkedProcess, close_all
from mms.server.backends.output import WorkerOutput
from mms.server.backends.process import ProcessBackend
from mms.server.backends.worker import EXIT_GRACE_S, ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerInitializationException

logger = logging.getLogger(__name__)

PROGRAM = "mms.worker.prefork"

Start = Callable[..., Coroutine[None, None, ProcessWorker]]
"""ProcessBackend.start, but for the `descriptors`."""


class PreforkBackend:
    """Starts workers that share the memory of one loaded model: the host process of the model forks them.

    A host lives as long as it has a worker. If it dies before, its workers are ended and the next start makes another.
    """

    def __init__(self, config: Config) -> None:
        self._processes = ProcessBackend(config)
        self._timeout_s = config.worker_start_timeout
        self._hosts: dict[WorkerSpec, Host] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> ProcessWorker:
        """See WorkerBackend.start. What the host prints while it loads belongs to the worker that came first."""
        shared = replace(spec, gpu_id=None)
        host = self._hosts.get(shared)
        if host is None:
            loading = partial(self._processes.start, shared, on_line, program=PROGRAM)
            host = self._hosts[shared] = Host(shared.model_name, loading, on_end=partial(self._forget, shared))
        try:
            with host.held():
                await host.loaded()
                worker = await host.fork(spec, on_line, timeout_s=self._timeout_s)
                await worker.start(spec, timeout_s=self._timeout_s)
        except BaseException:
            if host.ending is not None:
                await asyncio.wait((host.ending,))
            raise
        return worker

    async def close(self) -> None:
        """Wait until the hosts are gone; their workers have been stopped before."""
        while self._ending:
            await asyncio.wait(self._ending)

    def _forget(self, shared: WorkerSpec, ending: "asyncio.Task[None]") -> None:
        del self._hosts[shared]
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class Host:
    """The front end's end of a host process, and the workers that it forked."""

    def __init__(
        self,
        model_name: str,
        start: Start,
        *,
        on_end: Callable[["asyncio.Task[None]"], None],
    ) -> None:
        self.ending: asyncio.Task[None] | None = None
        """Set as soon as the host takes no more workers; done when its process is gone."""
        self._model_name = model_name
        self._on_end = on_end
        self._is_lost = False
        self._starting = 0
        self._forking: deque[ForkedProcess] = deque()
        self._children: dict[int, ForkedProcess] = {}
        self._reports = ReportReader()
        self._channel: socket.socket | None = None
        self._loading = asyncio.create_task(self._load(start), name=f"load-host-{model_name}")

    async def loaded(self) -> None:
        """Wait until the model is loaded. Raises WorkerInitializationException."""
        # Not awaited itself: whoever is cancelled here must not cancel what others wait for as well.
        await asyncio.wait((self._loading,))
        self._loading.result()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the host while a worker starts."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self._end_if_idle()

    async def fork(self, spec: WorkerSpec, on_line: LogLine, *, timeout_s: float) -> ProcessWorker:
        """Have a worker forked. Raises WorkerInitializationException."""
        process = ForkedProcess(WorkerOutput(on_line))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                await self._request(process, theirs)
            async with asyncio.timeout(timeout_s):
                await process.forked
        except BaseException as exc:
            ours.close()
            process.abandon()
            if isinstance(exc, TimeoutError):
                # It would not tell of the end of its workers either.
                self._lose()
                raise self._unforked(f"its host process gave no answer in {timeout_s:g} s") from None
            raise
        return await ProcessWorker.connect(process, process.output, ours, spec)

    async def _load(self, start: Start) -> ProcessWorker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await start(descriptors=[theirs.fileno()])
        except BaseException:
            ours.close()
            # Whoever starts a worker next finds another host.
            self._end()
            raise
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours, self._read)
        return process

    async def _request(self, process: ForkedProcess, theirs: socket.socket) -> None:
        streams = await process.open_streams()
        try:
            if self._channel is None:
                raise self._unforked("its host process is gone")
            socket.send_fds(self._channel, [FORK], [theirs.fileno(), *streams])
        except OSError as exc:
            raise self._unforked(str(exc)) from exc
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
            process.failed(self._unforked(os.strerror(report.number)))
            return
        self._children[report.pid] = process
        process.began(report.pid)

    def _lose(self) -> None:
        """Give up a host process that is gone or of no use any more, and with it its workers."""
        if self.ending is not None:
            return
        self._is_lost = True
        self._disconnect()
        for process in self._forking:
            process.failed(self._unforked("its host process ended"))
        for process in self._children.values():
            process.orphaned()
        self._end()

    def _disconnect(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None

    def _end_if_idle(self) -> None:
        if not (self._starting or self._forking or self._children):
            self._end()

    def _end(self) -> None:
        if self.ending is None:
            self.ending = asyncio.create_task(self._close(), name=f"end-host-{self._model_name}")
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
                "The host process of model %s (pid %s) died: %s. Its workers are replaced.",
                *(self._model_name, process.pid, await process.wait()),
            )

    def _unforked(self, why: str) -> WorkerInitializationException:
        return WorkerInitializationException(f"Worker of model {self._model_name} cannot be forked: {why}")
