"""Starting the server in the background or in place of the launcher, and stopping it. Runs in the launcher.

The two `notify_` functions are the server's end of the pipe that `start_in_background` waits at.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

import mms
from mms.server.pid_file import MARKER, DaemonError

SHUTDOWN_OPTION: Final = "--shutdown-timeout="
READY_OPTION: Final = "--ready-fd="

# Not `-m mms`: this package need not be where a new interpreter looks.
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1)); from mms.server.cli import multi_model_server; multi_model_server()"
)
_DEFAULT_SHUTDOWN_S = 30.0
_MARGIN_S = 10.0
"""Beyond its shutdown timeout, for ending workers and closing files."""
_POLL_S = 0.05


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
    if _gone([process], timeout + _MARGIN_S) and _gone(everybody, _MARGIN_S):
        return
    for one in everybody:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    _gone(everybody, _MARGIN_S)


def _command(shutdown_timeout: float) -> list[str]:
    # -P: a folder named mms in the current folder, such as a checkout of MMS, must not be taken for this package.
    home = str(Path(mms.__file__).resolve().parents[1])
    return [sys.executable, "-P", "-c", _BOOTSTRAP, home, MARKER, f"{SHUTDOWN_OPTION}{shutdown_timeout:g}"]


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


def _report(fd: int, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError), os.fdopen(fd, "wb") as pipe:  # a launcher that was interrupted no longer listens
        pipe.write(json.dumps(message).encode() + b"\n")
