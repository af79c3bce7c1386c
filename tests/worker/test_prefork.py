"""A host process and the workers that it forks, spoken to over sockets as the front end does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from real import make_model

from mms.protocol.coding import (
    decode_load_reply,
    decode_reply,
    encode_requests,
    encode_spec,
)
from mms.protocol.fork import FORK, ForkEvent, ForkReport, ReportReader
from mms.protocol.frames import (
    Buffer,
    FrameReader,
    pack,
)
from mms.protocol.messages import InferenceRequest, LoadReply, Parameter, Prediction, WorkerSpec

LIMIT_S = 30.0
ROOT = Path(__file__).parents[2]
START = "import sys; from mms.worker.prefork import main; main(*map(int, sys.argv[1:]))"

EVALUATES = """
import atexit, gc, os, sys, threading, time

def handle(data, context):
    return data and [repr(eval(bytes(request["body"]).decode())) for request in data]
"""


class Line:
    """One end of a socket that frames travel on."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair()
        self.socket.settimeout(LIMIT_S)
        self._reader = FrameReader()
        self._frames: list[list[Buffer]] = []

    def send(self, parts: Sequence[Buffer]) -> None:
        self.socket.sendall(b"".join(pack(parts)))

    def receive(self) -> list[Buffer]:
        while not self._frames:
            count = self.socket.recv_into(self._reader.get_buffer())
            if not count:
                raise EOFError
            self._frames += self._reader.received(count)
        return self._frames.pop(0)

    def load(self, folder: Path, gpu_id: int | None = None) -> LoadReply:
        self.send(encode_spec(WorkerSpec(model_name="m", model_dir=str(folder), handler="service.py", gpu_id=gpu_id)))
        return decode_load_reply(self.receive())

    def close(self) -> None:
        self.socket.close()
        self.theirs.close()


class Worker(Line):
    """What the front end has of one forked worker."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = 0
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.descriptors = [stdin, stdout, stderr]

    def evaluate(self, expression: str) -> object:
        self.send(encode_requests([InferenceRequest("r", b"", [Parameter("body", "", expression.encode())])]))
        [result] = decode_reply(self.receive()).results
        assert isinstance(result, Prediction)
        return eval(bytes(result.body))

    def last_words(self, descriptor: int) -> str:
        """Return all that it wrote to a stream; it must have ended or end soon."""
        text = b""
        while data := os.read(descriptor, 4096):
            text += data
        return text.decode()

    def give_away(self) -> None:
        """Close what belongs to the worker."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
        self.theirs.close()

    def close(self) -> None:
        super().close()
        for descriptor in (self.stdin, self.stdout, self.stderr, *self.descriptors):
            os.close(descriptor)


class Front:
    """The front end's half of a host process."""

    def __init__(self) -> None:
        self.control = Line()
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(LIMIT_S)
        self.workers: list[Worker] = []
        self._reader = ReportReader()
        self._reports: list[ForkReport] = []
        descriptors = [self.control.theirs.fileno(), theirs.fileno()]
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", START, *map(str, descriptors)],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.control.theirs.close()

    def fork(self, folder: Path | None = None, gpu_id: int | None = None) -> Worker:
        """Have a worker forked; with a folder, also send it its spec."""
        worker = Worker()
        self.workers.append(worker)
        socket.send_fds(self.channel, [FORK], [worker.theirs.fileno(), *worker.descriptors])
        worker.give_away()
        report = self.report()
        assert report.event is ForkEvent.FORKED
        worker.pid = report.pid
        if folder is not None:
            assert worker.load(folder, gpu_id).code == 200
        return worker

    def report(self) -> ForkReport:
        while not self._reports:
            data = self.channel.recv(4096)
            assert data, "the host is gone"
            self._reports += self._reader.received(data)
        return self._reports.pop(0)

    def last_words(self) -> str:
        self.process.wait(LIMIT_S)
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        for line in (self.control, *self.workers):
            line.close()
        self.channel.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def front() -> Iterator[Front]:
    one = Front()
    yield one
    one.close()


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    return lambda text="": make_model(tmp_path / "model", text + EVALUATES)


