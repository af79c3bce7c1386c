"""Starting the server, in the background or in place of the launcher. Runs in the launcher."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mms
from mms.server.arguments import READY, READY_OPTION, SHUTDOWN_OPTION
from mms.server.pid_file import MARKER

# Not `-m mms`: this package need not be where a new interpreter looks. Without the garbage collector, which would look
# again and again at what is imported, and find nothing; ModelServer turns it on.
_BOOTSTRAP = "import gc, sys; gc.disable(); sys.path.append(sys.argv.pop(1)); from mms.server.main import main; main()"


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
            report = reports.read()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 130
    if report == READY:
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


def _command(shutdown_timeout: float) -> list[str]:
    # -P: a folder named mms in the current folder, such as a checkout of MMS, must not be taken for this package.
    home = str(Path(mms.__file__).resolve().parents[1])
    return [sys.executable, "-P", "-c", _BOOTSTRAP, home, MARKER, f"{SHUTDOWN_OPTION}{shutdown_timeout:g}"]
