"""A worker process that a host forked: its streams and its end, as asyncio tells of its own. Front process."""

import asyncio
import contextlib
import os
import signal
from functools import partial

from mms.server.backends.output import STREAMS, WorkerOutput


class ForkedProcess:
    """A ChildProcess that is no child of this process: its host tells when it began and how it ended.

    Where the system has descriptors of processes (Linux), it outlives its host; nobody knows its exit code then.
    """

    def __init__(self, model_name: str, output: WorkerOutput) -> None:
        self.model_name = model_name
        self.output = output
        self.forked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done as soon as the process runs; fails if it never will."""
        self._pid: int | None = None
        self._pidfd: int | None = None
        self._returncode: int | None = None
        self._is_unwanted = False
        self._stdin: int | None = None
        self._transports: list[asyncio.ReadTransport] = []

    async def open_streams(self) -> list[int]:
        """Make its standard streams; return the process's ends in their order, for the caller to send and close."""
        loop = asyncio.get_running_loop()
        theirs: list[int] = []
        try:
            # Nothing is ever written: its end tells the process that the front end is gone.
            stdin, self._stdin = os.pipe()
            theirs.append(stdin)
            for number in STREAMS:
                ours, stream = os.pipe()
                theirs.append(stream)
                transport, _ = await loop.connect_read_pipe(
                    partial(_Stream, self.output, number), os.fdopen(ours, "rb", 0)
                )
                self._transports.append(transport)
        except BaseException:
            close_all(theirs)
            raise
        return theirs

    def get_pid(self) -> int | None:
        """See ChildProcess."""
        return self._pid

    def get_returncode(self) -> int | None:
        """See ChildProcess."""
        return self._returncode

    def kill(self) -> None:
        """See ChildProcess. One that does not run yet ends as soon as it does."""
        self._is_unwanted = True
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        elif self._pid is not None and not self.output.exited.is_set():
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """See ChildProcess."""
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None
        for transport in self._transports:
            transport.close()

    def abandon(self) -> None:
        """Let go of a process that nobody waits for any more, whether it runs or not."""
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self.close()

    def began(self, pid: int) -> None:
        """Hear from the host that the process runs."""
        self._pid = pid
        self._pidfd = _open_process(pid)
        if self._is_unwanted:
            self.abandon()
        if not self.forked.done():
            self.forked.set_result(None)

    def failed(self, error: Exception) -> None:
        """Hear that there will be no such process."""
        if not self.forked.done():
            self.forked.set_exception(error)

    def ended(self, returncode: int) -> None:
        """Hear from the host that the process ended."""
        self._returncode = returncode
        self._forget()

    def orphaned(self) -> None:
        """Hear that the host is gone: watch the process from here, or end it, since nobody would tell of its end."""
        if self._pidfd is not None:
            asyncio.get_running_loop().add_reader(self._pidfd, self._orphan_ended)
            return
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self.output.process_exited()

    def _orphan_ended(self) -> None:
        """The loop: a process that lost its host has ended."""
        assert self._pidfd is not None
        assert self._pid is not None
        asyncio.get_running_loop().remove_reader(self._pidfd)
        # Orphans are somebody else's to reap, but ours where this is the first process of a container.
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self._pid, os.WNOHANG)
            self._returncode = os.waitstatus_to_exitcode(status)
        self._forget()

    def _forget(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self.output.process_exited()


class _Stream(asyncio.Protocol):
    """Hands on what comes from one standard stream."""

    def __init__(self, output: WorkerOutput, number: int) -> None:
        self._output = output
        self._number = number

    def data_received(self, data: bytes) -> None:
        self._output.pipe_data_received(self._number, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._output.pipe_connection_lost(self._number, exc)


def has_process_descriptors() -> bool:
    """Whether processes can be watched that are no children of this one: Linux 5.3 and later, unless forbidden."""
    descriptor = _open_process(os.getpid())
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _open_process(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def close_all(descriptors: list[int]) -> None:
    """Close these descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
