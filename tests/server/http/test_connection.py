"""One client's connection, byte by byte: what stays open, what is closed, and who is disturbed by whom."""

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable

import pytest
from apis import Apis
from fakes import DEADLINE_S, failing, until
from real import Response, Wire

from mms.protocol.messages import Prediction, PredictReply

StartApis = Callable[..., Awaitable[Apis]]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def post(body: bytes, *headers: str, target: str = "/predictions/echo", version: str = "1.1") -> bytes:
    lines = [f"POST {target} HTTP/{version}", "Host: here", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


PING = b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKED = b"POST /predictions/echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


def is_invalid_message(response: Response) -> bool:
    expected = {"code": 400, "type": "BadRequestException", "message": "Invalid HTTP message."}
    return (response.status, json.loads(response.body)) == (400, expected)


async def test_connection_stays_open_after_answers(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        for body in (b"one", b"", b"three"):
            wire.send(post(body))
            response = await wire.answer()
            assert (response.status, response.body) == (200, body)
            assert response.header("connection") == "keep-alive"
            wire.send(PING)
            assert (await wire.answer()).status == 200


async def test_every_header_of_a_prediction(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    response = await world.send(post(b"x"))
    request_id = response.header("x-request-id")
    assert request_id is not None
    assert UUID.fullmatch(request_id)
    assert [(name.lower(), value) for name, value in response.headers] == [
        ("x-request-id", request_id),
        ("pragma", "no-cache"),
        ("cache-control", "no-cache; no-store, must-revalidate, private"),
        ("expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
        ("content-length", "1"),
        ("connection", "keep-alive"),
    ]
    assert response.reason == ""
    assert world.requests[0].request_id == request_id


async def test_every_header_of_an_error(apis: StartApis) -> None:
    world = await apis()
    async with await world.open() as wire:
        wire.send(post(b"x", target="/predictions/nobody"))
        response = await wire.answer()
        assert response.reason == "Not Found"
        assert [name.lower() for name, _ in response.headers] == [
            *("content-type", "x-request-id", "pragma", "cache-control", "expires", "content-length", "connection")
        ]
        assert response.header("content-type") == "application/json"
        assert response.header("connection") == "close"
        assert await wire.is_closed()
    text = response.body.decode()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"


async def test_request_ids_differ_and_are_not_the_clients(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        ids = set()
        for _ in range(3):
            wire.send(post(b"x", "x-request-id: mine"))
            ids.add((await wire.answer()).header("x-request-id"))
    assert len(ids) == 3
    assert "mine" not in ids
    assert b"x-request-id: mine" in world.requests[0].headers


async def test_cors_headers_are_on_every_answer_and_give_way_to_the_handlers(apis: StartApis) -> None:
    world = await apis(cors_allowed_origin="*", cors_allowed_methods="GET, PUT", cors_allowed_headers="X-A")
    await world.model()
    names = ("access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers")
    for response in (await world.send(post(b"x")), await world.send(PING), await world.ask("GET /nowhere")):
        assert [response.header(name) for name in names] == ["*", "GET, PUT", "X-A"]
    own = [("Access-Control-Allow-Origin", "https://mine")]
    world.backend.answer = lambda requests: PredictReply([Prediction(b"", headers=own) for _ in requests])
    response = await world.send(post(b"x"))
    assert [response.header(name) for name in names] == ["https://mine", "GET, PUT", "X-A"]


@pytest.mark.parametrize(
    "headers", [("Connection: close",), ("connection: Close",), ("Connection: keep-alive, close",)]
)
async def test_client_that_asks_for_the_end_gets_it(apis: StartApis, headers: tuple[str, ...]) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(post(b"x", *headers))
        response = await wire.answer()
        assert (response.body, response.header("connection")) == (b"x", "close")
        assert await wire.is_closed()


async def test_http_1_0_closes_unless_asked_otherwise(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(post(b"a", "Connection: keep-alive", version="1.0"))
        assert (await wire.answer()).header("connection") == "keep-alive"
        wire.send(post(b"b", version="1.0"))
        response = await wire.answer()
        assert (response.body, response.header("connection")) == (b"b", "close")
        assert await wire.is_closed()


async def test_pipelined_requests_are_answered_in_order(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(b"".join(post(b"%d" % number) + PING for number in range(20)))
        ids = []
        for number in range(20):
            response = await wire.answer()
            assert response.body == b"%d" % number
            ids.append(response.header("x-request-id"))
            assert json.loads((await wire.answer()).body) == {"status": "Healthy"}
    assert ids == [request.request_id for request in world.requests]


async def test_error_in_a_pipeline_comes_after_the_answers_before_it(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(post(b"a") + post(b"b", target="/predictions/nobody") + post(b"c"))
        assert (await wire.answer()).body == b"a"
        assert (await wire.answer()).status == 404
        assert await wire.is_closed()


async def test_request_in_any_pieces_is_the_same(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    data = post(b"some body", "X-A: b")
    async with await world.open() as wire:
        for size in (1, 7, len(data) - 9, len(data) - 8):
            for start in range(0, len(data), size):
                wire.send(data[start : start + size])
                await wire.writer.drain()
                await asyncio.sleep(0.001 if size > 1 else 0)
            assert (await wire.answer()).body == b"some body"


async def test_chunked_body_is_read_whole(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        for _ in range(2):
            wire.send(CHUNKED + b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nthere\r\n0\r\n\r\n")
            assert (await wire.answer()).body == b"hello there"
    assert b"transfer-encoding" not in world.requests[0].headers.lower()
    assert b"content-length: 11" in world.requests[0].headers


async def test_head_is_answered_without_the_body(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(b"HEAD /ping HTTP/1.1\r\nHost: here\r\n\r\n")
        response = await wire.answer(head_only=True)
        assert (response.status, response.header("content-length")) == (200, "26")
        wire.send(b"HEAD /predictions/echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc")
        assert (await wire.answer(head_only=True)).header("content-length") == "3"
        wire.send(PING)
        assert (await wire.answer()).status == 200


async def test_expectation_is_answered_before_the_body(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(b"POST /predictions/echo HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"body")
        assert (await wire.answer()).body == b"body"


async def test_other_expectation_is_417_and_bare(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    response = await world.send(post(b"", "Expect: miracles"))
    assert (response.status, response.reason, response.headers) == (
        417,
        "Expectation Failed",
        [("content-length", "0")],
    )


@pytest.mark.parametrize("management", [False, True])
async def test_body_above_the_limit_is_413_and_bare(apis: StartApis, management: bool) -> None:
    world = await apis(max_request_size=10)
    await world.model()
    target = "/models" if management else "/predictions/echo"
    for expect in ((), ("Expect: 100-continue",)):
        async with await world.open(management=management) as wire:
            wire.send(post(b"x" * 11, *expect, target=target))
            response = await wire.answer()
            assert (response.status, response.reason, response.headers, response.body) == (
                413,
                "Request Entity Too Large",
                [("content-length", "0")],
                b"",
            )
    assert world.requests == []


async def test_body_of_exactly_the_limit_is_taken(apis: StartApis) -> None:
    world = await apis(max_request_size=10)
    await world.model()
    assert (await world.send(post(b"x" * 10))).body == b"x" * 10
    assert (await world.send(CHUNKED + b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n")).body == b"x" * 10


async def test_chunked_body_above_the_limit_is_413_and_closed(apis: StartApis) -> None:
    world = await apis(max_request_size=10)
    await world.model()
    async with await world.open() as wire:
        wire.send(CHUNKED + b"b\r\n" + b"x" * 11 + b"\r\n")
        assert (await wire.answer()).status == 413
        wire.send(b"0\r\n\r\n")
        assert await wire.is_closed()


MALFORMED = {
    "no HTTP at all": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "odd version": b"GET /ping HTTP/x.y\r\n\r\n",
    "header without a colon": b"GET /ping HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "no host": b"GET /ping HTTP/1.1\r\n\r\n",
    "no host in a prediction": b"POST /predictions/echo HTTP/1.1\r\nX: a\r\n\r\n",
    "two hosts": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "blank before the colon": b"GET /ping HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "NUL in a header": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "folded header": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "length that is no number": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "negative length": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "signed length": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    "two lengths": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length beside chunked": CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "chunk size that is no number": CHUNKED + b"zz\r\nx\r\n",
    "long target": b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long header": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "long header of a prediction": b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_message_is_a_json_400_and_closed(apis: StartApis, data: bytes) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(data)
        response = await wire.answer()
        assert is_invalid_message(response)
        assert response.header("connection") == "close"
        assert response.header("x-request-id")
        assert await wire.is_closed()
    assert world.requests == []
    assert [(line, status) for _, line, status in world.observer.accesses] == [("GET /bad-request HTTP/1.1", 400)]


async def test_malformed_message_after_a_good_one_is_no_harm_to_it(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    async with await world.open() as wire:
        wire.send(post(b"good"))
        assert (await wire.answer()).body == b"good"
        wire.send(b"nonsense\r\n\r\n")
        assert is_invalid_message(await wire.answer())
        assert await wire.is_closed()


async def test_error_answer_reaches_a_client_that_is_still_sending(apis: StartApis) -> None:
    world = await apis(max_request_size=100_000_000)
    async with await world.open() as wire:
        wire.send(
            b"POST /predictions/nobody HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000
        )
        await asyncio.sleep(0)
        wire.send(b"x" * 500_000)
        assert (await wire.answer()).status == 404


INJECTIONS = [
    Prediction(b"", headers=[("x-a", "1\r\nset-cookie: evil=1")]),
    Prediction(b"", headers=[("x-a", "1\nset-cookie: evil=1")]),
    Prediction(b"", headers=[("x-a: 1\r\nset-cookie", "evil=1")]),
    Prediction(b"", headers=[("set-cookie:x", "evil=1"), ("x\0", "1")]),
    Prediction(b"", content_type="text/plain\r\nset-cookie: evil=1"),
    Prediction(b"", reason="OK\r\nset-cookie: evil=1"),
    Prediction(b"", reason="OK\r\n\r\nHTTP/1.1 200 second"),
    Prediction(b"", headers=[("", "empty name")]),
    Prediction(b"", headers=[("a b", "blank in a name")]),
]


@pytest.mark.parametrize("prediction", INJECTIONS)
async def test_worker_cannot_put_headers_into_an_answer(apis: StartApis, prediction: Prediction) -> None:
    world = await apis()
    await world.model()
    world.backend.answer = lambda requests: PredictReply([prediction])
    async with await world.open() as wire:
        wire.send(post(b"x"))
        response = await wire.answer()
        assert response.header("set-cookie") is None
        assert {name.lower() for name, _ in response.headers} <= {
            *("x-request-id", "pragma", "cache-control", "expires", "content-length", "connection", "content-type")
        }
        world.backend.answer = lambda requests: PredictReply([Prediction(b"next")])
        wire.send(post(b"x"))
        assert (await wire.answer()).body == b"next"


async def test_own_headers_win_over_the_handlers(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    own = [
        *(("Content-Length", "999"), ("Connection", "upgrade"), ("X-Request-Id", "mine"), ("Pragma", "x")),
        *(("Transfer-Encoding", "chunked"), ("Cache-Control", "max-age=1"), ("Expires", "never"), ("X-Mine", "1")),
    ]
    world.backend.answer = lambda requests: PredictReply([Prediction(b"body", headers=own)])
    response = await world.send(post(b"x"))
    assert response.body == b"body"
    assert (response.header("x-mine"), response.header("connection")) == ("1", "keep-alive")
    assert response.header("transfer-encoding") is None
    assert response.header("cache-control") == "no-cache; no-store, must-revalidate, private"


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_keeps_the_connection_in_step(apis: StartApis, status: int) -> None:
    world = await apis()
    await world.model()
    world.backend.answer = lambda requests: PredictReply([Prediction(b"not sent", status)])
    async with await world.open() as wire:
        wire.send(post(b"x"))
        response = await wire.answer()
        assert (response.status, response.header("content-length"), response.body) == (status, None, b"")
        wire.send(PING)
        assert (await wire.answer()).status == 200


async def hung_up(wire: Wire) -> None:
    """Leave as a client does that is killed."""
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    wire.writer.transport.abort()
    await asyncio.sleep(0)


async def test_client_that_leaves_while_queued_is_skipped(apis: StartApis) -> None:
    world = await apis()
    world.backend.hold = True
    await world.model()
    first, leaves, last = await world.open(), await world.open(), await world.open()
    first.send(post(b"first"))
    await until(lambda: len(world.backend.batches) == 1)
    model = world.registry.get("echo")
    leaves.send(post(b"leaves"))
    await until(lambda: len(model._queue) == 1)
    last.send(post(b"last"))
    await until(lambda: len(model._queue) == 2)
    await hung_up(leaves)
    await until(lambda: [job.abandoned for job in model._queue._jobs] == [True, False])
    for wire, body in ((first, b"first"), (last, b"last")):
        async with wire:
            world.backend.workers[0].answer()
            assert (await wire.answer()).body == body
    assert [request.parameters[0].value for request in world.requests] == [b"first", b"last"]


async def test_client_that_leaves_while_its_request_runs_disturbs_nobody(apis: StartApis) -> None:
    world = await apis()
    world.backend.hold = True
    await world.model(batch_size=2)
    leaves, stays = await world.open(), await world.open()
    leaves.send(post(b"leaves"))
    stays.send(post(b"stays"))
    await until(lambda: world.backend.batches)
    await hung_up(leaves)
    await asyncio.sleep(0.01)
    world.backend.hold = False
    world.backend.workers[0].answer()
    async with stays:
        if len(world.backend.batches) == 1 and len(world.backend.batches[0]) == 1:
            await until(lambda: len(world.backend.batches) == 2)
        assert (await stays.answer()).body == b"stays"
    assert not world.backend.workers[0].is_gone
    assert (await world.send(post(b"next"))).body == b"next"


async def test_client_that_leaves_in_the_middle_of_its_body_is_no_request(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    wire = await world.open()
    wire.send(post(b"x" * 100)[:-50])
    await asyncio.sleep(0.01)
    await hung_up(wire)
    assert (await world.send(post(b"next"))).body == b"next"
    assert len(world.requests) == 1


async def test_large_bodies_go_both_ways(apis: StartApis) -> None:
    world = await apis(max_request_size=20_000_000)
    await world.model()
    body = bytes(range(256)) * 40_000
    async with await world.open() as wire:
        for _ in range(2):
            wire.send(post(body))
            assert (await wire.answer()).body == body


async def test_client_that_sends_far_ahead_is_answered_in_order(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    body = b"x" * 100_000
    async with await world.open() as wire:

        async def send() -> None:
            for _ in range(40):
                wire.send(post(body))
                await wire.writer.drain()

        sending = asyncio.create_task(send())
        for _ in range(40):
            assert (await wire.answer()).body == body
        await sending


async def test_error_answers_close_the_connection(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    world.backend.answer = failing(503, "Prediction failed")
    async with await world.open() as wire:
        wire.send(post(b"x") + post(b"y"))
        response = await wire.answer()
        assert (response.status, response.header("connection")) == (503, "close")
        assert await wire.is_closed()


async def test_access_log_hears_of_every_answer(apis: StartApis) -> None:
    world = await apis()
    await world.model()
    await world.send(post(b"x"))
    await world.ask("GET /ping?x=1")
    await world.ask("GET /nowhere")
    await until(lambda: len(world.observer.accesses) == 3)
    assert [(line, status) for _, line, status in world.observer.accesses] == [
        ("POST /predictions/echo HTTP/1.1", 200),
        ("GET /ping?x=1 HTTP/1.1", 200),
        ("GET /nowhere HTTP/1.1", 404),
    ]
    assert all(peer.startswith("127.0.0.1:") for peer, _, _ in world.observer.accesses)