def test_loads_once_and_forks_as_often_as_it_is_asked(front: Front, model: Callable[..., Path]) -> None:
    folder = model("import os\nloaded_in = os.getpid()\n")
    assert front.control.load(folder).code == 200
    workers = [front.fork(folder) for _ in range(3)]
    assert [worker.evaluate("loaded_in") for worker in workers] == [front.process.pid] * 3
    assert [worker.evaluate("os.getpid()") for worker in workers] == [worker.pid for worker in workers]
    assert [worker.evaluate("os.getppid()") for worker in workers] == [front.process.pid] * 3


def test_worker_leaves_at_the_end_of_its_socket_and_the_host_says_so(front: Front, model: Callable[..., Path]) -> None:
    folder = model()
    front.control.load(folder)
    first, second = front.fork(folder), front.fork(folder)
    first.socket.close()
    assert front.report() == ForkReport(ForkEvent.ENDED, first.pid, 0)
    assert second.evaluate("1") == 1


@pytest.mark.parametrize(
    ("expression", "code", "words"),
    [
        ("os._exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(300)", 300 & 0xFF, ""),
        ("sys.exit('enough')", 1, "enough\n"),
        ("os.kill(os.getpid(), 11)", -11, ""),
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("exec('raise KeyboardInterrupt')", 1, "KeyboardInterrupt"),
    ],
)
def test_end_of_a_worker_is_reported_with_its_code(
    expression: str, code: int, words: str, front: Front, model: Callable[..., Path]
) -> None:
    folder = model()
    front.control.load(folder)
    worker = front.fork(folder)
    with pytest.raises(EOFError):
        worker.evaluate(expression)
    assert front.report() == ForkReport(ForkEvent.ENDED, worker.pid, code)
    assert words in worker.last_words(worker.stderr)
    assert front.fork(folder).evaluate("1") == 1


def test_worker_speaks_through_its_own_streams(front: Front, model: Callable[..., Path]) -> None:
    folder = model("print('of the load', end='')\n")
    front.control.load(folder)
    workers = [front.fork(folder) for _ in range(2)]
    for number, worker in enumerate(workers):
        worker.evaluate(f"print('worker', {number})")
        worker.socket.close()
    assert [worker.last_words(worker.stdout) for worker in workers] == ["worker 0\n", "worker 1\n"]


GPU = """
class Model:
    def initialize(self, context):
        self.at_load = context.system_properties["gpu_id"]

    def handle(self, data, context):
        return [repr([self.at_load, context.system_properties["gpu_id"]]) for _ in data]
"""


