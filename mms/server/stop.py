"""Stopping the server of this temp folder. Runs in the launcher."""

import contextlib
import time
from collections.abc import Sequence

import psutil

from mms.server.arguments import SHUTDOWN_OPTION
from mms.server.pid_file import DaemonError

_DEFAULT_SHUTDOWN_S = 30.0
_MARGIN_S = 10.0
"""Beyond its shutdown timeout, for ending workers and closing files."""
_POLL_S = 0.05


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
    if _gone([process], timeout + _MARGIN_S) and _gone(everybody, _MARGIN_S):
        return
    for one in everybody:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    _gone(everybody, _MARGIN_S)


def _shutdown_timeout(command: Sequence[str]) -> float:
    """Return how long the server with this command line takes at most to stop, as it was told by its launcher."""
    for argument in command:
        if argument.startswith(SHUTDOWN_OPTION):
            with contextlib.suppress(ValueError):
                return float(argument.removeprefix(SHUTDOWN_OPTION))
    return _DEFAULT_SHUTDOWN_S


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
