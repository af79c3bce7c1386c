"""Workers forked from a process that loaded their model: what they share, and what each has for itself."""

import asyncio
import ctypes
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fakes import DEADLINE_S, until
from fakes import ask as ask_batch
from real import make_model, runs

from mms.protocol.messages import InferenceRequest, Parameter, Prediction, PredictReply, WorkerSpec
from mms.server.backends.prefork import PreforkBackend
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config
from mms.server.errors import WorkerDied, WorkerInitializationException

LIMIT_S = 30.0
MIB = 1 << 20

EVALUATES = """
import ctypes, os, subprocess, sys, time
with open("loads", "a") as file:
    print(os.getpid(), file=file)

def handle(data, context):
    if data is None:
        return None
    return [repr(eval(bytes(request["body"]).decode())) for request in data]
"""
"""A handler that does what the test says, and leaves a line in `loads` for each of its loads."""


class Lines(list[tuple[str, str]]):
    """Collects what a worker prints."""

    def __call__(self, stream: str, line: str) -> None:
        self.append((stream, line))


class Bench:
    """A PreforkBackend and a model for it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.backend = PreforkBackend(config)
        self.spec = WorkerSpec(model_name="m", model_dir=str(folder), handler="service.py", max_response_bytes=MIB)
        self.workers: list[ProcessWorker] = []

    async def start(self, gpu_id: int | None = None, on_line: Lines | None = None) -> ProcessWorker:
        spec = WorkerSpec(**{name: getattr(self.spec, name) for name in self.spec._fields} | {"gpu_id": gpu_id})
        async with asyncio.timeout(LIMIT_S):
            worker = await self.backend.start(spec, Lines() if on_line is None else on_line)
        self.workers.append(worker)
        return worker

    async def start_when_lost(self) -> ProcessWorker:
        """Start a worker as soon as the front end knows that its host is gone."""
        while True:
            try:
                return await self.start()
            except WorkerInitializationException:
                await asyncio.sleep(0.01)

    def file(self, name: str) -> Path:
        return Path(self.spec.model_dir, name)

    @property
    def loads(self) -> list[int]:
        """The ids of the processes that loaded the model."""
        file = self.file("loads")
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def close(self) -> None:
        for worker in self.workers:
            await worker.stop(grace_s=DEADLINE_S)
        async with asyncio.timeout(LIMIT_S):
            await self.backend.close()


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
        assert not any(map(runs, bench.loads))


async def ask(worker: ProcessWorker, body: str) -> PredictReply:
    async with asyncio.timeout(LIMIT_S):
        return await ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", body.encode())])])


async def evaluate(worker: ProcessWorker, expression: str) -> object:
    [result] = (await ask(worker, expression)).results
    assert isinstance(result, Prediction)
    return eval(bytes(result.body))


async def reason(worker: ProcessWorker) -> str:
    async with asyncio.timeout(LIMIT_S):
        return await worker.wait()


async def test_workers_that_start_together_load_the_model_once(make: MakeBench) -> None:
    bench = make()
    workers = await asyncio.gather(*(bench.start() for _ in range(4)))
    assert len(bench.loads) == 1
    assert [await evaluate(worker, "os.getpid()") for worker in workers] == [worker.pid for worker in workers]
    assert {await evaluate(worker, "os.getppid()") for worker in workers} == set(bench.loads)


async def test_later_worker_is_forked_from_the_same_load(make: MakeBench) -> None:
    bench = make()
    for gpu_id in (0, 1, None):
        await bench.start(gpu_id)
    assert len(bench.loads) == 1


async def test_models_do_not_share_a_host(make: MakeBench) -> None:
    first, second = make(), make()
    second.backend = first.backend
    await first.start()
    await second.start()
    assert len(first.loads) == len(second.loads) == 1


async def test_what_one_worker_changes_no_other_sees(make: MakeBench) -> None:
    bench = make("changed = []\n" + EVALUATES)
    first = await bench.start()
    await ask(first, "changed.append(1)")
    second = await bench.start()
    assert await evaluate(second, "changed") == []


async def test_worker_is_in_the_folder_and_the_environment_of_its_model(
    make: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    bench = make(blacklist_env_vars=re.compile("MY_TOKEN"))
    worker = await bench.start()
    assert await evaluate(worker, "os.getcwd()") == bench.spec.model_dir
    assert await evaluate(worker, "[os.environ.get(name) for name in ('MY_TOKEN', 'OMP_NUM_THREADS')]") == [None, "1"]


async def test_lines_belong_to_the_worker_that_printed_them_and_those_of_the_load_to_the_first(make: MakeBench) -> None:
    bench = make("print('loading')\n" + EVALUATES)
    first, second = Lines(), Lines()
    for number, lines in enumerate((first, second)):
        worker = await bench.start(on_line=lines)
        await ask(worker, f"print('worker', {number}) or print('oh', file=sys.stderr)")
    await until(lambda: len(first) == 3 and len(second) == 2)
    assert first[0] == ("stdout", "loading")
    assert sorted(first[1:]) == [("stderr", "oh"), ("stdout", "worker 0")]
    assert sorted(second) == [("stderr", "oh"), ("stdout", "worker 1")]


async def test_failed_load_fails_all_that_wait_for_it_and_the_next_start_tries_again(make: MakeBench) -> None:
    bench = make("raise RuntimeError('no weights')\n")
    errors = await asyncio.gather(*(bench.start() for _ in range(3)), return_exceptions=True)
    for error in errors:
        assert isinstance(error, WorkerInitializationException)
        assert str(error) == "RuntimeError: no weights"
        assert 'service.py", line 1' in error.traceback
    bench.file("service.py").write_text(EVALUATES)
    assert await evaluate(await bench.start(), "1") == 1


async def test_load_that_ends_the_process_says_why(make: MakeBench) -> None:
    bench = make("import os\nos._exit(3)\n")
    with pytest.raises(WorkerInitializationException, match="ended while it loaded: it exited with code 3"):
        await bench.start()


async def test_load_that_takes_too_long_is_ended(make: MakeBench) -> None:
    bench = make(EVALUATES + "time.sleep(1000)\n", worker_start_timeout=0.5)
    with pytest.raises(WorkerInitializationException, match=r"did not load in 0\.5 s \(worker_start_timeout\)"):
        await bench.start()
    assert not any(map(runs, bench.loads))


async def test_load_goes_on_while_anybody_waits_for_it(make: MakeBench) -> None:
    bench = make(EVALUATES + "while not os.path.exists('go'): time.sleep(0.01)\n")
    first, second = (asyncio.create_task(bench.start()) for _ in range(2))
    await until(lambda: bench.loads)
    first.cancel()
    await asyncio.wait((first,))
    bench.file("go").touch()
    assert await evaluate(await second, "1") == 1
    assert len(bench.loads) == 1


async def test_load_that_nobody_waits_for_is_ended(make: MakeBench) -> None:
    bench = make(EVALUATES + "time.sleep(1000)\n")
    starts = [asyncio.create_task(bench.start()) for _ in range(2)]
    await until(lambda: bench.loads)
    for start in starts:
        start.cancel()
    await asyncio.wait(starts)
    assert not runs(bench.loads[0])


async def test_fork_that_the_system_refuses_is_a_failed_start(make: MakeBench) -> None:
    refuse = "import errno, os\ndef refuse():\n    raise OSError(errno.EAGAIN, '')\nos.fork = refuse\n"
    bench = make(refuse + EVALUATES)
    with pytest.raises(WorkerInitializationException, match="cannot be forked: Resource temporarily unavailable"):
        await bench.start()
    assert not any(map(runs, bench.loads))


async def test_worker_that_ends_before_it_is_ready_is_a_failed_start(make: MakeBench) -> None:
    bench = make("import os\nos.register_at_fork(after_in_child=lambda: os._exit(5))\n" + EVALUATES)
    with pytest.raises(WorkerInitializationException, match="ended while it loaded: it exited with code 5"):
        await bench.start()


async def test_host_that_hangs_in_a_fork_is_a_failed_start(make: MakeBench) -> None:
    bench = make(
        "import os, time\nos.register_at_fork(before=lambda: time.sleep(1000))\n" + EVALUATES, worker_start_timeout=1.0
    )
    with pytest.raises(WorkerInitializationException, match="its host process gave no answer in 1 s"):
        await bench.start()
    assert not any(map(runs, bench.loads))


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
async def test_death_during_a_batch_says_why_and_the_others_live(make: MakeBench, expression: str, why: str) -> None:
    bench = make()
    worker, other = await bench.start(), await bench.start()
    with pytest.raises(WorkerDied):
        await ask(worker, expression)
    assert await reason(worker) == why
    assert await evaluate(other, "1") == 1
    assert await evaluate(await bench.start(), "2") == 2
    assert len(bench.loads) == 1


async def test_kill_of_an_idle_worker_is_noticed(make: MakeBench) -> None:
    worker = await make().start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await reason(worker) == "SIGKILL, perhaps out of memory"


@pytest.mark.parametrize("body", ["time.sleep(1000)", "exec('while True: pass')"])
async def test_stop_forces_a_busy_worker(make: MakeBench, body: str) -> None:
    worker = await make().start()
    answer = ask_batch(worker, [InferenceRequest("r", b"", [Parameter("body", "", body.encode())])])
    await worker.stop(grace_s=0.1)
    with pytest.raises(WorkerDied):
        await answer
    assert not runs(worker.pid)
    assert await reason(worker) == "killed: it did not end within 0.1 s"


async def test_grandchild_that_keeps_the_pipes_open_does_not_delay_the_end(make: MakeBench) -> None:
    worker = await make().start()
    child = await evaluate(worker, "subprocess.Popen(['sleep', '1000']).pid")
    assert isinstance(child, int)
    try:
        async with asyncio.timeout(LIMIT_S):
            await worker.stop(grace_s=DEADLINE_S)
        assert await reason(worker) == "it exited with code 0"
    finally:
        os.kill(child, signal.SIGKILL)


async def test_host_ends_with_its_last_worker_and_the_next_one_loads_anew(make: MakeBench) -> None:
    bench = make()
    first, second = await bench.start(), await bench.start()
    await first.stop(grace_s=DEADLINE_S)
    assert runs(bench.loads[0])
    await second.stop(grace_s=DEADLINE_S)
    await until(lambda: not runs(bench.loads[0]))
    await bench.start()
    assert len(bench.loads) == 2


async def test_workers_outlive_their_host_and_the_next_start_makes_another(
    make: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    idle, busy = await bench.start(), await bench.start()
    answer = ask_batch(busy, [InferenceRequest("r", b"", [Parameter("body", "", b"time.sleep(0.5) or 5")])])
    os.kill(bench.loads[0], signal.SIGKILL)
    assert await evaluate(await bench.start_when_lost(), "1") == 1
    assert len(bench.loads) == 2
    [result] = (await answer).results
    assert isinstance(result, Prediction)
    assert bytes(result.body) == b"5"
    assert await evaluate(idle, "2") == 2
    await until(lambda: caplog.messages)
    assert caplog.record_tuples == [
        (
            "mms.server.backends.host",
            logging.ERROR,
            f"The host process of model m (pid {bench.loads[0]}) died: SIGKILL, perhaps out of memory. "
            "Its workers go on; those that start from now on have another.",
        )
    ]


@pytest.mark.parametrize("expression", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
async def test_death_without_a_host_is_noticed(make: MakeBench, expression: str) -> None:
    bench = make()
    worker = await bench.start()
    os.kill(bench.loads[0], signal.SIGKILL)
    await until(lambda: not runs(bench.loads[0]))
    with pytest.raises(WorkerDied):
        await ask(worker, expression)
    assert await reason(worker) == "it ended after the process that it was forked from, so nobody knows its exit code"


@pytest.fixture
def reaper() -> Iterator[None]:
    """Make this process what the first one of a container is: the parent of all orphans."""
    if sys.platform != "linux":
        pytest.skip("Linux only")
    prctl, subreaper = ctypes.CDLL(None).prctl, 36
    assert prctl(subreaper, 1, 0, 0, 0) == 0
    yield
    prctl(subreaper, 0, 0, 0, 0)


@pytest.mark.usefixtures("reaper")
async def test_death_without_a_host_leaves_no_zombie_in_a_container(make: MakeBench) -> None:
    bench = make()
    worker = await bench.start()
    os.kill(bench.loads[0], signal.SIGKILL)
    await until(lambda: not runs(bench.loads[0]))
    with pytest.raises(WorkerDied):
        await ask(worker, "os._exit(3)")
    assert await reason(worker) == "it exited with code 3"
    assert worker.pid is not None
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.parametrize("body", ["1", "time.sleep(1000)"])
async def test_worker_without_a_host_is_stopped(make: MakeBench, body: str) -> None:
    bench = make()
    worker = await bench.start()
    os.kill(bench.loads[0], signal.SIGKILL)
    await until(lambda: not runs(bench.loads[0]))
    worker.predict([InferenceRequest("r", b"", [Parameter("body", "", body.encode())])], lambda reply: None)
    async with asyncio.timeout(LIMIT_S):
        await worker.stop(grace_s=0.1 if body != "1" else DEADLINE_S)
    assert not runs(worker.pid)


async def test_start_while_the_host_dies_fails_and_the_next_one_works(make: MakeBench) -> None:
    bench = make()
    first = await bench.start()
    os.kill(bench.loads[0], signal.SIGKILL)
    with pytest.raises(WorkerInitializationException, match="cannot be forked"):
        # The loop has not heard of the death yet.
        await bench.start()
    assert await evaluate(await bench.start_when_lost(), "1") == 1
    assert await evaluate(first, "1") == 1


@pytest.mark.parametrize("which", [-3, -2], ids=["control", "channel"])
async def test_host_that_writes_garbage_is_a_failed_start(make: MakeBench, which: int) -> None:
    garbage = f"import os, sys\nos.write(int(sys.argv[{which}]), b'neither a frame nor a report')\n"
    bench = make(garbage + EVALUATES)
    with pytest.raises(WorkerInitializationException, match="ended while it loaded|cannot be forked"):
        await bench.start()
    assert not any(map(runs, bench.loads))


async def test_nothing_is_left_open(make: MakeBench) -> None:
    bench = make()
    for _ in range(2):
        before = psutil.Process().num_fds()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            workers = [await bench.start() for _ in range(3)]
            for worker in workers:
                await worker.stop(grace_s=DEADLINE_S)
            await bench.backend.close()
    await until(lambda: psutil.Process().num_fds() <= before)


FRONT = """
import asyncio, sys
from mms.protocol.messages import InferenceRequest, Parameter, WorkerSpec
from mms.server.backends.prefork import PreforkBackend
from mms.server.config import Config

