"""What each step of a prediction costs, without a server. Run as `python -m tests.benchmarks.hops`; prints JSON.

Nanoseconds a call: the median and the least of several repeats. A step that got slower shows here, with its name.
"""

import asyncio
import contextlib
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from mms.protocol.coding import (
    decode_reply,
    decode_requests,
    encode_reply,
    encode_requests,
)
from mms.protocol.frames import (
    FrameReader,
    pack,
)
from mms.protocol.messages import InferenceRequest, Parameter, Prediction, PredictReply
from mms.server.batching import BatchQueue, Job
from mms.server.config import Config
from mms.server.http.answer import plain_head
from mms.server.http.express import ExpressLane
from mms.server.http.request_id import RequestIds
from mms.server.logs import Logs
from mms.service import Service

from .front import Client, front
from .machine import describe_machine
from .models import CHECKOUT
from .report import insert, table

HEAD = (
    b"POST /predictions/bench HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\n"
)
BODY = b"ping"
IN_FLIGHT = 32
"""Requests at once on the way through the whole front end."""
PROGRAM = "tests.benchmarks.hops"
LINES = 1000
"""Log lines between two flushes."""
Hop = Callable[[], object]


def request() -> InferenceRequest:
    """Make what a small request becomes."""
    headers = HEAD.split(b"\r\n", 1)[1][:-4].replace(b"\r\n", b"\n")
    return InferenceRequest(RequestIds().new(), headers, [Parameter("body", "text/plain", BODY)])


def reply() -> PredictReply:
    """Make what its answer is."""
    return PredictReply([Prediction(b"OK")], (), 0.01)


def hops(lane: ExpressLane, logs: Logs) -> Iterator[tuple[str, Hop, int]]:
    """Name every hop, with what does it and how many calls that counts for."""
    client = Client()
    small, answer = request(), reply()
    request_parts, reply_parts = encode_requests([small]), encode_reply(answer)
    request_frame = b"".join(pack(request_parts))
    reply_frame = b"".join(pack(reply_parts))
    queue, reader = BatchQueue("bench", capacity=100), FrameReader()
    service = Service("bench", ".", None, lambda data, _context: ["OK"] * len(data or ()), None, 1)
    head_and_body = HEAD + BODY

    def through_queue() -> None:
        queue.put(Job(small, client))
        queue.take(lambda batch: None)

    def read(frame: bytes) -> object:
        reader.get_buffer()[: len(frame)] = frame
        return list(reader.received(len(frame)))

    def log() -> None:
        for _ in range(LINES):
            logs.answered("127.0.0.1:50000", "POST", "/predictions/bench", "HTTP/1.1", 200, 1)
            logs.prediction_time("bench", [small.request_id], 0.01)
        logs.flush()

    yield "front: parse a new head", lambda: lane.board(Client(), head_and_body), 1
    yield "front: know the head again", lambda: lane.board(client, head_and_body), 1
    yield "front: make an id", RequestIds().new, 1
    yield "front: queue, put and take", through_queue, 1
    yield "front: encode the request", lambda: pack(encode_requests([small])), 1
    yield "worker: read the frame", lambda: read(request_frame), 1
    yield "worker: decode the request", lambda: decode_requests(request_parts), 1
    yield "worker: Service.predict, no-op", lambda: service.predict([small]), 1
    yield "worker: encode the reply", lambda: pack(encode_reply(answer)), 1
    yield "front: read the frame", lambda: read(reply_frame), 1
    yield "front: decode the reply", lambda: decode_reply(reply_parts), 1
    yield "front: answer head", lambda: plain_head(small.request_id, 2), 1
    yield "front: three log lines, made and written", log, LINES


async def measure(repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return nanoseconds a call for every hop: median and least of `repeats` of `seconds` / `repeats` each."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        logs = Logs(Config(log_location=Path(folder), metrics_location=Path(folder)))
        try:
            async with front(Path(folder), logs) as lane:
                for name, hop, calls in hops(lane, logs):
                    figures[name] = spread_of(hop, calls, repeats, seconds / repeats)
                figures["front: all of it, without sockets"] = await whole_front(lane, repeats, seconds / repeats)
        finally:
            logs.close()
    return figures


def spread_of(hop: Hop, calls: int, repeats: int, seconds: float) -> dict[str, float]:
    """Time a hop that awaits nothing."""
    hop()
    begin = time.perf_counter()
    hop()
    number = max(1, int(seconds / max(time.perf_counter() - begin, 1e-7)))
    found = []
    for _ in range(repeats):
        begin_ns = time.perf_counter_ns()
        for _ in range(number):
            hop()
        found.append((time.perf_counter_ns() - begin_ns) / number / calls)
    return _figures(found)


async def whole_front(lane: ExpressLane, repeats: int, seconds: float) -> dict[str, float]:
    """Time requests from their bytes to the bytes of their answers, by a worker that answers at once."""
    found = []
    clients = [Client() for _ in range(IN_FLIGHT)]
    for _ in range(repeats):
        answered = 0
        begin_ns = time.perf_counter_ns()
        while time.perf_counter_ns() - begin_ns < seconds * 1e9:
            for client in clients:
                client.answers.clear()
                client.ask(lane, HEAD + BODY)
            while not all(client.answers for client in clients):
                await asyncio.sleep(0)
            answered += IN_FLIGHT
        found.append((time.perf_counter_ns() - begin_ns) / answered)
    return _figures(found)


def to_markdown(machine: Mapping[str, str], figures: Mapping[str, Mapping[str, float]]) -> str:
    """Write the table."""
    lines = [["step", "ns a call", "least"]]
    lines += [[name, f"{values['median_ns']:.0f}", f"{values['least_ns']:.0f}"] for name, values in figures.items()]
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"Measured: {where}.\n\n{table(lines)}\n"


def _figures(found: list[float]) -> dict[str, float]:
    return {"median_ns": round(statistics.median(found)), "least_ns": round(min(found))}


@click.command()
@click.option("--repeats", default=9, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=0.5, show_default=True, help="For each hop, over all repeats.")
@click.option("--out", type=click.Path(path_type=Path), help="A file for the JSON; else it is printed.")
@click.option("--docs", is_flag=True, help="Write the table into docs/performance.md as well.")
def main(repeats: int, seconds: float, out: Path | None, docs: bool) -> None:
    """Measure every hop."""
    gc.freeze()
    with contextlib.redirect_stdout(sys.stderr):  # where the server's own log lines go to the console
        figures = asyncio.run(measure(repeats, seconds))
    machine = describe_machine()
    text = json.dumps({"machine": machine, "hops": figures}, indent=1) + "\n"
    for name, values in figures.items():
        print(f"{values['median_ns']:10.0f} ns  {name}", file=sys.stderr)
    if docs:
        insert(CHECKOUT / "docs" / "performance.md", PROGRAM, to_markdown(machine, figures))
    if out is None:
        print(text, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)


if __name__ == "__main__":
    main()
