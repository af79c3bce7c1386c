"""A process that forks workers each time the front end asks for one: what the two kinds of hosts have in common.

It never predicts: a fork copies the memory of all threads but none of them, so nothing may be at work when it happens.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import warnings

from mms.protocol.fork import FORK_DESCRIPTORS, ForkEvent, ForkReport, encode_report


class Host:
    """Forks workers and tells the front end how each of them ended."""

    def __init__(self, control: socket.socket, channel: socket.socket) -> None:
        self._control = control
        self._channel = channel
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._pids: set[int] = set()

    def run(self) -> socket.socket | None:
        """Serve the front end until it closes a socket; then return None. In a worker, return its socket instead."""
        try:
            return self._serve()
        finally:
            signal.set_wakeup_fd(-1)
            for sock in (self._control, self._channel, self._bell, self._ringer):
                sock.close()

    def _serve(self) -> socket.socket | None:
        # The handler is needed for the signal to ring the bell at all.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        for sock in (self._control, self._channel, self._bell):
            poll.register(sock, select.POLLIN)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if self._bell.fileno() in ready:
                    self._report_ends()
                if self._control.fileno() in ready:
                    return None
                if self._channel.fileno() not in ready:
                    continue
                request, descriptors, _, _ = socket.recv_fds(self._channel, 1, FORK_DESCRIPTORS)
                if not request:
                    return None
                if self._fork(descriptors) == 0:
                    return _become_worker(descriptors)
        return None

    def _fork(self, descriptors: list[int]) -> int | None:
        """Fork once; return 0 in the worker, as fork does. In the host, report what became of it."""
        flush()
        try:
            with warnings.catch_warnings():
                # Python 3.12 finds the idle thread pools of native libraries, which know of forks themselves.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as exc:
            self._report(ForkReport(ForkEvent.REFUSED, 0, exc.errno or 0))
            pid = None
        if pid == 0:
            return pid
        for descriptor in descriptors:
            os.close(descriptor)
        if pid is not None:
            self._pids.add(pid)
            self._report(ForkReport(ForkEvent.FORKED, pid))
        return pid

    def _report_ends(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._bell.recv(1024):
                pass
        for pid in list(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._pids.discard(pid)
                self._report(ForkReport(ForkEvent.ENDED, pid, os.waitstatus_to_exitcode(status)))

    def _report(self, report: ForkReport) -> None:
        self._channel.sendall(encode_report(report))


def _become_worker(descriptors: list[int]) -> socket.socket:
    """Take what the front end sent to the new process, in place of what was the host's."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    connection, *streams = descriptors
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    os.set_inheritable(connection, False)
    return socket.socket(fileno=connection)


def flush() -> None:
    """Write out what lies in the buffers of the standard streams."""
    for stream in (sys.stdout, sys.stderr):
        # A handler may have closed or replaced it.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
