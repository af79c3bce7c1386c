"""Stopping servers, with stand-ins that take their time; test_cli.py does it with the real one."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from mms.server import stop as stopping
from mms.server.pid_file import MARKER

SERVER = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
def stop(number, frame):
    {on_stop}
signal.signal(signal.SIGTERM, stop)
print(child.pid, flush=True)
while True:
    signal.pause()
"""
Spawn = Callable[..., tuple["subprocess.Popen[bytes]", psutil.Process]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    started: list[tuple[subprocess.Popen[bytes], psutil.Process]] = []

    def start(on_stop: str, *arguments: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        command = [sys.executable, "-c", SERVER.format(on_stop=on_stop), MARKER, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        started.append((process, psutil.Process(int(process.stdout.readline()))))
        return started[-1]

    yield start
    for process, child in started:
        for one in (process, child):
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.communicate()


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_server_ends_in_order(spawn: Spawn) -> None:
    process, child = spawn("child.terminate(); child.wait(); sys.exit(7)")
    # Its parent, this test, does not reap it before: a zombie counts as gone.
    stopping.stop(psutil.Process(process.pid))
    assert is_gone(child)
    assert process.wait() == 7


def test_server_that_does_not_end_is_killed_with_its_children(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_MARGIN_S", 0.1)
    process, child = spawn("pass", "--shutdown-timeout=0.2")
    stopping.stop(psutil.Process(process.pid))
    assert process.wait() == -signal.SIGKILL
    assert is_gone(child)


def test_children_that_outlive_the_server_are_killed(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_MARGIN_S", 0.2)
    process, child = spawn("sys.exit(0)")
    stopping.stop(psutil.Process(process.pid))
    assert process.wait() == 0
    assert is_gone(child)


def test_server_that_is_gone_already_is_no_error(spawn: Spawn) -> None:
    process, _ = spawn("sys.exit(0)")
    handle = psutil.Process(process.pid)
    process.kill()
    process.wait()
    stopping.stop(handle)
