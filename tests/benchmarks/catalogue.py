"""All rows under load: what is asked of whom, and what the project wants of it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from .figures import Goal
from .limit import in_process
from .models import MMS_TEMPLATE, OUR_TEMPLATE, difference_in_class, photo
from .rows import Bench, Row
from .servers import Server, Setup
from .under_load import Contestant, UnderLoad, everybody
from .wrk import Load

RATE = "requests_per_s"
OK = b"OK"
SMALL = b"ping"
MIDDLE_BYTES = 100 << 10
LARGE_BYTES = 5 << 20
MANY_MODELS = 200
BATCH_SIZE = 8

SERVERS = ("ours", "before", "mms")
"""`before` is an older checkout, where one is given."""
ALL = (*SERVERS, "mms-tuned", "aiohttp", "torchserve", "litserve")


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
        everybody(lambda bench: Setup(archive=bench.models.archive("noop"), answer="noop"), *ALL),
    )


def echo(name: str, size: int, *goals: Goal) -> UnderLoad:
    """Echo handler, eight clients."""
    title = f"echo of {size >> 10} KiB, 8 clients" if size < 1 << 20 else f"echo of {size >> 20} MiB, 8 clients"
    row = Row(name, title, (Goal(metric=RATE, against="mms", at_least=2.0), *goals))
    return UnderLoad(
        {row: lambda: echoed(size)},
        everybody(lambda bench: Setup(archive=bench.models.archive("echo"), answer="echo"), *SERVERS, "aiohttp"),
    )


def vision_archive(bench: Bench, peer: str) -> Path:
    """Return SqueezeNet with the template that the peer comes with."""
    return bench.models.squeezenet(MMS_TEMPLATE if peer == "mms" else OUR_TEMPLATE)


def everybody_sees(bench: Bench, *names: str, workers: int = 1, batch_size: int = 1) -> list[Contestant]:
    """Let those of the named peers that are there serve SqueezeNet; MMS with our template as well."""

    def contestant(name: str, peer: str, archive: Path) -> Contestant:
        setup = Setup(archive=archive, workers=workers, batch_size=batch_size, max_batch_delay_ms=2)
        return Contestant(name, bench.peers[peer], setup)

    contestants = [contestant(name, name, vision_archive(bench, name)) for name in names if name in bench.peers]
    if "mms" in bench.peers:
        contestants.append(contestant("mms-our-template", "mms", bench.models.squeezenet()))
    return contestants


def squeezenet(workers: int, concurrency: int) -> UnderLoad:
    """SqueezeNet on a photo, with each server's own template, and ours under MMS as well."""
    goals = (
        Goal(metric=RATE, against="mms", at_least=1.4),
        Goal(metric=RATE, against="loop", at_least=0.95),
        Goal(metric=RATE, of="ours-plain", against="mms", at_least=1.3),
        Goal(metric=RATE, of="ours-plain", against="loop-plain", at_least=0.95),
    )
    title = f"SqueezeNet, {workers} worker{'s' if workers > 1 else ''}, {concurrency} clients"
    return UnderLoad(
        {Row(f"squeezenet-{workers}", title, goals): lambda: picture(concurrency)},
        lambda bench: everybody_sees(bench, "ours", "ours-plain", "before", "mms", workers=workers),
        answers_agree=True,
        warmed_by="echo",
        limits=partial(in_process, workers=workers),
    )


def squeezenet_int8() -> UnderLoad:
    """SqueezeNet in int8 with our template, also under MMS, against MMS's own template, which has it in fp32."""

    def lineup(bench: Bench) -> Sequence[Contestant]:
        int8 = Setup(archive=bench.models.squeezenet_int8())
        theirs = Setup(archive=vision_archive(bench, "mms"))
        setups = {
            "ours": ("ours", int8),
            "ours-plain": ("ours-plain", int8),
            "mms": ("mms", theirs),
            "mms-our-template": ("mms", int8),
        }
        return [
            Contestant(name, bench.peers[peer], setup) for name, (peer, setup) in setups.items() if peer in bench.peers
        ]

    goals = (
        Goal(metric=RATE, against="mms", at_least=2.0),
        Goal(metric=RATE, of="ours-plain", against="mms", at_least=2.0),
    )
    return UnderLoad(
        {Row("squeezenet-int8", "SqueezeNet in int8, 1 worker, 4 clients", goals): lambda: picture(4)},
        lineup,
        answers_agree=True,
        differ=difference_in_class,
        warmed_by="echo",
    )


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
        return Setup(archive=bench.models.archive("noop"), batch_size=BATCH_SIZE, max_batch_delay_ms=2)

    return UnderLoad(
        {row: partial(small, concurrency) for concurrency, row in rows.items()},
        everybody(setup, *SERVERS),
    )


def squeezenet_batches() -> UnderLoad:
    """SqueezeNet in batches, with each server's own template, and ours under MMS as well."""
    row = Row(
        "batch-squeezenet-32",
        "SqueezeNet, batches of 8 in 2 ms, 32 clients",
        (Goal(metric=RATE, against="mms", at_least=1.3),),
    )

    def load() -> Load:
        # Sums of floats differ in their last digits with the size of the batch: the likeliest class must be right.
        return Load(concurrency=32, body=photo(), expected=b"n02124075 Egyptian cat", contains=True)

    return UnderLoad(
        {row: load},
        lambda bench: everybody_sees(bench, *SERVERS, batch_size=BATCH_SIZE),
        answers_agree=True,
        warmed_by="echo",
    )


def many_models() -> UnderLoad:
    """The same load on a server with one model and on one with many."""
    row = Row(
        "models-200",
        f"no-op, 32 clients, {MANY_MODELS} registered models against 1",
        (Goal(metric=RATE, of="ours-200", against="ours", at_least=0.95),),
    )

    def lineup(bench: Bench) -> Sequence[Contestant]:
        setup = Setup(archive=bench.models.archive("noop"))
        return [Contestant(name, bench.peers["ours"], setup) for name in ("ours", "ours-200") if "ours" in bench.peers]

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
        squeezenet_int8(),
        batches(),
        squeezenet_batches(),
        many_models(),
    ]
