"""The default backend: workers are forks of a process that is kept ready for it. Runs in the front process."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from mms.protocol.fork import Surroundings, encode_surroundings
from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import LogLine
from mms.server.backends.forked import has_process_descriptors
from mms.server.backends.host import Host
from mms.server.backends.process import ProcessBackend
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerInitializationException

logger = logging.getLogger(__name__)

PROGRAM = "mms.worker.blank"
FORK_TIMEOUT_S = 30.0
"""For a host that may be starting still; a worker that waited so long gets an interpreter of its own."""

_BLANK = WorkerSpec(model_name=" " * 100, model_dir=os.sep, handler="")
"""Of the host. Its name is room for that of a worker's model in the list of processes."""
_READ_AT_START = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "MALLOC_", "GLIBC_")
"""How the environment variables begin that an interpreter, or what it is loaded by, looks at only when it starts."""
_RUN_AT_START = ("sitecustomize.py", "usercustomize.py")
"""What an interpreter imports when it starts, if it finds it on its path."""


class WarmBackend:
    """Starts workers as forks of one process that has imported what every worker needs, in a few milliseconds.

    `warm_up` starts that process, the blank host. Without it, or while there is none, every worker is a new
    interpreter, as it is for another runtime. If the host dies its workers go on, and the next start makes another.
    """

    def __init__(self, config: Config) -> None:
        self._processes = ProcessBackend(config)
        self._timeout_s = config.worker_start_timeout
        self._is_wanted = False
        self._environment: Mapping[str, str] = {}
        self._host: Host | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def warm_up(self) -> None:
        """Start the host, in the background; the event loop runs."""
        # Workers must outlive a host that dies.
        self._is_wanted = has_process_descriptors()
        self._ensure_host()

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> ProcessWorker:
        """See WorkerBackend.start."""
        worker = await self._fork(spec, on_line)
        if worker is None:
            return await self._processes.start(spec, on_line)
        await worker.start(spec, timeout_s=self._timeout_s)
        return worker

    async def close(self) -> None:
        """End the host; its workers have been stopped before."""
        self._is_wanted = False
        if self._host is not None:
            await self._host.end()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _fork(self, spec: WorkerSpec, on_line: LogLine) -> ProcessWorker | None:
        """Return a worker that has not loaded its model yet; None if it must be started by itself."""
        environment = self._processes.environment(spec)
        host = self._ensure_host()
        if host is None or not self._suits(spec, environment):
            return None
        surroundings = Surroundings(spec.model_dir, environment, spec.model_name)
        try:
            await host.loaded()
            return await host.fork(
                spec, on_line, timeout_s=FORK_TIMEOUT_S, first_bytes=encode_surroundings(surroundings)
            )
        except WorkerInitializationException as exc:
            logger.warning("%s. It is started by itself.", exc)
            return None

    def _suits(self, spec: WorkerSpec, environment: Mapping[str, str]) -> bool:
        """Whether a fork of the host would be what a new interpreter is."""
        if spec.runtime != "python" or not Path(spec.model_dir).is_dir():
            return False
        handler_folder, *_, model_folder = environment["PYTHONPATH"].split(os.pathsep)
        if any(Path(folder, name).exists() for folder in (handler_folder, model_folder) for name in _RUN_AT_START):
            return False
        return _read_at_start(environment) == _read_at_start(self._environment)

    def _ensure_host(self) -> Host | None:
        """Return the host, started now if there is none; None if there is not to be one."""
        if self._host is None and self._is_wanted:
            self._environment = self._host_environment()
            self._host = Host("The blank host process", self._spawn, on_end=self._forget)
            self._host.hold()
        return self._host

    def _host_environment(self) -> dict[str, str]:
        """Return the environment of a worker, but for what belongs to its model."""
        environment = self._processes.environment(_BLANK)
        _, *inherited, _ = environment["PYTHONPATH"].split(os.pathsep)
        # Entries that are relative mean another folder to each worker.
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in inherited if os.path.isabs(entry))
        return environment

    async def _spawn(self, channel: int) -> ProcessWorker:
        return await self._processes.spawn(_BLANK, _log_line, self._environment, program=PROGRAM, descriptors=[channel])

    def _forget(self, ending: "asyncio.Task[None]") -> None:
        host, self._host = self._host, None
        # One that dies before it forks would do so again.
        if host is not None and not host.has_forked:
            self._is_wanted = False
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_READ_AT_START) and name != "PYTHONPATH"
    }


def _log_line(stream: str, line: str) -> None:
    logger.warning("The blank host process says on %s: %s", stream, line)
