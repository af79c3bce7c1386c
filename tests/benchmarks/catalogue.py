"""All rows under load: what is asked of whom, and what the project wants of it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from .figures import Goal, Values
from .models import CHECKOUT, MMS_VISION_HANDLER, photo
from .rows import Bench, Row
from .servers import Server, Setup
from .under_load import Contestant, UnderLoad, everybody
from .wrk import Load, LoadError

RATE = "requests_per_s"
WORKER_ENVIRONMENT: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "MXNET_USE_OPERATOR_TUNING": "0"}
"""What our server gives its workers, for the loop without a server."""
OK = b"OK"
SMALL = b"ping"
MIDDLE_BYTES = 100 << 10
LARGE_BYTES = 5 << 20
MANY_MODELS = 200

PEERS = ("ours", "before", "mms", "mms-tuned", "aiohttp")
SERVERS = ("ours", "before", "mms")
"""`before` is an older checkout, where one is given."""


def small(concurrency: int) -> Load:
    """Make the smallest request."""
    return Load(concurrency=concurrency, body=SMALL, content_type="text/plain", expected=OK)


def echoed(size: int) -> Load:
    """Make a request whose answer is its body."""
    body = bytes(range(256)) * (size // 256)
    return Load(concurrency=8, body=body, expected=body)


def picture(concurrency: int) -> Load:
    """Make a request for the classes of the photo; the answer is not known beforehand."""
    return Load(concurrency=concurrency, body=photo(), expected=b"")


def noop() -> UnderLoad:
    """No-op handler, one worker, batch size 1."""
    wanted: Mapping[int, tuple[float, float | None, float | None]] = {
        1: (1.6, None, None),
        8: (3.0, 2.0, None),
        32: (3.2, 2.0, 0.6),
        128: (3.0, 2.0, None),
    }
    rows = {}
    for concurrency, (mms, tuned, bare) in wanted.items():
        bounds = {"mms": mms, "mms-tuned": tuned, "aiohttp": bare}
        goals = [Goal(metric=RATE, against=name, at_least=bound) for name, bound in bounds.items() if bound]
        goals.append(Goal(metric="p99_ms", against="mms", at_most=1))
        rows[concurrency] = Row(
            f"noop-{concurrency}", f"no-op, {concurrency} client{'s' * (concurrency > 1)}", tuple(goals)
        )
    return UnderLoad(
        {row: partial(small, concurrency) for concurrency, row in rows.items()},
        everybody(lambda bench: Setup(archive=bench.models.archive("noop"), answer="noop"), *PEERS),
    )


def echo(name: str, size: int, *goals: Goal) -> UnderLoad:
    """Echo handler, eight clients."""
    title = f"echo of {size >> 10} KiB, 8 clients" if size < 1 << 20 else f"echo of {size >> 20} MiB, 8 clients"
    row = Row(name, title, (Goal(metric=RATE, against="mms", at_least=2.0), *goals))
    return UnderLoad(
        {row: lambda: echoed(size)},
        everybody(lambda bench: Setup(archive=bench.models.archive("echo"), answer="echo"), *SERVERS, "aiohttp"),
    )


def squeezenet(workers: int, concurrency: int) -> UnderLoad:
    """SqueezeNet on a photo, with each server's own template, and ours under MMS as well."""

    def lineup(bench: Bench) -> Sequence[Contestant]:
        ours = Setup(archive=bench.models.squeezenet(), workers=workers)
        theirs = Setup(archive=bench.models.squeezenet(), workers=workers, handler=MMS_VISION_HANDLER)
        contestants = [Contestant(name, bench.peers[name], ours) for name in ("ours", "before") if name in bench.peers]
        if "mms" in bench.peers:
            contestants.append(Contestant("mms", bench.peers["mms"], theirs))
            contestants.append(Contestant("mms-our-template", bench.peers["mms"], ours))
        return contestants

    title = f"SqueezeNet, {workers} worker{'s' if workers > 1 else ''}, {concurrency} clients"
    goals = (Goal(metric=RATE, against="mms", at_least=1.3), Goal(metric=RATE, against="loop", at_least=0.95))
    row = Row(f"squeezenet-{workers}", title, goals)
    limit = partial(in_process, workers=workers)
    return UnderLoad({row: lambda: picture(concurrency)}, lineup, answers_agree=True, limit=limit)


