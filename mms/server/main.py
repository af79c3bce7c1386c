"""The program that is the server, started by the launcher: claims the pid file, reads the configuration, serves.

Whatever is wrong is said on the terminal and to the launcher.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence

from mms.protocol.memory import keep_freed_memory
from mms.server.arguments import FAILED, READY, ServerArguments
from mms.server.config import Config, load_config
from mms.server.errors import ConfigurationError, MMSError
from mms.server.pid_file import ALREADY_RUNNING, AlreadyRunning, DaemonError, PidFile
from mms.server.postponed import postpone_aiohttp_client


def main() -> None:
    """Run the program; its first argument is MARKER."""
    sys.exit(serve(sys.argv[2:]))


def serve(arguments: Sequence[str]) -> int:
    """Be the server; return its exit code."""
    parsed = ServerArguments.from_list(arguments)
    try:
        if parsed.ready_fd is not None:
            # For this process only: the launcher waits for the end of the pipe.
            os.set_inheritable(parsed.ready_fd, False)
        with PidFile().claim(lambda: _say("Removing orphan pid file.")):
            _run(load_config(parsed.options), parsed.ready_fd)
    except AlreadyRunning:
        return _fail(parsed.ready_fd, ALREADY_RUNNING)
    except ConfigurationError as exc:
        return _fail(parsed.ready_fd, f"Invalid configuration: {exc}")
    except (MMSError, DaemonError) as exc:
        return _fail(parsed.ready_fd, str(exc), err=True)
    except OSError as exc:
        return _fail(parsed.ready_fd, exc.strerror or str(exc), err=True)
    except KeyboardInterrupt:
        return 130
    return 0


def _run(config: Config, ready_fd: int | None) -> None:
    keep_freed_memory()
    postpone_aiohttp_client()
    # After that, and after whatever could be wrong before.
    from mms.server.model_server import ModelServer

    def on_ready() -> None:
        for handler in logging.getLogger().handlers:
            handler.flush()  # the line below comes after the start's own
        _say("Model server started.")
        if ready_fd is not None:
            report(ready_fd, READY)

    async def serve() -> None:
        await ModelServer(config).run(on_ready=on_ready)

    _run_loop(serve())


def _run_loop(main: Coroutine[None, None, None]) -> None:
    """Run on uvloop, where it is installed, or on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        run: Callable[[Coroutine[None, None, None]], None] = asyncio.run
    else:
        run = uvloop.run
    # Outside of the handler: an error of the server is no consequence of a missing uvloop.
    run(main)


def _fail(ready_fd: int | None, problem: str, *, err: bool = False) -> int:
    _say(problem, err=err)
    if ready_fd is not None:
        report(ready_fd, FAILED)
    return 1


def report(fd: int, what: bytes) -> None:
    """Tell the launcher what became of the start, READY or FAILED."""
    with contextlib.suppress(OSError), os.fdopen(fd, "wb") as pipe:  # a launcher that was interrupted no longer listens
        pipe.write(what)


def _say(text: str, *, err: bool = False) -> None:
    """Print a line past Python's buffers: whoever started the server may have closed its end since."""
    with contextlib.suppress(OSError):
        os.write(2 if err else 1, f"{text}\n".encode(errors="backslashreplace"))
