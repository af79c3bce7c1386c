"""Rows that are not about throughput alone: starts, management calls, memory, too many requests."""

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from .catalogue import OK, SERVERS, SMALL, vision_archive
from .figures import Goal, Values
from .models import photo
from .peers import Peer
from .processes import MIB
from .rows import Bench, Row, Steps
from .servers import Server, ServerError, Setup, started
from .under_load import measure, take_turn, warm_up
from .wrk import Load

QUEUED_REQUESTS = 10_000
"""Each with a connection of its own: the limit on open files must allow them."""
KIB = 1 << 10
FEW, TOO_MANY = 64, 512
SETTLE_TIMEOUT_S = 30.0

COLD_PING = Row("cold-ping", "start to the first /ping", (Goal(metric="start_s", against="mms", at_most=0.35),))
COLD_NOOP = Row("cold-noop", "start to the first no-op answer", (Goal(metric="start_s", against="mms", at_most=0.8),))
COLD_SQUEEZENET = Row(
    "cold-squeezenet",
    "start to the first SqueezeNet answer",
    (Goal(metric="start_s", against="mms", at_most=0.8),),
)
REGISTER = Row(
    "register",
    "register with one worker, then scale to two",
    (Goal(metric="register_s", against="mms", at_most=1.0), Goal(metric="scale_s", against="mms", at_most=1.0)),
)
REGISTER_SQUEEZENET = Row("register-squeezenet", "the same with SqueezeNet", REGISTER.goals)
IDLE = Row(
    "idle",
    "memory before the first request, no-op",
    (
        Goal(metric="front_mib", at_most=55),
        Goal(metric="worker_mib", at_most=13),
        Goal(metric="worker_pss_mib", at_most=13),
    ),
)
IDLE_SQUEEZENET = Row(
    "idle-squeezenet",
    "memory after one request, SqueezeNet",
    (Goal(metric="worker_mib", at_most=181), Goal(metric="worker_mib", against="mms", at_most=1.0)),
)
IDLE_PRELOADED = Row(
    "idle-preloaded",
    "the same with three preloaded workers",
    (Goal(metric="worker_pss_mib", at_most=60),),
)
OVERLOAD = Row(
    "overload",
    f"5 ms, queue of 100: good answers of {TOO_MANY} clients against those of {FEW}",
    (Goal(metric="kept_share", at_least=0.9),),
)
QUEUED = Row(
    "queued",
    f"memory of the front for each of {QUEUED_REQUESTS:,} waiting requests",
    (Goal(metric="queued_kib", at_most=4),),
)


def cold(bench: Bench, rows: Sequence[Row]) -> None:
    """Start servers over and over, in turns; the first start of each only brings its files into memory."""
    answers: dict[Row, Callable[[Server], float]] = {
        COLD_PING: lambda server: server.wait_for_ping(),
        COLD_NOOP: lambda server: server.wait_for_prediction(SMALL),
        COLD_SQUEEZENET: lambda server: server.wait_for_prediction(photo()),
    }
    for row in rows:
        for number in range(bench.options.rounds + 1):
            for peer in _servers(bench):
                setup = Setup(archive=_archive(bench, peer, small=row is not COLD_SQUEEZENET), at_startup=True)
                with _failing(bench, row, peer), started(peer, setup, bench.new_folder(peer.name)) as server:
                    values = {"start_s": answers[row](server)}
                    if number:
                        bench.record(row, peer.name, values)


def management(bench: Bench, rows: Sequence[Row]) -> None:
    """Register, scale and unregister one model over and over; the first time of each does not count."""
    for row in rows:
        with contextlib.ExitStack() as stack:
            setups = {peer: Setup(archive=_archive(bench, peer, small=row is REGISTER)) for peer in _servers(bench)}
            servers = _side_by_side(bench, row, setups, stack)
            for number in range(bench.options.rounds + 1):
                for peer, server in servers.items():
                    with _failing(bench, row, peer):
                        values = _register_and_scale(server)
                        if number:
                            bench.record(row, peer.name, values)


def _register_and_scale(server: Server) -> Values:
    server.unregister()
    begin = time.monotonic()
    server.register()
    registered = time.monotonic()
    server.scale(2)
    return {"register_s": registered - begin, "scale_s": time.monotonic() - registered}


def memory(bench: Bench, rows: Sequence[Row]) -> None:
    """Look at servers that have nothing to do."""
    for row in rows:
        workers, preload = (3, True) if row is IDLE_PRELOADED else (1, False)
        for _ in range(bench.options.rounds):
            for peer in _servers(bench):
                archive = _archive(bench, peer, small=row is IDLE)
                setup = Setup(archive=archive, workers=workers, preload=preload)
                with _failing(bench, row, peer), bench.running(peer, setup) as server:
                    if row is not IDLE:
                        server.predict(photo())
                    bench.record(row, peer.name, server.processes.memory())


