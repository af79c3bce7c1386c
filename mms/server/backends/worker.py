"""The front end's end of one worker process, whoever started it. Runs in the front process."""

import asyncio
import contextlib
import signal
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

import psutil

from mms.protocol.coding import (
    decode_load_reply,
    decode_reply,
    encode_requests,
    encode_spec,
)
from mms.protocol.frames import (
    SOCKET_BUFFER_BYTES,
    Buffer,
    FrameError,
    FrameReader,
    pack,
)
from mms.protocol.messages import InferenceRequest, LoadReply, WorkerSpec
from mms.server.backends.base import Answered
from mms.server.backends.output import WorkerOutput
from mms.server.errors import WorkerDied, WorkerInitializationException

REPLY_OVERHEAD_BYTES = 1 << 24
"""What the header of a reply (metrics, response headers) may take beyond the bodies themselves."""
LOG_DRAIN_S = 1.0
"""How long the last lines of a dead worker are waited for; a grandchild may hold the pipe open for ever."""
EXIT_GRACE_S = 2.0
"""How long a process may take to exit once it has closed its socket by itself."""


class ChildProcess(Protocol):
    """What a worker needs to know of its process; asyncio.SubprocessTransport is one."""

    def get_pid(self) -> int | None:
        """Return its id."""

    def get_returncode(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs, or when nobody saw the end."""

    def kill(self) -> None:
        """Send SIGKILL. Raises ProcessLookupError if it is gone."""

    def close(self) -> None:
        """Close our ends of its standard streams."""


class ProcessWorker(asyncio.BufferedProtocol):
    """The front end's end of one worker process."""

    def __init__(self, process: ChildProcess, output: WorkerOutput, *, max_frame_bytes: int) -> None:
        self.pid = process.get_pid()
        self._process = process
        self._output = output
        self._reader = FrameReader(max_frame_bytes=max_frame_bytes)
        self.get_buffer = self._reader.get_buffer  # type: ignore[assignment]  # one call less for every read
        self._transport: asyncio.Transport | None = None
        self._loading: asyncio.Future[LoadReply] | None = None
        self._waiting: deque[Answered] = deque()
        self._ending = ""

    @classmethod
    async def connect(
        cls, process: ChildProcess, output: WorkerOutput, connection: socket.socket, spec: WorkerSpec
    ) -> "ProcessWorker":
        """Take over a process that was just started, and our end of its socket."""
        max_frame_bytes = spec.batch_size * spec.max_response_bytes + REPLY_OVERHEAD_BYTES
        worker = cls(process, output, max_frame_bytes=max_frame_bytes)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        try:
            await asyncio.get_running_loop().create_connection(lambda: worker, sock=connection)
        except BaseException:
            await worker.stop(grace_s=0)
            raise
        return worker

    async def start(self, spec: WorkerSpec, *, timeout_s: float) -> None:
        """Have the model loaded; a worker that does not load it is stopped. Raises WorkerInitializationException."""
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._load(spec)
        except TimeoutError:
            await self.stop(grace_s=0)
            raise WorkerInitializationException(
                f"Worker of model {spec.model_name} did not load in {timeout_s:g} s (worker_start_timeout)."
            ) from None
        except asyncio.CancelledError:
            await self.stop(grace_s=0)
            raise
        except WorkerDied as exc:
            await self.stop(grace_s=EXIT_GRACE_S)
            # A SIGKILL that is not ours comes from the kernel, for want of memory. SageMaker makes room after a 507.
            was_killed = not self._ending and self._process.get_returncode() == -signal.SIGKILL
            raise WorkerInitializationException(
                f"Worker of model {spec.model_name} ended while it loaded: {await self.wait()}",
                507 if was_killed else 500,
            ) from exc
        if reply.code != 200:
            await self.stop(grace_s=EXIT_GRACE_S)
            raise WorkerInitializationException(
                reply.message, reply.code, reply.traceback, in_initialize=reply.in_initialize
            )

    async def _load(self, spec: WorkerSpec) -> LoadReply:
        self._loading = asyncio.get_running_loop().create_future()
        self._send(encode_spec(spec))
        return await self._loading

    def predict(self, requests: Sequence[InferenceRequest], answered: Answered) -> None:
        """See Worker.predict."""
        if self._transport is None or self._transport.is_closing():
            raise WorkerDied
        self._waiting.append(answered)
        self._send(encode_requests(requests))

    async def wait(self) -> str:
        """See Worker.wait."""
        await self._output.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOG_DRAIN_S):
                await self._output.drained.wait()
        return self._ending or _why(self._process.get_returncode())

    def memory_usage(self) -> int:
        """See Worker.memory_usage."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def stop(self, *, grace_s: float) -> None:
        """See Worker.stop."""
        if self._transport is not None:
            self._transport.close()
        try:
            if grace_s > 0:
                async with asyncio.timeout(grace_s):
                    await self._output.exited.wait()
        except TimeoutError:
            self._kill(f"killed: it did not end within {grace_s:g} s")
        finally:
            self._kill("killed by the server")
        await self.wait()
        # Closes our ends of the pipes; children of the worker may still hold theirs.
        self._process.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ready."""
        # Not checked with isinstance: uvloop's transports are not asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes arrived."""
        try:
            for parts in self._reader.received(nbytes):
                self._receive(parts)
        except FrameError as exc:
            if self._transport is not None:
                self._transport.abort()
            self._kill(f"killed: it broke the protocol ({exc}); does the handler write to descriptors it did not open?")

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the socket is closed, by us or by the end of the process."""
        if self._loading is not None and not self._loading.done():
            self._loading.set_exception(WorkerDied())
        while self._waiting:
            self._waiting.popleft()(None)

    def _receive(self, parts: list[Buffer]) -> None:
        if self._loading is not None:
            if not self._loading.done():
                self._loading.set_result(decode_load_reply(parts))
            self._loading = None
            return
        if not self._waiting:
            raise FrameError("an answer that nobody asked for")
        reply = decode_reply(parts)
        self._waiting.popleft()(reply)

    def _kill(self, why: str) -> None:
        if self._output.exited.is_set():
            return
        self._ending = self._ending or why
        # It may have ended by itself in this very moment.
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _send(self, parts: Sequence[Buffer]) -> None:
        assert self._transport is not None
        self._transport.writelines(pack(parts))


def _why(code: int | None) -> str:
    if code is None:
        return "it ended after the process that it was forked from, so nobody knows its exit code"
    if code >= 0:
        return f"it exited with code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f"{name}, perhaps out of memory" if code == -signal.SIGKILL else name
