"""The short way for plain predictions: nobody can tell it from the long one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from apis import Apis
from fakes import FakeBackend, FakeObserver, until

from mms.headers import split_headers
from mms.protocol.messages import Failure, Prediction, PredictReply
from mms.server.config import Config
from mms.server.http.express import ExpressLane, Head, Ride
from mms.server.model_store import ModelStore
from mms.server.registry import ModelRegistry

StartApis = Callable[..., Awaitable[Apis]]

MULTIPART = (
    b'--X\r\nContent-Disposition: form-data; name="data"; filename="a.json"\r\n'
    b"Content-Type: application/json\r\n\r\n{}\r\n--X--\r\n"
)


def raw(*headers: str, body: bytes = b"", length: bool = True, line: str = "POST /predictions/echo HTTP/1.1") -> bytes:
    lines = [line, "Host: here", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


REQUESTS = {
    "plain": raw(body=b"x"),
    "no body": raw(),
    "no length": raw(length=False),
    "json": raw("Content-Type: application/json; charset=utf-8", body=b"{}"),
    "content type in capitals": raw("CONTENT-TYPE: TEXT/Plain", body=b"x"),
    "blanks around values": raw("Content-Type:\t text/plain \t", "X-A:   b  ", body=b"x"),
    "form": raw("Content-Type: application/x-www-form-urlencoded", body=b"a=1&b=%20&c"),
    "broken form": raw("Content-Type: application/x-www-form-urlencoded", body=b"a=%"),
    "multipart": raw("Content-Type: multipart/form-data; boundary=X", body=MULTIPART),
    "part without a name": raw("Content-Type: multipart/form-data; boundary=X", body=b"--X\r\n\r\n\r\n--X--"),
    "latin-1 header": raw("X-A: \xe9", body=b"x"),
    "empty header": raw("X-A:", body=b"x"),
    "repeated header": raw("X-A: 1", "X-A: 2", body=b"x"),
    "many headers": raw(*(f"X-{number}: {number}" for number in range(100)), body=b"x"),
    "keep-alive": raw("Connection: Keep-Alive", body=b"x"),
    "close": raw("Connection: close", body=b"x"),
    "te": raw("TE: trailers", body=b"x"),
    "h2c": raw("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ", body=b"x"),
    "escaped name": raw(line="POST /predictions/%65cho HTTP/1.1", body=b"x"),
    "slash behind": raw(line="POST /predictions/echo/ HTTP/1.1", body=b"x"),
    "query": raw(line="POST /predictions/echo?a=1 HTTP/1.1", body=b"x"),
    "put": raw(line="PUT /predictions/echo HTTP/1.1", body=b"x"),
    "get": raw(line="GET /predictions/echo HTTP/1.1"),
    "options": raw(line="OPTIONS /predictions/echo HTTP/1.1"),
    "http/1.0": raw(line="POST /predictions/echo HTTP/1.0", body=b"x"),
    "unknown model": raw(line="POST /predictions/nobody HTTP/1.1", body=b"x"),
    "no name": raw(line="POST /predictions/ HTTP/1.1", body=b"x"),
    "too large": raw(body=b"x" * 2000),
    "two content types": raw("Content-Type: a/b", "Content-Type: c/d", body=b"x"),
    "two equal lengths": raw("Content-Length: 1", body=b"x"),
    "signed length": raw("Content-Length: +1", length=False, body=b"x"),
    "length list": raw("Content-Length: 1, 1", length=False, body=b"x"),
    "length in hex": raw("Content-Length: 0x1", length=False, body=b"x"),
    "length with a leading zero": raw("Content-Length: 01", length=False, body=b"x"),
    "huge length": raw("Content-Length: 99999999999999999999", length=False),
    "control in a header": raw("X-A: a\x01b", body=b"x"),
    "DEL in a header": raw("X-A: a\x7fb", body=b"x"),
    "odd header name": raw("X(A): b", body=b"x"),
    "folded": raw("X-A: a\r\n b", body=b"x"),
    "bare CR": raw("X-A: a\rb", body=b"x"),
}


async def outcome(world: Apis, data: bytes) -> object:
    """Return all that a client, a handler and the access log see of one request."""
    await world.model()
    response = await world.send(data)
    await until(lambda: world.observer.accesses)
    headers = [(name, value) for name, value in response.headers if name != "x-request-id"]
    handler_saw = [(split_headers(request.headers), request.parameters) for request in world.requests]
    log_saw = [(line, status) for _, line, status in world.observer.accesses]
    return (response.status, response.reason, headers, response.body), handler_saw, log_saw


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS.keys())
async def test_both_ways_give_the_same(start_apis: StartApis, data: bytes) -> None:
    settings = {"max_request_size": 1000, "cors_allowed_origin": "*"}
    express, aiohttp = [await start_apis(has_lane=has_lane, **settings) for has_lane in (True, False)]
    assert await outcome(express, data) == await outcome(aiohttp, data)


@pytest.mark.parametrize(
    "result",
    [
        Prediction(b"x", 201, "Made", "a/b", [("X-A", "1")]),
        Prediction(b"x" * 100_000, content_type=""),
        Prediction(b"gone", 204),
        Prediction(b"moved", 302, "", None, [("Location", "/ping")]),
        Prediction(b"teapot", 418, "I'm a teapot"),
        Failure(503, "InternalServerException", "Prediction failed"),
        Failure(400, "BadRequestException", "gr\u00f6\u00dfe"),
    ],
)
async def test_both_ways_answer_the_same(start_apis: StartApis, result: Prediction | Failure) -> None:
    worlds = [await start_apis(has_lane=has_lane) for has_lane in (True, False)]
    for world in worlds:
        world.backend.answer = lambda requests: PredictReply([result for _ in requests])
    express, aiohttp = [await outcome(world, REQUESTS["plain"]) for world in worlds]
    assert express == aiohttp


class NoLine:
    """A connection that no test writes to."""

    transport: asyncio.Transport | None = None
    peer = ""
    head: Head | None = None

    def ride_is_over(self, rest: bytes) -> None:
        """See express.Line."""


@pytest.fixture
async def lane(config: Callable[..., Config]) -> ExpressLane:
    settings = config()
    store = ModelStore(None, settings.temp_dir, allow_private_urls=False)
    observer = FakeObserver()
    registry = ModelRegistry(settings, store, FakeBackend(), observer)
    return ExpressLane(registry, observer, max_request_bytes=1000, cors=())


@pytest.mark.parametrize("name", ["plain", "json", "form", "multipart", "keep-alive", "repeated header", "no length"])
async def test_ordinary_predictions_take_the_short_way(lane: ExpressLane, name: str) -> None:
    assert lane.board(NoLine(), REQUESTS[name]) is not None


@pytest.mark.parametrize(
    "name",
    ["close", "te", "h2c", "get", "http/1.0", "query", "too large", "signed length", "folded", "two equal lengths"],
)
async def test_anything_else_does_not(lane: ExpressLane, name: str) -> None:
    assert lane.board(NoLine(), REQUESTS[name]) is None


class FakeTransport(asyncio.Transport):
    """A connection that keeps what is written to it, or to which nothing can be written."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False
        self._broken = broken

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._broken:
            raise RuntimeError("broken")
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True


def board(lane: ExpressLane, transport: FakeTransport) -> Ride:
    line = NoLine()
    line.transport = transport
    ride = lane.board(line, REQUESTS["plain"])
    assert ride is not None
    return ride


async def test_the_answers_of_one_turn_leave_together_at_its_end(lane: ExpressLane) -> None:
    transports = [FakeTransport(), FakeTransport()]
    for transport, body in zip(transports, (b"one", b"two"), strict=True):
        board(lane, transport).set_result(Prediction(body))
    assert [transport.written for transport in transports] == [[], []]
    await asyncio.sleep(0)
    assert [transport.written[0][-3:] for transport in transports] == [b"one", b"two"]
    await asyncio.sleep(0)
    assert [len(transport.written) for transport in transports] == [1, 1]


async def test_an_answer_that_cannot_be_written_ends_that_connection_only(
    lane: ExpressLane, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = FakeTransport(broken=True), FakeTransport()
    rides = [board(lane, transport) for transport in (broken, sound)]
    for ride in rides:
        ride.set_result(Prediction(b"x"))
    lane.flush()
    assert all(ride.done() for ride in rides)
    assert broken.aborted
    assert not sound.aborted
    assert len(sound.written) == 1
    assert "could not be answered" in caplog.text
