"""Worker processes: how they start, fail, speak, crash and end."""

import asyncio
import os
import re
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import DEADLINE_S, until
from fakes import ask as ask_batch
from real import make_model, runs

from mms.protocol.messages import Failure, InferenceRequest, Parameter, Prediction, PredictReply, WorkerSpec
from mms.server.backends.output import LOG_LINE_BYTES
from mms.server.backends.process import ProcessBackend
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerDied, WorkerInitializationException

LIMIT_S = 30.0
MIB = 1 << 20

Launch = Callable[..., Coroutine[None, None, ProcessWorker]]

EVALUATES = """
import ctypes, json, os, pathlib, signal, socket, subprocess, sys, time

def handle(data, context):
    if data is None:
        return None
    return [repr(eval(bytes(request["body"]).decode())) for request in data]
"""
"""A handler that does what the test says."""


class Lines:
    """Collects what a worker prints."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def __call__(self, stream: str, line: str) -> None:
        self.all.append((stream, line))

    def of(self, stream: str) -> list[str]:
        return [line for name, line in self.all if name == stream]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
async def launch(tmp_path: Path, config: Callable[..., Config], lines: Lines) -> AsyncIterator[Launch]:
    """Start workers of handlers given by name or text; `settings` are for the configuration, `spec` for the worker."""
    workers: list[ProcessWorker] = []

    async def start(
        code: str = EVALUATES, *, settings: dict[str, object] | None = None, **spec: object
    ) -> ProcessWorker:
        folder = tmp_path / f"model{len(list(tmp_path.glob('model*')))}"
        make_model(folder, code)
        usual: dict[str, object] = {
            "model_name": "m",
            "model_dir": str(folder),
            "handler": "service.py" if "\n" in code else f"{code}.py",
        }
        backend = ProcessBackend(config(**(settings or {})))
        async with asyncio.timeout(LIMIT_S):
            worker = await backend.start(WorkerSpec(**(usual | spec)), lines)  # type: ignore[arg-type]
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        await worker.stop(grace_s=DEADLINE_S)


async def ask(worker: ProcessWorker, body: str | bytes) -> PredictReply:
    value = body.encode() if isinstance(body, str) else body
    async with asyncio.timeout(LIMIT_S):
        return await ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", value)])])


async def evaluate(worker: ProcessWorker, expression: str) -> object:
    """Let the worker evaluate an expression of literals."""
    [result] = (await ask(worker, expression)).results
    assert isinstance(result, Prediction)
    return eval(bytes(result.body))


async def reason(worker: ProcessWorker) -> str:
    async with asyncio.timeout(LIMIT_S):
        return await worker.wait()


async def test_worker_runs_in_the_folder_of_its_model(launch: Launch, tmp_path: Path) -> None:
    worker = await launch()
    assert await evaluate(worker, "os.getcwd()") == str(tmp_path / "model0")
    assert await evaluate(worker, "os.getpid()") == worker.pid


async def test_python_path_is_handler_folder_inherited_model_folder(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/one:/two")
    worker = await launch(handler="service.py:handle")
    folder = str(tmp_path / "model0")
    assert await evaluate(worker, "os.environ['PYTHONPATH']") == f"{folder}:/one:/two:{folder}"


async def test_packages_of_the_server_come_last_on_the_path(launch: Launch) -> None:
    worker = await launch()
    path = await evaluate(worker, "[entry for entry in sys.path if not entry.startswith(os.getcwd())]")
    assert isinstance(path, list)
    import mms

    assert path[-1] == str(Path(mms.__file__).parent.parent)


async def test_environment_is_inherited_but_for_what_is_blacklisted(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MY_TOKEN", "MY_TOKEN_2", "OTHER"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    worker = await launch(settings={"blacklist_env_vars": re.compile("MY_TOKEN|NOTHING.*")})
    names = "('MY_TOKEN', 'MY_TOKEN_2', 'OTHER', 'OMP_NUM_THREADS')"
    assert await evaluate(worker, f"[os.environ.get(name) for name in {names}]") == [None, "x", "x", "1"]


async def test_threads_are_the_users_choice_if_he_made_one(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert await evaluate(await launch(), "os.environ['OMP_NUM_THREADS']") == "3"


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, ["1", None]),
        ({"threads_per_worker": 4}, {}, ["4", "1000"]),
        ({"threads_per_worker": 4}, {"OMP_NUM_THREADS": "1"}, ["1", None]),
        ({"threads_per_worker": 4}, {"GOMP_SPINCOUNT": "7"}, ["4", "7"]),
    ],
)
async def test_several_threads_do_not_spin_for_long(
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    environment: dict[str, str],
    expected: list[str | None],
) -> None:
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    worker = await launch(settings=settings)
    assert await evaluate(worker, "[os.environ.get(n) for n in ('OMP_NUM_THREADS', 'GOMP_SPINCOUNT')]") == expected


async def test_printed_lines_arrive_with_their_stream(launch: Launch, lines: Lines) -> None:
    worker = await launch()
    await ask(worker, r"print('one\ntwo', flush=True)")
    await ask(worker, "print('three', file=sys.stderr)")
    await ask(worker, r"sys.stdout.buffer.write(b'\xff four\r\n') and sys.stdout.flush()")
    await until(lambda: len(lines.of("stdout")) == 3 and "three" in lines.of("stderr"))
    assert lines.of("stdout") == ["one", "two", "� four"]


async def test_last_words_without_a_line_end_arrive(launch: Launch, lines: Lines) -> None:
    worker = await launch()
    with pytest.raises(WorkerDied):
        await ask(worker, "[print('the end', end='', flush=True), os._exit(0)]")
    await reason(worker)
    assert lines.of("stdout") == ["the end"]


async def test_line_without_end_is_cut(launch: Launch, lines: Lines) -> None:
    worker = await launch()
    await ask(worker, f"print('x' * {3 * LOG_LINE_BYTES}, flush=True)")
    await until(lambda: sum(map(len, lines.of("stdout"))) == 3 * LOG_LINE_BYTES)
    assert max(map(len, lines.of("stdout"))) <= 2 * LOG_LINE_BYTES


async def test_what_a_failing_load_printed_arrives_before_the_error(launch: Launch, lines: Lines) -> None:
    with pytest.raises(WorkerInitializationException):
        await launch("import sys\nprint('loading')\nprint('oh', file=sys.stderr)\nraise SystemError\n")
    assert lines.of("stdout") == ["loading"]
    assert "oh" in lines.of("stderr")


@pytest.mark.parametrize(
    ("handler", "message", "in_traceback"),
    [
        ("bad_init", "RuntimeError: the weights are not there", "bad_init.py"),
        ("broken_syntax", "SyntaxError", "def handle(data, context)"),
        ("missing_dependency", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'", "line 3"),
    ],
)
async def test_load_that_raises_says_what_and_where(
    launch: Launch, handler: str, message: str, in_traceback: str
) -> None:
    with pytest.raises(WorkerInitializationException, match=message) as failed:
        await launch(handler)
    assert failed.value.status == 500
    assert in_traceback in failed.value.traceback


async def test_load_that_runs_out_of_memory_is_507(launch: Launch) -> None:
    with pytest.raises(WorkerInitializationException) as failed:
        await launch("raise MemoryError\n")
    assert failed.value.status == 507


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("os._exit(3)", "it exited with code 3"),
        ("sys.exit(4)", "it exited with code 4"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "SIGKILL, perhaps out of memory"),
    ],
)
async def test_load_that_ends_the_process_says_why(launch: Launch, statement: str, why: str) -> None:
    with pytest.raises(WorkerInitializationException, match=f"ended while it loaded: {re.escape(why)}"):
        await launch(f"import os, sys\n{statement}\n")


async def test_load_that_takes_too_long_is_ended(launch: Launch, tmp_path: Path) -> None:
    with pytest.raises(WorkerInitializationException, match=r"did not load in 0\.5 s \(worker_start_timeout\)"):
        await launch(
            "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n",
            settings={"worker_start_timeout": 0.5},
        )
    file = tmp_path / "model0" / "pid"
    if file.exists() and file.read_text():
        assert not psutil.pid_exists(int(file.read_text()))


async def test_cancelled_load_leaves_no_process(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "model0" / "pid"
    loading = asyncio.create_task(
        launch("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n")
    )
    await until(lambda: file.exists() and file.read_text())
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not psutil.pid_exists(int(file.read_text()))


async def test_runtime_that_is_not_installed_is_named(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WorkerInitializationException, match="cannot start: the runtime python2 is not in PATH"):
        await launch(runtime="python2")


async def test_runtime_is_looked_up_in_path(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python3 = tmp_path / "bin" / "python3"
    python3.parent.mkdir()
    python3.write_text(f'#!/bin/sh\nWHO=mine exec {sys.executable} "$@"\n')
    python3.chmod(0o755)
    monkeypatch.setenv("PATH", str(python3.parent))
    assert await evaluate(await launch(runtime="python3"), "os.environ['WHO']") == "mine"


async def test_folder_that_is_gone_is_a_failed_start(launch: Launch) -> None:
    with pytest.raises(WorkerInitializationException, match="cannot start: .*No such file"):
        await launch(model_dir="/nowhere/at/all")


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("os._exit(7)", "it exited with code 7"),
        ("sys.exit(0)", "it exited with code 0"),
        ("os.kill(os.getpid(), 9)", "SIGKILL, perhaps out of memory"),
        ("os.kill(os.getpid(), 15)", "SIGTERM"),
        ("ctypes.string_at(0)", "SIGSEGV"),
    ],
)
async def test_death_during_a_batch_fails_it_and_says_why(launch: Launch, expression: str, why: str) -> None:
    worker = await launch()
    with pytest.raises(WorkerDied, match=r"Worker died\."):
        await ask(worker, expression)
    assert await reason(worker) == why


async def test_kill_of_an_idle_worker_is_noticed(launch: Launch) -> None:
    worker = await launch()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await reason(worker) == "SIGKILL, perhaps out of memory"
    with pytest.raises(WorkerDied):
        await ask(worker, "1")


async def test_interrupt_from_the_terminal_is_not_for_workers(launch: Launch) -> None:
    worker = await launch()
    assert worker.pid is not None
    assert os.getpgid(worker.pid) != os.getpgid(0)
    os.kill(worker.pid, signal.SIGINT)
    assert await evaluate(worker, "6 * 7") == 42


async def test_stop_lets_an_idle_worker_leave_by_itself(launch: Launch, tmp_path: Path) -> None:
    worker = await launch("import atexit\natexit.register(lambda: open('left', 'w').close())" + EVALUATES)
    await worker.stop(grace_s=DEADLINE_S)
    assert (tmp_path / "model0" / "left").exists()
    assert await reason(worker) == "it exited with code 0"


async def test_stop_forces_a_busy_worker(launch: Launch) -> None:
    worker = await launch()
    answer = ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", b"time.sleep(1000)")])])
    await worker.stop(grace_s=0.1)
    with pytest.raises(WorkerDied):
        await answer
    assert worker.pid is not None
    assert not psutil.pid_exists(worker.pid)
    assert await reason(worker) == "killed: it did not end within 0.1 s"


async def test_worker_that_ignores_signals_is_stopped(launch: Launch) -> None:
    worker = await launch("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + EVALUATES)
    ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", b"exec('while True: pass')")])])
    await worker.stop(grace_s=0)
    assert worker.pid is not None
    assert not psutil.pid_exists(worker.pid)


async def test_grandchild_that_keeps_the_pipes_open_does_not_delay_the_end(launch: Launch) -> None:
    worker = await launch()
    child = await evaluate(worker, "subprocess.Popen(['sleep', '1000']).pid")
    assert isinstance(child, int)
    try:
        async with asyncio.timeout(LIMIT_S):
            await worker.stop(grace_s=DEADLINE_S)
        assert await reason(worker) == "it exited with code 0"
    finally:
        os.kill(child, signal.SIGKILL)


async def test_large_bodies_travel_whole_in_both_directions(launch: Launch) -> None:
    worker = await launch(
        "def handle(data, context):\n    return data and [bytes(r['body'])[::-1] for r in data]\n",
        max_response_bytes=9 * MIB,
    )
    body = os.urandom(8 * MIB)
    [result] = (await ask(worker, body)).results
    assert isinstance(result, Prediction)
    assert result.body == body[::-1]


async def test_large_batch_is_taken_while_a_large_answer_is_sent(launch: Launch) -> None:
    worker = await launch(
        "def handle(data, context):\n    return data and [bytes(r['body']) for r in data]\n", max_response_bytes=9 * MIB
    )
    sent = [bytes([number]) * (2 * MIB) for number in range(6)]
    answers = [ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", body)])]) for body in sent]
    async with asyncio.timeout(LIMIT_S):
        for answer, body in zip(answers, sent, strict=True):
            [result] = (await answer).results
            assert isinstance(result, Prediction)
            assert result.body == body


async def test_answer_above_the_limit_fails_and_the_worker_lives(launch: Launch) -> None:
    worker = await launch(max_response_bytes=1000)
    [result] = (await ask(worker, "'x' * 2000")).results
    assert isinstance(result, Failure)
    assert await evaluate(worker, "1") == 1


GARBAGE = """
import os, socket, struct

