"""Starting the server in the background, stopping it, and the pid file. Runs in the launcher and, for `claim`, the server.

The process that runs the server has MARKER among its arguments. The SageMaker toolkits look for it to find the server,
and so does `--stop`. It holds a lock on the pid file as long as it lives, so a number that the system gave to another
process since, and two starts at once, cannot confuse anybody.
"""

import contextlib
import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

import mms

MARKER: Final = "com.amazonaws.ml.mms.ModelServer"
SHUTDOWN_OPTION: Final = "--shutdown-timeout="
READY_OPTION: Final = "--ready-fd="

_DEFAULT_SHUTDOWN_S = 30.0
_MARGIN_S = 10.0
"""Beyond its shutdown timeout, for ending workers and closing files."""
_POLL_S = 0.05
_CLAIM_S = 2.0


class DaemonError(Exception):
    """The server cannot be started or stopped; the text is for the user."""


class AlreadyRunning(DaemonError):
    """Another server has the pid file."""


class PidFile:
    """`<temp>/.model_server.pid`: the number of the server's process, as in MMS, and its lock."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(tempfile.gettempdir()) / ".model_server.pid"

    def exists(self) -> bool:
        """Whether there is a pid file, of a running server or left behind."""
        return self.path.exists() or self.path.is_symlink()

    def server(self) -> psutil.Process | None:
        """Return the process that the file names if it is the server that wrote it. Raises DaemonError if damaged."""
        try:
            file = self._open()
        except FileNotFoundError:
            return None
        try:
            return self._server(file)
        finally:
            os.close(file)

    @contextlib.contextmanager
    def claim(self, on_orphan: Callable[[], None]) -> Iterator[None]:
        """Hold the file for this process; `on_orphan` is called when a file that was left behind is removed.

        Raises AlreadyRunning, and DaemonError when the file cannot be made.
        """
        try:
            file = self._acquire(on_orphan)
        except OSError as exc:
            raise DaemonError(f"Pid file {self.path} cannot be written: {exc.strerror}") from exc
        try:
            yield
        finally:
            # While the lock is held: nobody else's file can be at this path.
            self.path.unlink(missing_ok=True)
            os.close(file)

    def discard(self) -> None:
        """Remove a file whose server is gone."""
        with contextlib.suppress(FileNotFoundError, DaemonError):
            file = self._open()
            try:
                if _lock(file) and self._is_at_path(file):
                    self.path.unlink()
            finally:
                os.close(file)

    def _acquire(self, on_orphan: Callable[[], None]) -> int:
        """Return the descriptor of our new, locked file."""
        deadline = time.monotonic() + _CLAIM_S
        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                self._remove_orphan(on_orphan, deadline)
                continue
            # In the moment before the lock another starter may have taken the empty file for an orphan.
            if _lock(file) and self._is_at_path(file):
                os.write(file, f"{os.getpid()}".encode())
                return file
            os.close(file)

    def _remove_orphan(self, on_orphan: Callable[[], None], deadline: float) -> None:
        """Remove the file at the path unless its server lives; does nothing if it should be looked at once more."""
        try:
            file = self._open()
        except FileNotFoundError:
            return
        try:
            with contextlib.suppress(DamagedPidFile):  # a damaged file belongs to no server
                if self._server(file) is not None:
                    raise AlreadyRunning("Model server is already running.")
            if _lock(file):
                if self._is_at_path(file):
                    self.path.unlink()
                    on_orphan()
            elif time.monotonic() > deadline:
                raise AlreadyRunning("Model server is already running.")
            else:
                # Somebody has it for a moment: another starter, or a reader.
                time.sleep(_POLL_S)
        finally:
            os.close(file)

    def _open(self) -> int:
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise DaemonError(f"Pid file {self.path} cannot be used: {exc.strerror}") from exc
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise DaemonError(f"Pid file {self.path} is no file.")
        return file

    def _server(self, file: int) -> psutil.Process | None:
        text = os.pread(file, 64, 0).decode("ascii", "replace").split("\n")[0].strip()
        if not (text.isascii() and text.isdigit()):
            raise DamagedPidFile(
                f"Pid file {self.path} holds no process number. Remove it if no model server is running."
            )
        return _server_process(int(text), is_locked=not _lock(file, shared=True))

    def _is_at_path(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.lstat())
        except FileNotFoundError:
            return False


class DamagedPidFile(DaemonError):
    """The pid file holds something else than a number."""


def start_in_background(arguments: Sequence[str], *, shutdown_timeout: float) -> int:
    """Start the server in a session of its own; return its exit code, or 0 as soon as it listens.

    Its output is ours. It reports through a pipe; one that ends without a report has failed.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as reports:
        try:
            process = subprocess.Popen(
                [*_command(shutdown_timeout), f"{READY_OPTION}{writer}", *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=[writer],
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            report = reports.readline()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 130
    if report and "ready" in json.loads(report):
        process.returncode = 0  # it lives on; nothing here is to wait for it
        return 0
    code = process.wait()
    if not report:
        sys.stderr.write(f"Model server did not start: its process ended with exit code {code}.\n")
    return 1


def become_server(arguments: Sequence[str], *, shutdown_timeout: float) -> None:
    """Replace this process by the server: same pid, so that signals for it need no forwarding. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = _command(shutdown_timeout)
    os.execv(command[0], [*command, *arguments])


def notify_ready(fd: int) -> None:
    """Tell the launcher that the server listens. Run by the server."""
    _report(fd, {"ready": True})


def notify_failed(fd: int, error: str) -> None:
    """Tell the launcher that the server has failed and has said why. Run by the server."""
    _report(fd, {"error": error})


def stop(process: psutil.Process) -> None:
    """End a server in order, and by force if it takes longer than it may; returns when it and its workers are gone.

    Raises DaemonError if that is not allowed.
    """
    try:
        # Known beforehand, since nothing leads to the children of a process that is gone.
        everybody = [process, *process.children(recursive=True)]
        timeout = _shutdown_timeout(process.cmdline())
        process.terminate()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as exc:
        raise DaemonError(f"Model server (pid {process.pid}) belongs to another user.") from exc
    if _gone([process], timeout + _MARGIN_S):
        if _gone(everybody, _MARGIN_S):
            return
    for one in everybody:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    _gone(everybody, _MARGIN_S)


def _command(shutdown_timeout: float) -> list[str]:
    # -P: a folder named mms in the current folder, such as a checkout of MMS, must not be taken for this package.
    is_here = Path(mms.__file__).resolve().parents[1] == Path.cwd().resolve()
    isolation = [] if is_here else ["-P"]
    return [sys.executable, *isolation, "-m", "mms", MARKER, f"{SHUTDOWN_OPTION}{shutdown_timeout:g}"]


def _shutdown_timeout(command: Sequence[str]) -> float:
    """Return how long the server with this command line takes at most to stop, as it was told by its launcher."""
    for argument in command:
        if argument.startswith(SHUTDOWN_OPTION):
            with contextlib.suppress(ValueError):
                return float(argument.removeprefix(SHUTDOWN_OPTION))
    return _DEFAULT_SHUTDOWN_S


def _server_process(pid: int, *, is_locked: bool) -> psutil.Process | None:
    """Return the process if it is a model server: one of ours, which has its file locked, or MMS's own in Java."""
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
    except (psutil.Error, OverflowError):
        return None
    is_ours = "-m" in command
    return process if MARKER in command and (is_locked or not is_ours) else None


def _lock(file: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Wait until all have ended, as zombies at least: reaping them may be somebody else's, who never does it."""
    deadline = time.monotonic() + timeout_s
    while any(_is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _report(fd: int, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError), os.fdopen(fd, "wb") as pipe:  # a launcher that was interrupted no longer listens
        pipe.write(json.dumps(message).encode() + b"\n")
