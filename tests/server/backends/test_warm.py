"""Workers forked from a blank host: nothing about them may be different from workers started by themselves."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from fakes import DEADLINE_S, until
from fakes import ask as ask_batch
from real import is_blank_host, make_model, runs

from mms.protocol.messages import InferenceRequest, Parameter, Prediction, PredictReply, WorkerSpec
from mms.server.backends.process import ProcessBackend
from mms.server.backends.warm import WarmBackend
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerDied, WorkerInitializationException

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is started by itself")

LIMIT_S = 30.0

EVALUATES = """
import os, subprocess, sys, time
seen = {}

def handle(data, context):
    if data is None:
        return None
    return [repr(eval(bytes(request["body"]).decode(), globals())) for request in data]

def run(code):
    names = {}
    exec(code, names)
    return names["result"]
"""
"""A handler that does what the test says."""


class Lines(list[tuple[str, str]]):
    """Collects what a worker prints."""

    def __call__(self, stream: str, line: str) -> None:
        self.append((stream, line))


class Bench:
    """A model, and both ways to start a worker of it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.warm = WarmBackend(config)
        self.by_itself = ProcessBackend(config)
        self.spec = WorkerSpec(model_name="a model", model_dir=str(folder), handler="service.py")
        self.workers: list[ProcessWorker] = []
        self.lines = Lines()
        self.warm.warm_up()

    async def fork(self, **spec: object) -> ProcessWorker:
        """Start a worker as the server does; it must be a fork of the host."""
        worker = await self.start(**spec)
        assert parent(worker) != os.getpid()
        return worker

    async def start(self, backend: WarmBackend | ProcessBackend | None = None, **spec: object) -> ProcessWorker:
        wanted = {name: getattr(self.spec, name) for name in self.spec._fields} | spec
        async with asyncio.timeout(LIMIT_S):
            worker = await (backend or self.warm).start(WorkerSpec(**wanted), self.lines)
        self.workers.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            await worker.stop(grace_s=DEADLINE_S)
        async with asyncio.timeout(LIMIT_S):
            await self.warm.close()


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path, config: Callable[..., Config]) -> AsyncIterator[MakeBench]:
    """Make benches for a handler of this text, with these settings; everything they started ends with the test."""
    benches: list[Bench] = []

    def make_one(handler: str = EVALUATES, **settings: object) -> Bench:
        benches.append(Bench(config(**settings), make_model(tmp_path / f"model{len(benches)}", handler)))
        return benches[-1]

    yield make_one
    for bench in benches:
        await bench.close()
    assert [child for child in psutil.Process().children() if is_blank_host(child)] == []


def parent(worker: ProcessWorker) -> int:
    return psutil.Process(worker.pid).ppid()


async def ask(worker: ProcessWorker, body: str) -> PredictReply:
    async with asyncio.timeout(LIMIT_S):
        return await ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", body.encode())])])


async def evaluate(worker: ProcessWorker, expression: str) -> object:
    [result] = (await ask(worker, expression)).results
    assert isinstance(result, Prediction), result
    return eval(bytes(result.body))


async def reason(worker: ProcessWorker) -> str:
    async with asyncio.timeout(LIMIT_S):
        return await worker.wait()


def code(text: str) -> str:
    """Make an expression of statements that leave a `result`."""
    return f"run({text!r})"


