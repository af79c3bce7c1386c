"""Servers that run for a while: started, waited for, asked, and stopped whatever happens."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil

from .peers import PORTS_EACH, Launch, Peer
from .processes import ServerProcesses

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.002
PORTS = range(20000, 32000)
"""MMS takes none from 32767 up."""


class ServerError(Exception):
    """A server did not start, or did not do what it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a server serves: one archive under the name `bench`."""

    archive: Path
    answer: str = ""
    """Which of models.HANDLERS that is, for a peer that cannot read the archive."""
    workers: int = 1
    batch_size: int = 1
    max_batch_delay_ms: int = 100
    queue: int = 1000
    """`job_queue_size`: MMS's 100 would refuse some of 128 clients."""
    preload: bool = False
    at_startup: bool = False
    """Whether the server loads the model while it starts; else it is registered afterwards."""


class Server:
    """A server that was started, perhaps not ready yet."""

    def __init__(self, peer: Peer, setup: Setup, folder: Path) -> None:
        """Start it in `folder`, which is its own."""
        self.setup = setup
        self._peer = peer
        self._port = _free_ports()
        self._management_port = self._port + 1
        self._folder = folder
        for name in ("temp", "logs"):
            (folder / name).mkdir(parents=True)
        (folder / "config.properties").write_text(self._properties())
        models = (f"bench={setup.archive.name}",) if setup.at_startup else ()
        launch = Launch(
            folder=folder, port=self._port, answer=setup.answer, store=setup.archive.parent, startup_models=models
        )
        environment = peer.environment() | {
            **dict.fromkeys(("TEMP", "TMPDIR"), str(folder / "temp")),
            **dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(folder / "logs")),
        }
        with (folder / "output").open("wb") as output:
            self.begin = time.monotonic()
            self._process = subprocess.Popen(
                peer.command(launch),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop it, and whatever it leaves behind
            )
        self.processes = ServerProcesses(self._process.pid, front_name=peer.front_name, worker_name=peer.worker_name)

    @property
    def port(self) -> int:
        """Where predictions are made."""
        return self._port

    @property
    def compiles(self) -> bool:
        """Whether it gets faster while it runs, as a JVM does."""
        return self._peer.front_name == "java"

    def wait_for_ping(self) -> float:
        """Return the seconds from the start to the first good answer of /ping."""
        return self._wait_for("GET", "/ping", b"")

    def wait_for_prediction(self, body: bytes) -> float:
        """Return the seconds from the start to the first prediction."""
        return self._wait_for("POST", "/predictions/bench", body)

    def predict(self, body: bytes, content_type: str = "application/octet-stream") -> bytes:
        """Ask for one prediction."""
        return self._ask(self._port, "POST", "/predictions/bench", body, content_type)

    def predictions(self, name: str = "bench") -> str:
        """Return the URL of a model's predictions."""
        return f"http://127.0.0.1:{self._port}/predictions/{name}"

    def register(self, name: str = "bench", *, archive: Path | None = None, workers: int | None = None) -> None:
        """Register the archive, or another one of its store, and wait for its workers."""
        setup = self.setup
        query: dict[str, str | int] = {
            "url": (archive or setup.archive).name,
            "model_name": name,
            "initial_workers": setup.workers if workers is None else workers,
            "batch_size": setup.batch_size,
            "max_batch_delay": setup.max_batch_delay_ms,
            "synchronous": "true",
        }
        self._ask(self._management_port, "POST", f"/models?{urlencode(query)}")

    def unregister(self, name: str = "bench") -> None:
        """Remove the model."""
        self._ask(self._management_port, "DELETE", f"/models/{name}")

    def scale(self, workers: int) -> None:
        """Wait until the model has so many workers."""
        self._ask(
            self._management_port, "PUT", f"/models/bench?min_worker={workers}&max_worker={workers}&synchronous=true"
        )

    def stop(self) -> None:
        """End the server and everything that it started; MMS leaves some of it running."""
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self._process.pid).children(recursive=True)
            # MMS's launcher passes no signal on; it ends when its JVM does.
            self.processes.front.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # Its own session, so its own group: nobody else's processes are in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def output(self) -> str:
        """Return the end of what it printed."""
        return (self._folder / "output").read_text(errors="replace")[-2000:]

    def _properties(self) -> str:
        setup = self.setup
        lines = {
            "inference_address": f"http://127.0.0.1:{self._port}",
            "management_address": f"http://127.0.0.1:{self._management_port}",
            "model_store": str(setup.archive.parent),
            "job_queue_size": str(setup.queue),
            "default_workers_per_model": str(setup.workers),
            "preload_model": "true" if setup.preload else "false",
            **self._peer.properties,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _wait_for(self, method: str, path: str, body: bytes) -> float:
        while time.monotonic() - self.begin < START_TIMEOUT_S:
            if self._process.poll() is not None:
                raise ServerError(f"{self._peer.name} ended with code {self._process.returncode}: {self.output()}")
            # Not there yet, or its model is not.
            with contextlib.suppress(OSError, http.client.HTTPException, ServerError):
                self._ask(self._port, method, path, body)
                return time.monotonic() - self.begin
            time.sleep(POLL_S)
        raise ServerError(f"{self._peer.name} did not answer {path} in {START_TIMEOUT_S:g} s: {self.output()}")

    def _ask(self, port: int, method: str, path: str, body: bytes = b"", content_type: str = "") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ServerError(f"{self._peer.name} answered {path} with {response.status}: {answer[:500]!r}")
        return answer


@contextlib.contextmanager
def started(peer: Peer, setup: Setup, folder: Path) -> Iterator[Server]:
    """Start a server, not waiting for it, and stop it at the end."""
    server = Server(peer, setup, folder)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running(peer: Peer, setup: Setup, folder: Path) -> Iterator[Server]:
    """Run a server with its model ready."""
    with started(peer, setup, folder) as server:
        server.wait_for_ping()
        if peer.has_management:
            server.register()
        yield server


def _free_ports() -> int:
    """Return the first of PORTS_EACH ports next to each other that nobody listens on."""
    while True:
        first = random.choice(PORTS[:-PORTS_EACH])
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + PORTS_EACH):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