def handle(data, context):
    if data is None:
        return None
    for number in range(3, 64):
        try:
            kind = socket.socket(fileno=os.dup(number)).type
        except OSError:
            continue
        os.write(number, {garbage})
    return ["fine" for _ in data]
"""


@pytest.mark.parametrize(
    "garbage", ['b"[METRICS] this is not for you"', r'b"\0" * 100', r'b"\1\0\0\0\2\0\0\0\0\0\0\0{}"']
)
async def test_worker_that_writes_garbage_to_its_socket_is_ended(launch: Launch, garbage: str) -> None:
    worker = await launch(GARBAGE.replace("{garbage}", garbage))
    with pytest.raises(WorkerDied):
        await ask(worker, "x")
    assert "it broke the protocol" in await reason(worker)


async def test_answer_that_nobody_asked_for_ends_the_worker(launch: Launch) -> None:
    worker = await launch(GARBAGE.replace("{garbage}", "struct.pack('<IQQQd', 2, 8, 8, 0, 0)"))
    reply = await ask(worker, "x")
    assert reply.results == []
    assert "an answer that nobody asked for" in await reason(worker)


async def test_load_reply_that_is_none_is_a_failed_load(launch: Launch) -> None:
    with pytest.raises(WorkerInitializationException, match="it broke the protocol"):
        await launch(
            "import os, socket\n"
            "for number in range(3, 64):\n"
            "    try:\n"
            "        socket.socket(fileno=os.dup(number))\n"
            "    except OSError:\n"
            "        continue\n"
            "    os.write(number, b'hello there, this is no frame')\n"
        )


async def test_stopped_workers_leave_no_descriptors(launch: Launch) -> None:
    worker = await launch()
    await worker.stop(grace_s=DEADLINE_S)
    await until(lambda: True)
    before = psutil.Process().num_fds()
    for _ in range(3):
        worker = await launch()
        await worker.stop(grace_s=DEADLINE_S)
    await until(lambda: psutil.Process().num_fds() <= before)


async def test_failed_starts_leave_no_descriptors(launch: Launch) -> None:
    with pytest.raises(WorkerInitializationException):
        await launch("bad_init")
    before = psutil.Process().num_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for handler, spec in (("bad_init", {}), (EVALUATES, {"model_dir": "/nowhere"}), ("raise MemoryError\n", {})):
            with pytest.raises(WorkerInitializationException):
                await launch(handler, **spec)
    await until(lambda: psutil.Process().num_fds() <= before)


FRONT = """
import asyncio, sys
from mms.protocol.messages import InferenceRequest, Parameter, WorkerSpec
from mms.server.backends.process import ProcessBackend
from mms.server.config import Config