def overload(bench: Bench, rows: Sequence[Row]) -> None:
    """Ask for more than a server can do and has room for, and see what it still does."""
    setup = Setup(archive=bench.models.archive("busy"), queue=100)
    with contextlib.ExitStack() as stack:
        servers = _side_by_side(bench, OVERLOAD, dict.fromkeys(_servers(bench), setup), stack)
        for peer, server in servers.items():
            warm_up(bench, peer.name, server, _busy_load(TOO_MANY))
        for _ in range(bench.options.rounds):
            for peer, server in servers.items():
                take_turn(bench, OVERLOAD, peer.name, partial(_few_and_too_many, bench, server))


def _busy_load(clients: int) -> Load:
    return Load(concurrency=clients, body=SMALL, expected=OK, may_be_busy=True)


def _few_and_too_many(bench: Bench, server: Server) -> Values:
    few, many = (measure(bench, server, _busy_load(clients)) for clients in (FEW, TOO_MANY))
    return {
        "few_good_per_s": few["good_per_s"],
        "good_per_s": many["good_per_s"],
        "requests_per_s": many["requests_per_s"],
        "kept_share": many["good_per_s"] / few["good_per_s"],
        "front_cpu_us": many["front_cpu_us"],
        "client_cpu_us": many["client_cpu_us"],
    }


def queued(bench: Bench, rows: Sequence[Row]) -> None:
    """Let small requests wait behind one that takes for ever, and see what each costs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < QUEUED_REQUESTS + 200:
        bench.fail(QUEUED, "ours", f"only {most} open files are allowed")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    setup = Setup(archive=bench.models.archive("stuck"), queue=2 * QUEUED_REQUESTS)
    for peer in _servers(bench):
        with _failing(bench, QUEUED, peer), bench.running(peer, setup) as server, contextlib.ExitStack() as stack:
            idle = _settled(server)
            clients = [stack.enter_context(_connect(server.port)) for _ in range(QUEUED_REQUESTS)]
            connected = _settled(server)
            request = b"POST /predictions/bench HTTP/1.1\r\nHost: bench\r\nContent-Length: 4\r\n\r\n" + SMALL
            for client in clients:
                client.sendall(request)
            waiting = _settled(server)
            if _somebody_was_answered(clients):
                raise ServerError("not all requests were queued")
            values = {
                "connection_kib": (connected - idle) * MIB / KIB / QUEUED_REQUESTS,
                "queued_kib": (waiting - connected) * MIB / KIB / QUEUED_REQUESTS,
            }
            bench.record(QUEUED, peer.name, values)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SETTLE_TIMEOUT_S)


def _settled(server: Server) -> float:
    """Return the memory of the front in MiB, once it no longer works on anything."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    before = server.processes.cpu().front_s
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = server.processes.cpu().front_s
        if now - before < 0.02:
            break
        before = now
    return server.processes.memory()["front_mib"]


def _somebody_was_answered(clients: Sequence[socket.socket]) -> bool:
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        return bool(selector.select(timeout=0))


def _archive(bench: Bench, peer: Peer, *, small: bool) -> Path:
    """Return the no-op, or SqueezeNet with the template that the peer comes with."""
    return bench.models.archive("noop") if small else vision_archive(bench, peer.name)


def _servers(bench: Bench) -> list[Peer]:
    return [bench.peers[name] for name in SERVERS if name in bench.peers]


def _side_by_side(
    bench: Bench, row: Row, setups: Mapping[Peer, Setup], stack: contextlib.ExitStack
) -> dict[Peer, Server]:
    """Run servers, without those that do not start."""
    servers = {}
    for peer, setup in setups.items():
        with _failing(bench, row, peer):
            servers[peer] = stack.enter_context(bench.running(peer, setup))
    return servers


@contextlib.contextmanager
def _failing(bench: Bench, row: Row, peer: Peer) -> Iterator[None]:
    try:
        yield
    except (ServerError, OSError) as exc:
        bench.fail(row, peer.name, str(exc))


def scenarios_without_load() -> list[Steps]:
    """Return all of them."""
    return [
        Steps((COLD_PING, COLD_NOOP, COLD_SQUEEZENET), cold),
        Steps((REGISTER, REGISTER_SQUEEZENET), management),
        Steps((IDLE, IDLE_SQUEEZENET, IDLE_PRELOADED), memory),
        Steps((OVERLOAD,), overload),
        Steps((QUEUED,), queued),
    ]
