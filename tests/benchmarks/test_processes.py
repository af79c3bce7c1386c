"""What is told about the processes of a server."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from .processes import ServerProcesses

# A front with a worker that has worked and ended, and two that wait for the end of standard input.
FRONT = """
import subprocess, sys
busy = "import time\\nwhile time.process_time() < 0.3: pass"
wait = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); sys.stdin.read()"
subprocess.run([sys.executable, "-c", busy], check=True)
for name in ("one", "other"):
    subprocess.Popen([sys.executable, "-c", wait, name], stdout=subprocess.PIPE).stdout.readline()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def front() -> Iterator[int]:
    command = [sys.executable, "-c", FRONT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid


def test_a_worker_that_has_ended_keeps_its_share_of_the_time(front: int) -> None:
    cpu = ServerProcesses(front).cpu()
    assert cpu.workers_s > 0.2  # of 0.3, counted in ticks
    assert cpu.front_s < cpu.workers_s


def test_workers_are_those_below_the_front(front: int) -> None:
    processes = ServerProcesses(front)
    assert processes.front.pid == front
    assert {one.name() for one in processes.workers} == {"one", "other"}
    assert "parents_mib" not in processes.memory()


def test_the_host_that_forks_workers_is_none_itself(front: int) -> None:
    [one, other] = ServerProcesses(front).workers
    wait = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", wait, "mms.worker.blank"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        host.stdout.readline()
        below = ServerProcesses(psutil.Process().pid).workers
        assert {one.pid, other.pid} <= {process.pid for process in below}
        assert host.pid not in {process.pid for process in below}


def test_a_front_may_stand_beside_its_workers(front: int) -> None:
    processes = ServerProcesses(front, front_name="one", worker_name="other")
    assert (processes.front.name(), [one.name() for one in processes.workers]) == ("one", ["other"])
    memory = processes.memory()
    assert memory["parents_mib"] == pytest.approx(psutil.Process(front).memory_info().rss / 2**20, rel=0.1)
    assert 0 < memory["worker_pss_mib"] <= memory["worker_mib"]