async def main():
    spec = WorkerSpec(model_name="m", model_dir=sys.argv[1], handler="service.py")
    worker = await ProcessBackend(Config()).start(spec, lambda stream, line: print(line, flush=True))
    request = InferenceRequest("r", b"", [Parameter("body", "", sys.argv[2].encode())])
    worker.predict([request], lambda reply: None)
    print("pid", worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "body",
    ["1", "print('busy', flush=True) or exec('while True: pass')", "print('busy', flush=True) or time.sleep(1000)"],
    ids=["idle", "endless loop", "asleep"],
)
async def test_worker_ends_when_its_front_end_is_killed(body: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", EVALUATES)
    root = str(Path(__file__).parents[3])
    front = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FRONT, str(model), body),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert front.stdout is not None
    pid = 0
    async with asyncio.timeout(LIMIT_S):
        try:
            words: list[str] = []
            while not pid or ("busy" in body and "busy" not in words):
                words = (await front.stdout.readline()).decode().split()
                assert words, "the front end ended by itself"
                pid = int(words[1]) if words[0] == "pid" else pid
        finally:
            front.kill()
            await front.wait()
    await until(lambda: not runs(pid))


async def test_spec_travels_to_the_handler(launch: Launch) -> None:
    worker = await launch(
        "def handle(data, context):\n"
        "    return data and [[context.model_name, context.system_properties['gpu_id'], context.system_properties["
        "'batch_size'], type(data[0]['body']).__name__]]\n",
        model_name="ä name",
        gpu_id=3,
        batch_size=5,
        decode_input=False,
    )
    request = InferenceRequest("r", b"", [Parameter("body", "application/json", b"{}")])
    async with asyncio.timeout(LIMIT_S):
        [result] = (await ask_batch(worker, [request])).results
    assert isinstance(result, Prediction)
    assert eval(bytes(result.body)) == ["ä name", 3, 5, "bytearray"]
