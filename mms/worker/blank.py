"""The host process of workers that have no model yet: it has imported what every worker needs, and no user code.

A worker that it forked is to be as one that was started by itself: the same folder, environment, module path and
arguments, its own streams and session. What stays the host's: the seed of hashes, and the parent.
"""

import gc
import os
import signal
import socket
import sys
import threading

from mms.protocol.fork import Surroundings, read_surroundings
from mms.worker import __main__ as worker
from mms.worker.host import Host


def main(control: int, channel: int) -> None:
    """Run the host to its end, or a worker that it became; the descriptors are those of mms.worker.prefork."""
    # Nothing that is not ours runs here, except for what the environment has every interpreter run: sitecustomize. The
    # threads of that would be lost in a fork, so with them there is no host, and every worker is started by itself.
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        print(f"No worker can be forked: what the environment loads starts threads ({names}).", file=sys.stderr)
        return
    # As every worker does, and before one is made: Ctrl-C is for the front end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    # The garbage collector's visits would copy the pages that the workers share.
    gc.freeze()
    connection = Host(socket.socket(fileno=control), socket.socket(fileno=channel)).run()
    if connection is not None:
        settle(read_surroundings(connection.recv), connection.fileno())
        worker.main(connection.detach())


def settle(surroundings: Surroundings, connection: int) -> None:
    """Make this process what a new interpreter with these surroundings would be."""
    inherited = _module_path(os.environ.get("PYTHONPATH", ""))
    os.chdir(surroundings.folder)
    for name in os.environ.keys() - surroundings.environment.keys():
        del os.environ[name]
    for name, value in surroundings.environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    asked = _module_path(os.environ.get("PYTHONPATH", ""))
    *entries, ours = sys.path
    # The empty entry is the current folder, as for every `python -c`; it is not there with PYTHONSAFEPATH.
    first = [entries.pop(0)] if entries[0] == "" else []
    kept = [entry for entry in entries if entry not in inherited]
    sys.path[:] = [*first, *dict.fromkeys(asked + kept), ours]
    arguments = [worker.__name__, str(connection), surroundings.name]
    for listed in (sys.argv, sys.orig_argv):
        listed[listed.index(__name__) :] = arguments
    _show_arguments(arguments)


def _module_path(text: str) -> list[str]:
    """Return the folders of a PYTHONPATH, absolute as `site` makes them."""
    return [os.path.abspath(entry) for entry in text.split(os.pathsep)] if text else []


def _show_arguments(arguments: list[str]) -> None:
    """Have `ps` show the worker's last arguments in place of the host's, as far as they have room; Linux only."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # Counted behind the name of the program, which may hold anything. See proc(5), arg_start and arg_end.
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            shown = memory.read(end - start)
            position = shown.index(__name__.encode())
            text = "\0".join(arguments).encode(errors="surrogateescape")
            room = len(shown) - position - 1
            memory.seek(start + position)
            memory.write(text[:room].ljust(room))
    except (OSError, ValueError, IndexError):
        # Another system, or one that forbids it: whoever looks sees the host's arguments.
        return
