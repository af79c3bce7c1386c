"""The server as a process of its own: what is left of it and its workers, however it ends."""

import asyncio
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fakes import until
from real import is_blank_host

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0


@dataclass
class Launched:
    """A server that was started from the command line."""

    process: psutil.Process
    inference: str
    temp: Path

    @property
    def below(self) -> list[psutil.Process]:
        """The processes below it."""
        return self.process.children(recursive=True)

    @property
    def workers(self) -> list[psutil.Process]:
        """Those that run a handler."""
        return [process for process in self.below if not is_blank_host(process)]

    @property
    def hosts(self) -> list[psutil.Process]:
        """Those that workers are forked from."""
        return [process for process in self.below if is_blank_host(process)]

    async def ask(self, body: bytes) -> bytes:
        """Ask the model `slow`."""
        request = urllib.request.Request(f"{self.inference}/predictions/slow", data=body, method="POST")
        request.add_header("Content-Type", "application/octet-stream")

        def send() -> bytes:
            try:
                with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                    answer: bytes = response.read()
            except urllib.error.HTTPError as error:
                # It holds its connection, and whoever awaits the task may drop it.
                error.close()
                raise
            return answer

        return await asyncio.to_thread(send)


Launch = Callable[[], Awaitable[Launched]]


@pytest.fixture
async def launch(mar: Callable[..., Path], store: Path, tmp_path: Path) -> AsyncIterator[Launch]:
    """Start `python -m mms --foreground` with two workers of the model `slow`."""
    mar("slow")
    temp = tmp_path / "temp"
    temp.mkdir()
    (tmp_path / "config.properties").write_text(
        "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n"
        "default_workers_per_model=2\nshutdown_timeout=1\n"
    )
    started: list[asyncio.subprocess.Process] = []

    async def start() -> Launched:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mms", "--foreground", "--mms-config", "config.properties"),
            *("--model-store", str(store), "--models", "slow.mar"),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TEMP": str(temp), "LOG_LOCATION": str(tmp_path / "logs")},
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        inference = ""
        async with asyncio.timeout(LIMIT_S):
            while (line := (await process.stdout.readline()).decode()) != "Model server started.\n":
                assert line, "the server ended before it was ready"
                found = re.search(r"Listening on (http://\S+)", line)
                inference = inference or (found[1] if found else "")
        launched = Launched(psutil.Process(process.pid), inference, temp)
        assert await launched.ask(b"0") == b"slept"
        await until(lambda: len(launched.workers) == 2)
        return launched

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        # Its end of the pipe is read out, so that asyncio sees the end.
        await process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(map(runs, processes))


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [False, True])
async def test_signal_leaves_no_process_and_no_file(launch: Launch, number: signal.Signals, busy: bool) -> None:
    server = await launch()
    below = server.below
    asked = asyncio.create_task(server.ask(b"0.3")) if busy else None
    if asked is not None:
        await asyncio.sleep(0.1)
    server.process.send_signal(number)
    await until(lambda: gone([server.process, *below]))
    assert list(server.temp.iterdir()) == []
    if asked is not None:
        assert await asked == b"slept"


async def test_stuck_worker_does_not_keep_the_server_up(launch: Launch) -> None:
    server = await launch()
    below = server.below
    asked = asyncio.create_task(server.ask(b"1000"))
    await asyncio.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    await until(lambda: gone([server.process, *below]))
    assert list(server.temp.iterdir()) == []
    with pytest.raises(OSError):
        await asked


async def test_interrupt_at_the_terminal_lets_running_requests_finish(launch: Launch) -> None:
    server = await launch()
    below = server.below
    asked = asyncio.create_task(server.ask(b"0.3"))
    await asyncio.sleep(0.1)
    # What Ctrl-C does: to the whole foreground group.
    os.killpg(os.getpgid(server.process.pid), signal.SIGINT)
    assert await asked == b"slept"
    await until(lambda: gone([server.process, *below]))


async def test_kill_of_the_server_ends_its_workers(launch: Launch) -> None:
    server = await launch()
    below = server.below
    asked = asyncio.create_task(server.ask(b"1000"))
    await asyncio.sleep(0.1)
    server.process.kill()
    await until(lambda: gone([server.process, *below]))
    with pytest.raises(OSError):
        await asked


async def test_kill_of_a_worker_is_repaired(launch: Launch) -> None:
    server = await launch()
    before = {worker.pid for worker in server.workers}
    for worker in server.workers:
        worker.kill()
    await until(lambda: len({worker.pid for worker in server.workers} - before) == 2)
    assert await server.ask(b"0") == b"slept"


async def test_kill_of_the_host_is_repaired_and_disturbs_no_worker(launch: Launch) -> None:
    server = await launch()
    before = server.workers
    [host] = server.hosts
    asked = asyncio.create_task(server.ask(b"0.3"))
    host.kill()
    assert await asked == b"slept"
    await until(lambda: gone([host]))
    assert not gone(before[:1])
    assert not gone(before[1:])
    for worker in before:
        worker.kill()
    await until(lambda: len(server.workers) == 2 and len(server.hosts) == 1)
    assert await server.ask(b"0") == b"slept"
    server.process.send_signal(signal.SIGTERM)
    below = server.below
    await until(lambda: gone([server.process, *below]))