def in_process(bench: Bench, *, workers: int) -> Values:
    """Run our template in loops without a server, as many at once as there would be workers."""
    body = bench.folder / "photo.jpg"
    body.write_bytes(photo())
    folder = bench.models.squeezenet_folder()
    command = [sys.executable, "-m", "tests.benchmarks.loop", str(folder), "mxnet_vision_service:handle", str(body)]
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{folder}", **WORKER_ENVIRONMENT}
    with contextlib.ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(bench.options.seconds)],
                    env=environment,
                    cwd=folder,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(workers)
        ]
        printed = [loop.communicate()[0] for loop in loops]
    if not all(printed):
        raise LoadError("the loop without a server failed")
    return {RATE: sum(float(one) for one in printed)}


def batches() -> UnderLoad:
    """No-op handler with batches of 8, filled for 2 ms at most."""
    rows = {
        concurrency: Row(
            f"batch-{concurrency}",
            f"no-op, batches of 8 in 2 ms, {concurrency} clients",
            (Goal(metric=RATE, against="mms", at_least=bound),),
        )
        for concurrency, bound in {8: 1.5, 32: 2.2, 128: 2.0}.items()
    }

    def setup(bench: Bench) -> Setup:
        return Setup(archive=bench.models.archive("noop"), batch_size=8, max_batch_delay_ms=2)

    return UnderLoad(
        {row: partial(small, concurrency) for concurrency, row in rows.items()},
        everybody(setup, *SERVERS),
    )


def squeezenet_batches() -> UnderLoad:
    """SqueezeNet in batches; MMS's wheel has no handler for those, so all run our template."""
    row = Row(
        "batch-squeezenet-32",
        "SqueezeNet, batches of 8 in 2 ms, 32 clients",
        (Goal(metric=RATE, against="mms", at_least=1.3),),
    )

    def setup(bench: Bench) -> Setup:
        return Setup(archive=bench.models.squeezenet(), batch_size=8, max_batch_delay_ms=2)

    def load() -> Load:
        # Sums of floats differ in their last digits with the size of the batch: the likeliest class must be right.
        return Load(concurrency=32, body=photo(), expected=b"n02124075 Egyptian cat", contains=True)

    return UnderLoad({row: load}, everybody(setup, *SERVERS))


def many_models() -> UnderLoad:
    """The same load on a server with one model and on one with many."""
    row = Row(
        "models-200",
        f"no-op, 32 clients, {MANY_MODELS} registered models against 1",
        (Goal(metric=RATE, of="ours-200", against="ours", at_least=0.95),),
    )

    def lineup(bench: Bench) -> Sequence[Contestant]:
        setup = Setup(archive=bench.models.archive("noop"))
        return [Contestant(name, bench.peers["ours"], setup) for name in ("ours", "ours-200")]

    def prepare(name: str, server: Server) -> None:
        if name == "ours-200":
            for number in range(MANY_MODELS - 1):
                server.register(f"model-{number}", workers=0)

    return UnderLoad({row: lambda: small(32)}, lineup, prepare=prepare)


def scenarios_under_load() -> list[UnderLoad]:
    """Return all of them."""
    return [
        noop(),
        echo("echo-100k", MIDDLE_BYTES),
        echo("echo-5m", LARGE_BYTES, Goal(metric="front_mib", at_most=220)),
        squeezenet(1, 4),
        squeezenet(2, 8),
        batches(),
        squeezenet_batches(),
        many_models(),
    ]