def test_model_is_loaded_without_a_gpu_and_each_worker_learns_its_own(front: Front, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", GPU)
    front.control.load(folder, gpu_id=1)
    assert [front.fork(folder, gpu_id=number).evaluate("") for number in (2, None)] == [[None, 2], [None, None]]


KINDS = """
def kinds():
    import os
    found = []
    for number in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is closed by now.
        if os.path.exists(f"/proc/self/fd/{number}") or os.path.islink(f"/proc/self/fd/{number}"):
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
    return sorted(found)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_worker_has_no_descriptors_but_its_own(front: Front, model: Callable[..., Path]) -> None:
    folder = model(KINDS)
    front.control.load(folder)
    front.fork(folder)
    assert front.fork(folder).evaluate("kinds()") == ["pipe", "pipe", "pipe", "socket"]


def test_nothing_of_ours_runs_beside_the_fork(front: Front, model: Callable[..., Path]) -> None:
    folder = model(
        "import os, threading\n"
        "threads = []\n"
        "os.register_at_fork(before=lambda: threads.append(threading.active_count()))\n"
    )
    front.control.load(folder)
    front.fork(folder)
    assert front.fork(folder).evaluate("threads") == [1, 1]


def test_garbage_collector_keeps_off_what_was_loaded(front: Front, model: Callable[..., Path]) -> None:
    folder = model()
    front.control.load(folder)
    frozen = front.fork(folder).evaluate("gc.get_freeze_count()")
    assert isinstance(frozen, int)
    assert frozen > 1000


def test_what_the_load_registered_for_the_exit_runs_in_the_host_only(front: Front, model: Callable[..., Path]) -> None:
    folder = model("import atexit, os, sys\natexit.register(lambda: print('bye', os.getpid(), file=sys.stderr))\n")
    front.control.load(folder)
    worker = front.fork(folder)
    worker.socket.close()
    front.report()
    assert worker.last_words(worker.stderr) == ""
    front.control.socket.close()
    assert front.last_words() == f"bye {front.process.pid}\n"


def test_threads_of_a_handler_are_warned_of(front: Front, model: Callable[..., Path]) -> None:
    front.control.load(
        model("import threading\nthreading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()\n")
    )
    front.channel.close()
    assert "the handler started threads while it loaded (mine)" in front.last_words()


def test_refused_fork_is_reported_and_the_next_one_works(front: Front, model: Callable[..., Path]) -> None:
    folder = model(
        "import errno, os\n"
        "fork = os.fork\n"
        "def refuse():\n"
        "    os.fork = fork\n"
        "    raise OSError(errno.EAGAIN, 'too many processes')\n"
        "os.fork = refuse\n"
    )
    front.control.load(folder)
    with pytest.raises(AssertionError):
        front.fork()
    worker = front.fork(folder)
    assert worker.evaluate("1") == 1


def test_failed_load_is_answered_and_ends_the_host(front: Front, tmp_path: Path) -> None:
    reply = front.control.load(make_model(tmp_path / "model", "raise RuntimeError('no weights')\n"))
    assert (reply.code, reply.message) == (500, "RuntimeError: no weights")
    assert 'service.py", line 1' in reply.traceback
    assert front.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("line", ["control", "channel"])
def test_host_leaves_when_either_socket_ends(line: str, front: Front, model: Callable[..., Path]) -> None:
    front.control.load(model())
    front.fork()
    (front.channel if line == "channel" else front.control.socket).shutdown(socket.SHUT_WR)
    assert front.process.wait(LIMIT_S) == 0
    assert front.last_words() == ""


def test_host_leaves_before_it_has_a_model(front: Front) -> None:
    front.control.socket.close()
    assert front.process.wait(LIMIT_S) == 0


def test_host_leaves_in_the_middle_of_a_load_when_the_front_end_is_gone(front: Front, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "import sys\nprint('go', file=sys.stderr, flush=True)\nwhile True: pass\n")
    front.control.send(encode_spec(WorkerSpec(model_name="m", model_dir=str(folder), handler="service.py")))
    assert front.process.stderr is not None
    assert front.process.stderr.readline() == b"go\n"
    assert front.process.stdin is not None
    front.process.stdin.close()
    assert front.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("expression", ["time.sleep(1000)", "exec('while True: pass')"])
def test_busy_worker_leaves_when_the_front_end_is_gone(
    expression: str, front: Front, model: Callable[..., Path]
) -> None:
    folder = model()
    front.control.load(folder)
    worker = front.fork(folder)
    worker.send(encode_requests([InferenceRequest("r", b"", [Parameter("body", "", expression.encode())])]))
    # As the death of the front end does; what it read from goes on to be open here.
    os.close(worker.stdin)
    worker.stdin = os.open(os.devnull, os.O_RDONLY)
    assert front.report().pid == worker.pid


def test_interrupt_is_ignored_by_host_and_workers(front: Front, model: Callable[..., Path]) -> None:
    folder = model()
    front.control.load(folder)
    worker = front.fork(folder)
    os.kill(worker.pid, signal.SIGINT)
    front.process.send_signal(signal.SIGINT)
    assert worker.evaluate("1") == 1
    assert front.fork(folder).evaluate("os.getpgid(0) == os.getpid()") is True
