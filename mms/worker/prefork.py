"""The host process of a preloaded model: loads it once, then forks a worker each time the front end asks for one.

It never predicts: a fork copies the memory of all threads but none of them, so nothing may be at work when it happens.
What the model registered with `atexit` runs when the host ends, not once more in every worker.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

from mms.protocol.fork import FORK_DESCRIPTORS, ForkEvent, ForkReport, encode_report
from mms.protocol.messages import WorkerSpec
from mms.service import Service
from mms.worker.__main__ import leave_with_the_front_end, load_first, prepare, receive, work
from mms.worker.loader import load_service


def main(control: int, channel: int) -> None:
    """Run a host to its end, or a worker that it became.

    The sockets with these descriptors are for the spec and its reply (like a worker's own), and for what
    mms.protocol.fork is about.
    """
    prepare()
    host = Host(socket.socket(fileno=control), socket.socket(fileno=channel))
    service = host.load()
    if service is None:
        return
    _warn_of_threads()
    gc.collect()
    # Counting references still copies pages in the workers; the garbage collector's visits shall not.
    gc.freeze()
    connection = host.run()
    if connection is not None:
        _work_to_the_end(connection, service)


class Host:
    """Forks workers and tells the front end how each of them ended."""

    def __init__(self, control: socket.socket, channel: socket.socket) -> None:
        self._control = control
        self._channel = channel
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._pids: set[int] = set()

    def load(self) -> Service | None:
        """Load the model that the front end sends; None if that fails."""
        with _leaving_with_the_front_end():
            return load_first(self._control, receive(self._control), _load_without_gpu)

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
        _flush()
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


@contextlib.contextmanager
def _leaving_with_the_front_end() -> Iterator[None]:
    """End this process with the front end while the block runs, however long a load takes; leave no thread behind."""
    ended, end = os.pipe()
    thread = leave_with_the_front_end(until=ended)
    try:
        yield
    finally:
        os.write(end, b"x")
        thread.join()
        os.close(ended)
        os.close(end)


def _load_without_gpu(spec: WorkerSpec) -> Service:
    # MMS: the preloading process belongs to no worker, hence to no GPU. What CUDA sets up does not survive a fork.
    return load_service(replace(spec, gpu_id=None))


def _warn_of_threads() -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        # The front end takes stderr for warnings.
        print(
            f"preload_model: the handler started threads while it loaded ({', '.join(names)}). They do not exist in "
            "the workers, and a lock that one of them holds stays locked there. Start them at the first request.",
            file=sys.stderr,
        )


def _work_to_the_end(connection: socket.socket, service: Service) -> NoReturn:
    """Work as any worker does, then leave without tidying up: what the host loaded is the host's to tidy up."""

    def take_over(spec: WorkerSpec) -> Service:
        service.context.system_properties["gpu_id"] = spec.gpu_id
        return service

    code = 1
    try:
        leave_with_the_front_end()
        work(connection, take_over)
        code = 0
    except SystemExit as exc:
        code = _exit_code(exc.code)
    except BaseException:
        # Stands for the interpreter's own last resort, which os._exit does without.
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _exit_code(value: object) -> int:
    """Return what sys.exit(value) means, as the interpreter takes it."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    print(value, file=sys.stderr)
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A handler may have closed or replaced it.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
