"""A worker process, spoken to over its socket as the front end does."""

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
from mms.protocol.frames import (
    Buffer,
    FrameReader,
    pack,
)
from mms.protocol.messages import Failure, InferenceRequest, LoadReply, Parameter, Prediction, PredictReply, WorkerSpec

LIMIT_S = 30.0
ROOT = Path(__file__).parents[2]

ECHO = """
def handle(data, context):
    return data and [bytes(request["body"]) for request in data]
"""


class Front:
    """The front end's half: a process, its socket, and what was read from it but not asked for yet."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(LIMIT_S)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mms.worker", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self._reader = FrameReader()
        self._frames: list[list[Buffer]] = []

    def send(self, parts: Sequence[Buffer]) -> None:
        self.socket.sendall(b"".join(pack(parts)))

    def receive(self) -> list[Buffer]:
        while not self._frames:
            count = self.socket.recv_into(self._reader.get_buffer())
            if not count:
                raise EOFError(self.process.wait(LIMIT_S))
            self._frames += self._reader.received(count)
        return self._frames.pop(0)

    def load(self, folder: Path, handler: str = "service.py") -> LoadReply:
        self.send(encode_spec(WorkerSpec(model_name="m", model_dir=str(folder), handler=handler, batch_size=4)))
        return decode_load_reply(self.receive())

    def predict(self, *bodies: bytes) -> PredictReply:
        self.send(
            encode_requests([InferenceRequest(f"r{body[:9]!r}", b"", [Parameter("body", "", body)]) for body in bodies])
        )
        return decode_reply(self.receive())

    def last_words(self) -> str:
        """Wait for the end and return all that was written to standard error."""
        self.process.wait(LIMIT_S)
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def front() -> Iterator[Front]:
    one = Front()
    yield one
    one.close()


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], Path]:
    return lambda handler: make_model(tmp_path / "model", handler)


def bodies(reply: PredictReply) -> list[bytes]:
    return [bytes(result.body) if isinstance(result, Prediction) else b"" for result in reply.results]


def test_loads_once_then_answers_batch_after_batch(front: Front, model: Callable[[str], Path]) -> None:
    assert front.load(model(ECHO)).code == 200
    assert bodies(front.predict(b"a", b"b")) == [b"a", b"b"]
    assert bodies(front.predict(b"c")) == [b"c"]


def test_batches_sent_together_are_answered_in_order(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model(ECHO))
    parts = [encode_requests([InferenceRequest("r", b"", [Parameter("body", "", b"%d" % n)])]) for n in range(50)]
    front.socket.sendall(b"".join(b"".join(pack(part)) for part in parts))
    assert [bodies(decode_reply(front.receive())) for _ in parts] == [[b"%d" % n] for n in range(50)]


def test_spec_and_batch_sent_together_are_both_answered(front: Front, model: Callable[[str], Path]) -> None:
    spec = encode_spec(WorkerSpec(model_name="m", model_dir=str(model(ECHO)), handler="service.py"))
    batch = encode_requests([InferenceRequest("r", b"", [Parameter("body", "", b"x")])])
    front.socket.sendall(b"".join([*pack(spec), *pack(batch)]))
    assert decode_load_reply(front.receive()).code == 200
    assert bodies(decode_reply(front.receive())) == [b"x"]


def test_large_bodies_travel_in_both_directions(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model(ECHO))
    sizes = (1 << 16, (1 << 16) + 1, 5_000_000)
    assert [list(map(len, bodies(front.predict(b"x" * size)))) for size in sizes] == [[size] for size in sizes]


def test_leaves_at_the_end_of_its_socket(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model(ECHO))
    front.socket.shutdown(socket.SHUT_WR)
    assert front.process.wait(LIMIT_S) == 0


def test_leaves_before_it_has_a_model(front: Front) -> None:
    front.socket.close()
    assert front.process.wait(LIMIT_S) == 0


def test_leaves_quietly_when_nobody_takes_its_answer(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model("import time\ndef handle(data, context):\n    time.sleep(0.2)\n    return ['x' * 9000000]\n"))
    batch = encode_requests([InferenceRequest("r", b"", [])])
    front.send(batch)
    front.socket.close()
    assert front.process.wait(LIMIT_S) == 0
    assert "Traceback" not in front.last_words()


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(1000)"])
def test_leaves_in_the_middle_of_a_batch_when_the_front_end_is_gone(
    body: str, front: Front, model: Callable[[str], Path]
) -> None:
    front.load(model("def handle(data, context):\n    data and exec(bytes(data[0]['body']).decode())\n"))
    front.send(encode_requests([InferenceRequest("r", b"", [Parameter("body", "", body.encode())])]))
    assert front.process.stdin is not None
    front.process.stdin.close()
    assert front.process.wait(LIMIT_S) == 0


def test_handler_that_reads_its_standard_input_finds_nothing_to_lose(
    front: Front, model: Callable[[str], Path]
) -> None:
    front.load(model("import sys\ndef handle(data, context):\n    return data and [str(sys.stdin.fileno())]\n"))
    assert bodies(front.predict(b"")) == [b"0"]
    assert front.process.poll() is None


def test_failed_load_is_answered_and_ends_the_process(front: Front, model: Callable[[str], Path]) -> None:
    reply = front.load(model("raise RuntimeError('no weights')\n"))
    assert (reply.code, reply.message) == (500, "RuntimeError: no weights")
    assert 'service.py", line 1' in reply.traceback
    assert front.process.wait(LIMIT_S) == 0


def test_handler_that_raises_is_answered_and_lives(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model("def handle(data, context):\n    return data and 1 / 0\n"))
    for _ in range(2):
        assert front.predict(b"x").results == [Failure(503, "InternalServerException", "Prediction failed")]


@pytest.mark.parametrize(("statement", "code"), [("raise SystemExit(5)", 5), ("import os; os._exit(6)", 6)])
def test_handler_that_exits_ends_the_process(
    statement: str, code: int, front: Front, model: Callable[[str], Path]
) -> None:
    front.load(model(f"def handle(data, context):\n    if data:\n        {statement}\n"))
    with pytest.raises(EOFError, match=str(code)):
        front.predict(b"x")


def test_interrupt_is_ignored(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model(ECHO))
    front.process.send_signal(signal.SIGINT)
    assert bodies(front.predict(b"x")) == [b"x"]


def test_log_records_of_a_handler_are_lines_on_standard_output(front: Front, model: Callable[[str], Path]) -> None:
    front.load(model("import logging\nlogging.info('weights: %d', 7)\n" + ECHO))
    front.socket.close()
    front.process.wait(LIMIT_S)
    assert front.process.stdout is not None
    assert front.process.stdout.read().decode().splitlines() == ["weights: 7"]
