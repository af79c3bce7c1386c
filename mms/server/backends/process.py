"""A new interpreter for each worker, and a socketpair. Runs in the front process."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mms
from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import LogLine
from mms.server.backends.output import WorkerOutput
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerInitializationException

WORKER = "mms.worker.__main__"
BOOTSTRAP = """
import importlib, sys
sys.path.append(sys.argv[1])
importlib.import_module(sys.argv[2]).main(*map(int, sys.argv[3:-1]))
"""
"""Our packages come last on the path: another runtime's interpreter has none of them, and must keep all of its own."""


class ProcessBackend:
    """Starts a fresh interpreter for every worker."""

    def __init__(self, config: Config) -> None:
        self._config = config

    async def start(
        self, spec: WorkerSpec, on_line: LogLine, *, program: str = WORKER, descriptors: Sequence[int] = ()
    ) -> ProcessWorker:
        """Start a worker and wait until it has loaded its model, at most `worker_start_timeout` seconds.

        Another `program` is a module whose `main` takes the descriptor of its socket and then these `descriptors`.
        """
        worker = await self.spawn(spec, on_line, self.environment(spec), program=program, descriptors=descriptors)
        await worker.start(spec, timeout_s=self._config.worker_start_timeout)
        return worker

    async def close(self) -> None:
        """Do nothing: this backend holds nothing beside its workers."""

    async def spawn(
        self,
        spec: WorkerSpec,
        on_line: LogLine,
        environment: Mapping[str, str],
        *,
        program: str = WORKER,
        descriptors: Sequence[int] = (),
    ) -> ProcessWorker:
        """Start the process only. Raises WorkerInitializationException."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        output = WorkerOutput(on_line)
        inherited = [theirs.fileno(), *descriptors]
        try:
            process, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: output,
                _interpreter(spec.runtime),
                "-c",
                BOOTSTRAP,
                str(Path(mms.__file__).parent.parent),
                program,
                *map(str, inherited),
                spec.model_name,
                pass_fds=inherited,
                cwd=spec.model_dir,
                env=environment,
                # Not in the group of the terminal: Ctrl-C is for the front end, which then ends its workers in order.
                # A session, since uvloop knows no `process_group`.
                start_new_session=True,
            )
        except BaseException as exc:
            ours.close()
            if isinstance(exc, OSError):
                raise WorkerInitializationException(f"Worker of model {spec.model_name} cannot start: {exc}") from exc
            raise
        finally:
            theirs.close()
        return await ProcessWorker.connect(process, output, ours, spec)

    def environment(self, spec: WorkerSpec) -> dict[str, str]:
        """Return the environment of a worker."""
        environment = {k: v for k, v in os.environ.items() if not self._config.hides_from_workers(k)}
        environment["PYTHONPATH"] = os.pathsep.join(_python_path(spec, environment))
        environment["MMS_DECODE_INPUT_REQUEST"] = "true" if spec.decode_input else "false"
        # mxnet, numpy and others start as many threads as there are cores, in every worker, unless told otherwise.
        environment.setdefault("OMP_NUM_THREADS", str(self._config.threads_per_worker))
        if environment["OMP_NUM_THREADS"] != "1":
            # Threads of GNU's OpenMP spin for long while they wait. That is fast as long as each has a CPU of its own,
            # but takes nine tenths of the time once there are more threads than CPUs (docs/performance.md).
            environment.setdefault("GOMP_SPINCOUNT", "1000")
        environment.setdefault("MXNET_USE_OPERATOR_TUNING", "0")
        environment.setdefault("PYTHONUNBUFFERED", "1")
        return environment


def _interpreter(runtime: str) -> str:
    if runtime == "python":
        return sys.executable
    found = shutil.which(runtime)
    if found is None:
        raise FileNotFoundError(f"the runtime {runtime} is not in PATH")
    return found


def _python_path(spec: WorkerSpec, environment: Mapping[str, str]) -> list[str]:
    """The handler's folder, what was there before, the model's folder (MMS: wlm/WorkerLifeCycle.java)."""
    handler_folder = (Path(spec.model_dir) / spec.handler.partition(":")[0]).parent
    inherited = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    return [str(handler_folder), *inherited, spec.model_dir]
