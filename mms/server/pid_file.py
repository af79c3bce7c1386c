"""The pid file of the server. Used by the launcher, and by the server, which holds it.

The server locks its file as long as it lives. So neither a number that the system gave to another process since, nor
two starts at once, can confuse anybody.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psutil

PROGRAM: Final = "multi-model-server"
MARKER: Final = "com.amazonaws.ml.mms.ModelServer"
"""An argument of the process that runs the server. The SageMaker toolkits look for it to find the server."""

ALREADY_RUNNING: Final = f"Model server is already running, please use {PROGRAM} --stop to stop MMS."

_POLL_S = 0.05
_CLAIM_S = 2.0


class DaemonError(Exception):
    """The server cannot be started or stopped; the text is for the user."""


class AlreadyRunning(DaemonError):
    """Another server has the pid file."""


class DamagedPidFile(DaemonError):
    """The pid file holds something else than a number."""


class PidFile:
    """`<temp>/.model_server.pid`: the number of the server's process, as in MMS, and its lock."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(tempfile.gettempdir()) / ".model_server.pid"

    def exists(self) -> bool:
        """Whether there is a pid file, of a running server or left behind."""
        return self.path.exists() or self.path.is_symlink()

    def server(self) -> "psutil.Process | None":
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
            if self._is_at_path(file):
                self.path.unlink()
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

    def _server(self, file: int) -> "psutil.Process | None":
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


def _server_process(pid: int, *, is_locked: bool) -> "psutil.Process | None":
    """Return the process if it is a model server: one of ours, which has its file locked, or MMS's own in Java."""
    # Late: most starts find no pid file, and need not wait for this import.
    import psutil

    try:
        process = psutil.Process(pid)
        command = process.cmdline()
    except (psutil.Error, OverflowError):
        return None
    if MARKER not in command:
        return None
    is_java = Path(command[0]).name.startswith("java")
    return process if is_locked or is_java else None


def _lock(file: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