THE_SAME = {
    "module path": "sys.path",
    "folder": "os.getcwd()",
    "environment": "dict(os.environ)",
    "environment below Python": "sorted(subprocess.run(['env'], capture_output=True).stdout.splitlines())",
    "arguments": "sys.argv[:3] + sys.argv[4:]",
    "original arguments": "sys.orig_argv[:5] + sys.orig_argv[6:]",
    "flags": "tuple(sys.flags)",
    "warnings": "sys.warnoptions, str(__import__('warnings').filters)",
    "main module": "sorted(vars(sys.modules['__main__']))",
    "arguments of another interpreter": "subprocess._args_from_interpreter_flags()",
    "signals": code("import signal\nresult = [(int(n), str(signal.getsignal(n))) for n in signal.valid_signals()]"),
    "wakeup": "__import__('signal').set_wakeup_fd(-1)",
    "blocked signals": "__import__('signal').pthread_sigmask(0, [])",
    "leader": "os.getsid(0) == os.getpgid(0) == os.getpid()",
    "threads": code("import threading\nresult = sorted(t.name for t in threading.enumerate())"),
    "streams": code(
        "import sys\nresult = [(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.isatty())"
        " for s in (sys.stdin, sys.stdout, sys.stderr)]"
    ),
    "logging": code(
        "import logging\nroot = logging.getLogger()\n"
        "result = root.level, [(type(h).__name__, h.stream.name) for h in root.handlers]"
    ),
    "garbage collector": "__import__('gc').isenabled(), __import__('gc').get_threshold()",
    "umask": "os.umask(os.umask(0)), os.umask(0o022)",
    "limits": code(
        "import resource\nresult = [resource.getrlimit(n) for n in range(resource.RLIM_NLIMITS)]".replace(
            "range(resource.RLIM_NLIMITS)", "(resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)"
        )
    ),
    "descriptors": code(
        "import os\nresult = []\n"
        "for number in os.listdir('/proc/self/fd'):\n"
        "    if os.path.lexists('/proc/self/fd/' + number):\n"
        "        result.append(os.readlink('/proc/self/fd/' + number).partition(':')[0])\n"
        "result.sort()"
    ),
    "locale": "__import__('locale').setlocale(0)",
    "recursion": "sys.getrecursionlimit(), sys.getswitchinterval()",
    "stack": code("import sys\nresult = sys._getframe().f_code.co_name"),
    "faults": "__import__('faulthandler').is_enabled()",
    "tracing": "sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__",
    "multiprocessing": code(
        "import multiprocessing.process as p, multiprocessing.spawn as s\ndata = s.get_preparation_data('x')\n"
        "result = p.ORIGINAL_DIR, {k: v for k, v in data.items() if k not in ('sys_argv', 'authkey')}"
    ),
}