async def main():
    spec = WorkerSpec(model_name="m", model_dir=sys.argv[1], handler="service.py")
    worker = await PreforkBackend(Config()).start(spec, lambda stream, line: print(line, flush=True))
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
async def test_worker_and_host_end_when_their_front_end_is_killed(body: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", EVALUATES)
    front = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FRONT, str(model), body),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert front.stdout is not None
    pid = 0
    words: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        try:
            while not pid or ("busy" in body and "busy" not in words):
                words = (await front.stdout.readline()).decode().split()
                assert words, "the front end ended by itself"
                pid = int(words[1]) if words[0] == "pid" else pid
        finally:
            front.kill()
            await front.wait()
    host = int((model / "loads").read_text())
    await until(lambda: not runs(pid) and not runs(host))


def test_all_of_it_works_on_uvloop(config: Callable[..., Config], tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    bench = Bench(config(), make_model(tmp_path / "model", EVALUATES))

    async def main() -> None:
        lines = Lines()
        worker, other = await asyncio.gather(bench.start(on_line=lines), bench.start())
        assert await evaluate(worker, "print('hello')") is None
        await other.stop(grace_s=DEADLINE_S)
        assert await reason(other) == "it exited with code 0"
        with pytest.raises(WorkerDied):
            await ask(worker, "os._exit(3)")
        assert await reason(worker) == "it exited with code 3"
        assert ("stdout", "hello") in lines
        await bench.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert not runs(bench.loads[0])


@pytest.mark.slow
async def test_workers_share_the_memory_of_the_model(make: MakeBench) -> None:
    pytest.importorskip("numpy")
    megabytes = 64
    bench = make(
        f"import numpy\nweights = numpy.ones({megabytes} << 17)\n"
        + EVALUATES.replace("eval(", "weights.sum() and eval(")
    )
    workers = [await bench.start() for _ in range(3)]
    for worker in workers:
        assert await evaluate(worker, "weights.nbytes") == megabytes * MIB
    processes = [psutil.Process(pid) for pid in (*bench.loads, *(worker.pid for worker in workers))]
    if not hasattr(processes[0].memory_full_info(), "pss"):
        pytest.skip("this system does not tell proportional set sizes")
    assert all(process.memory_info().rss > megabytes * MIB for process in processes)
    # Beside the weights: an interpreter with numpy, and what each worker changes in it.
    assert sum(process.memory_full_info().pss for process in processes) < 2 * megabytes * MIB