@pytest.mark.parametrize("what", THE_SAME)
async def test_forked_worker_finds_what_one_started_by_itself_finds(
    make: MakeBench, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    monkeypatch.setenv("NOT_UNICODE", os.fsdecode(b"\xff"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["relative", str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    bench = make(blacklist_env_vars=re.compile("MY_TOKEN"))
    forked, alone = await bench.fork(), await bench.start(bench.by_itself)
    assert parent(alone) == os.getpid()
    expected = await evaluate(alone, THE_SAME[what])
    assert await evaluate(forked, THE_SAME[what]) == expected


async def test_handler_in_a_folder_below_is_found(make: MakeBench) -> None:
    bench = make()
    folder = Path(bench.spec.model_dir, "code")
    folder.mkdir()
    Path(bench.spec.model_dir, "service.py").rename(folder / "service.py")
    workers = await bench.fork(handler="code/service.py"), await bench.start(bench.by_itself, handler="code/service.py")
    paths = [await evaluate(worker, "sys.path") for worker in workers]
    assert paths[0] == paths[1]


async def test_modules_of_ours_are_all_that_is_imported_beside(make: MakeBench) -> None:
    bench = make()
    alone = await evaluate(await bench.start(bench.by_itself), "set(sys.modules)")
    forked = await evaluate(await bench.fork(), "set(sys.modules)")
    assert isinstance(alone, set)
    assert isinstance(forked, set)
    assert alone - forked == set()
    assert forked - alone == {"gc", "mms.worker.blank", "mms.worker.host", "mms.protocol.fork"}


async def test_list_of_processes_shows_the_model(make: MakeBench) -> None:
    worker = await make().fork()
    arguments = psutil.Process(worker.pid).cmdline()
    assert [argument.strip() for argument in arguments][-3::2] == ["mms.worker.__main__", "a model"]


async def test_name_of_any_length_is_cut_in_the_list_of_processes(make: MakeBench) -> None:
    worker = await make().fork(model_name="m" * 1000)
    assert re.fullmatch("m{50,}", psutil.Process(worker.pid).cmdline()[-1])
    assert await evaluate(worker, "len(sys.argv[-1])") == 1000


async def test_workers_come_from_one_host_and_do_not_see_each_other(make: MakeBench) -> None:
    bench = make()
    first, second = await bench.fork(), await bench.fork()
    assert parent(first) == parent(second)
    await ask(first, "seen.update(x=1)")
    assert await evaluate(second, "seen") == {}


async def test_many_start_together(make: MakeBench) -> None:
    bench = make()
    workers = await asyncio.gather(*(bench.fork() for _ in range(8)))
    assert [await evaluate(worker, "os.getpid()") for worker in workers] == [worker.pid for worker in workers]


async def test_random_numbers_are_not_the_same(make: MakeBench) -> None:
    bench = make()
    numbers = [await evaluate(await bench.fork(), "__import__('random').random()") for _ in range(2)]
    assert numbers[0] != numbers[1]


PROCESSES = """
import multiprocessing, sys, os, subprocess, threading

def twice(number):
    return 2 * number

def handle(data, context):
    if data is None:
        return None
    found = []
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            found.append(pool.apply(twice, (21,)))
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    found.append(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout)
    thread = threading.Thread(target=lambda: found.append("thread"))
    thread.start()
    thread.join()
    return [repr(found) for _ in data]
"""


async def test_handler_starts_processes_and_threads(make: MakeBench) -> None:
    assert await evaluate(await make(PROCESSES).fork(), "") == [42, 42, 42, 7, b"5\n", "thread"]


async def test_end_of_a_child_of_the_handler_does_not_disturb_the_host(make: MakeBench) -> None:
    bench = make()
    worker = await bench.fork()
    assert await evaluate(worker, "subprocess.run(['true']).returncode") == 0
    assert await evaluate(await bench.fork(), "1") == 1


async def test_what_the_handler_registered_for_the_exit_runs(make: MakeBench) -> None:
    bench = make("import atexit\natexit.register(print, 'bye', end='')\n" + EVALUATES)
    worker = await bench.fork()
    await worker.stop(grace_s=DEADLINE_S)
    assert await reason(worker) == "it exited with code 0"
    await until(lambda: ("stdout", "bye") in bench.lines)


@pytest.mark.parametrize(
    ("expression", "why", "line"),
    [
        ("os._exit(7)", "it exited with code 7", ""),
        ("sys.exit(3)", "it exited with code 3", ""),
        ("sys.exit('no')", "it exited with code 1", "no"),
        ("exec('raise KeyboardInterrupt')", "SIGINT", "KeyboardInterrupt"),
        ("os.kill(os.getpid(), 9)", "SIGKILL, perhaps out of memory", ""),
        ("__import__('ctypes').string_at(0)", "SIGSEGV", ""),
    ],
)
async def test_death_is_as_that_of_a_worker_started_by_itself(
    make: MakeBench, expression: str, why: str, line: str
) -> None:
    bench = make()
    other = await bench.fork()
    for worker in (await bench.fork(), await bench.start(bench.by_itself)):
        bench.lines.clear()
        with pytest.raises(WorkerDied):
            await ask(worker, expression)
        assert await reason(worker) == why
        assert not line or bench.lines[-1] == ("stderr", line)
    assert await evaluate(other, "1") == 1


async def test_traceback_of_a_failed_load_shows_the_handlers_frames(make: MakeBench) -> None:
    bench = make("raise RuntimeError('no weights')\n")
    tracebacks = []
    for backend in (bench.warm, bench.by_itself):
        with pytest.raises(WorkerInitializationException, match="RuntimeError: no weights") as failed:
            await bench.start(backend)
        tracebacks.append(failed.value.traceback)
    assert tracebacks[0] == tracebacks[1]


async def test_lines_come_at_once(make: MakeBench) -> None:
    bench = make()
    worker = await bench.fork()
    await ask(worker, "print('half', end=' ') or print('line') or print('oh', file=sys.stderr)")
    await until(lambda: sorted(bench.lines) == [("stderr", "oh"), ("stdout", "half line")])


async def test_interrupt_is_ignored(make: MakeBench) -> None:
    bench = make()
    worker = await bench.fork()
    os.kill(parent(worker), signal.SIGINT)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert await evaluate(worker, "1") == 1
    assert await evaluate(await bench.fork(), "1") == 1


async def test_memory_of_the_host_is_shared(make: MakeBench) -> None:
    bench = make()
    forked, alone = await bench.fork(), await bench.start(bench.by_itself)
    for worker in (forked, alone):
        await ask(worker, "1")
    own = [psutil.Process(worker.pid).memory_full_info().uss for worker in (forked, alone)]
    assert own[0] < own[1] * 2 / 3


@pytest.mark.parametrize("file", ["sitecustomize.py", "usercustomize.py"])
async def test_model_with_code_for_the_start_of_the_interpreter_is_started_by_itself(
    make: MakeBench, file: str
) -> None:
    bench = make()
    Path(bench.spec.model_dir, file).write_text("import builtins\nbuiltins.customized = True\n")
    assert parent(await bench.start()) == os.getpid()


async def test_other_runtime_is_started_by_itself(make: MakeBench) -> None:
    assert parent(await make().start(runtime=sys.executable)) == os.getpid()


async def test_environment_that_is_read_at_the_start_only_has_its_effect(
    make: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    await bench.fork()
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    worker = await bench.start()
    assert parent(worker) == os.getpid()
    assert await evaluate(worker, "sys.flags.hash_randomization") == 1


async def test_folder_that_is_gone_is_a_failed_start(make: MakeBench) -> None:
    with pytest.raises(WorkerInitializationException, match="cannot start"):
        await make().start(model_dir="/nowhere")


async def test_without_a_host_workers_are_started_by_themselves(make: MakeBench) -> None:
    bench = make()
    await bench.warm.close()
    assert parent(await bench.start()) == os.getpid()


async def test_host_that_cannot_be_is_done_without(
    make: MakeBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, name='probe', daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bench = make()
    assert parent(await bench.start()) == os.getpid()
    assert parent(await bench.start()) == os.getpid()
    assert any("what the environment loads starts threads (MainThread, probe)" in line for line in caplog.messages)


async def test_workers_outlive_the_host_and_later_ones_have_another(make: MakeBench) -> None:
    bench = make()
    idle, busy = await bench.fork(), await bench.fork()
    host = parent(idle)
    answer = ask_batch(busy, [InferenceRequest("r", b"", [Parameter("body", "", b"time.sleep(0.5) or 5")])])
    os.kill(host, signal.SIGKILL)
    await until(lambda: not runs(host))
    # Perhaps by itself: the front end may not have heard of it yet.
    between = await bench.start()
    later = await bench.fork()
    assert parent(later) != host
    assert await evaluate(idle, "1") == await evaluate(between, "1") == await evaluate(later, "1") == 1
    assert [type(result) for result in (await answer).results] == [Prediction]
    await idle.stop(grace_s=DEADLINE_S)
    assert not runs(idle.pid)


async def test_nothing_is_left_open(make: MakeBench) -> None:
    bench = make()
    await (await bench.fork()).stop(grace_s=DEADLINE_S)
    before = psutil.Process().num_fds()
    for _ in range(3):
        workers = await asyncio.gather(*(bench.fork() for _ in range(3)))
        for worker in workers:
            await worker.stop(grace_s=DEADLINE_S)
    await until(lambda: psutil.Process().num_fds() <= before)


FRONT = """
import asyncio, sys
from mms.protocol.messages import InferenceRequest, Parameter, WorkerSpec
from mms.server.backends.warm import WarmBackend
from mms.server.config import Config

async def main():
    spec = WorkerSpec(model_name="m", model_dir=sys.argv[1], handler="service.py")
    backend = WarmBackend(Config())
    backend.warm_up()
    worker = await backend.start(spec, lambda stream, line: print(line, flush=True))
    request = InferenceRequest("r", b"", [Parameter("body", "", sys.argv[2].encode())])
    worker.predict([request], lambda reply: None)
    print("pid", worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("body", ["1", "print('busy', flush=True) or exec('while True: pass')"], ids=["idle", "busy"])
async def test_worker_and_host_end_when_their_front_end_is_killed(body: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", EVALUATES)
    front = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FRONT, str(model), body),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
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
            host = psutil.Process(pid).ppid()
            assert host != front.pid
        finally:
            front.kill()
            await front.wait()
    await until(lambda: not runs(pid) and not runs(host))
