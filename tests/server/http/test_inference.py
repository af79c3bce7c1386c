"""The inference API: which route asks which model, and what its handler gets."""

import json
from collections.abc import Awaitable, Callable

import pytest
from apis import Apis
from fakes import failing, until

from mms.headers import split_headers
from mms.protocol.messages import Parameter, Prediction, PredictReply
from mms.server.http.openapi import inference_description, model_description

StartApis = Callable[..., Awaitable[Apis]]

MULTIPART = (
    b'--X\r\nContent-Disposition: form-data; name="text"\r\n\r\nplain\r\n'
    b'--X\r\nContent-Disposition: form-data; name="data"; filename="a.json"\r\n'
    b"Content-Type: application/json\r\n\r\n{}\r\n--X--\r\n"
)


@pytest.fixture
async def world(apis: StartApis) -> Apis:
    """Two models, echo and other, of which echo is the only one from the start."""
    world = await apis()
    await world.model("echo", at_startup=True)
    await world.model("other")
    return world


def error(body: bytes) -> tuple[str, str]:
    document = json.loads(body)
    return document["type"], document["message"]


@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("POST /predictions/echo", "echo"),
        ("POST /predictions/other/and/more", "other"),
        ("POST /predictions%2Fother", "other"),
        ("PUT /predictions/echo/", "echo"),
        ("POST /invocations", "echo"),
        ("POST /invocations?model_name=", "echo"),
        ("POST /invocations?model_name=other", "other"),
        ("POST /models/other/invoke", "other"),
        ("POST /other/predict", "other"),
        ("DELETE /other/predict", "other"),
    ],
)
async def test_route_asks_its_model(world: Apis, line: str, model: str) -> None:
    assert (await world.ask(line, b"x")).status == 200
    [asked] = [worker.spec.model_name for worker in world.backend.workers if worker.answered]
    assert asked == model


@pytest.mark.parametrize(
    "line",
    [
        "GET /nowhere",
        "POST /models/echo",
        "GET /models",
        "POST /models/echo/other",
        "POST /predictions",
        "POST /echo/predict/more",
        "POST /invocations/echo",
        "GET //ping",
        "GET /Ping",
        "GET http://here/ping",
    ],
)
async def test_other_routes_are_not_found(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert response.status == 404
    assert error(response.body) == (
        "ResourceNotFoundException",
        "Requested resource is not found, please refer to API document.",
    )


@pytest.mark.parametrize(
    "line", ["POST /predictions/nobody", "POST /invocations?model_name=nobody", "OPTIONS /predictions/nobody"]
)
async def test_unknown_model_is_named(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert (response.status, error(response.body)) == (404, ("ModelNotFoundException", "Model not found: nobody"))


async def test_invocation_without_a_name_needs_exactly_one_startup_model(world: Apis) -> None:
    await world.model("third", at_startup=True)
    response = await world.ask("POST /invocations", b"x")
    assert (response.status, error(response.body)) == (
        400,
        ("BadRequestException", "Parameter model_name is required."),
    )
    response = await world.ask("POST /invocations?model_name=", b"x")
    assert (response.status, error(response.body)) == (404, ("ModelNotFoundException", "Model not found: "))


@pytest.mark.parametrize("line", ["GET /ping", "POST /ping/deeper", "DELETE /ping/"])
async def test_ping_tells_the_health(world: Apis, line: str) -> None:
    assert json.loads((await world.ask(line)).body) == {"status": "Healthy"}


async def test_ping_is_200_for_the_unhealthy_too(apis: StartApis) -> None:
    world = await apis()
    world.backend.fail_loads()
    model = await world.model(workers=0)
    await model.scale(1, 1, wait=False)
    await until(lambda: not model.pool.running)
    response = await world.ask("GET /ping")
    assert (response.status, json.loads(response.body)) == (200, {"status": "Unhealthy"})


@pytest.mark.parametrize("line", ["OPTIONS /", "GET /api-description", "POST /api-description/"])
async def test_api_describes_itself(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert (response.status, json.loads(response.body)) == (200, inference_description())


@pytest.mark.parametrize("line", ["OPTIONS /predictions/echo", "OPTIONS /invocations", "OPTIONS /echo/predict"])
async def test_model_describes_itself(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert (response.status, json.loads(response.body)) == (200, model_description("echo"))
    assert world.requests == []


@pytest.mark.parametrize("line", ["GET /", "POST /", "GET /api-description/more"])
async def test_description_by_another_method_is_refused(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert (response.status, error(response.body)) == (
        405,
        ("MethodNotAllowedException", "Requested method is not allowed, please refer to API document."),
    )


async def test_options_of_everything_is_the_description(world: Apis) -> None:
    assert (await world.ask("OPTIONS *")).status == 200


@pytest.mark.parametrize("line", ["POST /predictions/%zz", "GET /ping?a=%", "POST /invocations?model_name=%f"])
async def test_broken_escape_is_the_clients_fault(world: Apis, line: str) -> None:
    response = await world.ask(line)
    assert response.status == 400
    assert error(response.body)[0] == "BadRequestException"


@pytest.mark.parametrize(
    ("content_type", "body", "parameters"),
    [
        (None, b"\x00\xff", [Parameter("body", "", b"\x00\xff")]),
        (None, b"", [Parameter("body", "", b"")]),
        ("image/jpeg", b"x", [Parameter("body", "image/jpeg", b"x")]),
        ("Application/JSON; a=b", b"{}", [Parameter("body", "Application/JSON; a=b", b"{}")]),
        (
            "application/x-www-form-urlencoded",
            b"a=1+2&b=%00%ff&flag&=v&a=3",
            [
                Parameter("a", "", b"1 2"),
                Parameter("b", "", b"\x00\xff"),
                Parameter("flag", "", b""),
                Parameter("", "", b"v"),
                Parameter("a", "", b"3"),
            ],
        ),
        ("APPLICATION/x-www-form-URLENCODED; charset=utf-8", b"a=1", [Parameter("a", "", b"1")]),
        ("application/x-www-form-urlencoded", b"", []),
        (
            "application/x-www-form-urlencoded",
            b"hello",
            [Parameter("body", "application/x-www-form-urlencoded", b"hello")],
        ),
        (
            'multipart/form-data; boundary="X"',
            MULTIPART,
            [Parameter("text", "", b"plain"), Parameter("data", "application/json", b"{}")],
        ),
        ("Multipart/Form-Data; boundary=X", MULTIPART[:-9], [Parameter("text", "", b"plain")]),
        ("multipart/form-data", b"x", [Parameter("body", "multipart/form-data", b"x")]),
        ("multipart/form-data; boundary=X", b"garbage", []),
        ("multipart/mixed; boundary=X", b"x", [Parameter("body", "multipart/mixed; boundary=X", b"x")]),
    ],
)
async def test_body_becomes_parameters(
    world: Apis, content_type: str | None, body: bytes, parameters: list[Parameter]
) -> None:
    assert (await world.ask("POST /predictions/echo", body, content_type=content_type)).status == 200
    assert world.requests[0].parameters == parameters


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"a=%zz"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 10_001)),
        ("multipart/form-data; boundary=X", b"--X\r\nContent-Disposition: form-data\r\n\r\nv\r\n--X--"),
    ],
)
async def test_body_that_cannot_be_read_is_the_clients_fault(world: Apis, content_type: str, body: bytes) -> None:
    response = await world.ask("POST /predictions/echo", body, content_type=content_type)
    assert (response.status, error(response.body)[0]) == (400, "BadRequestException")
    assert world.requests == []


@pytest.mark.parametrize("route", ["/invocations", "/models/echo/invoke", "/echo/predict"])
async def test_query_parameters_come_before_those_of_the_body(world: Apis, route: str) -> None:
    await world.ask(
        f"POST {route}?model_name=echo&a=q&b=%C3%BC", b"a=body", content_type="application/x-www-form-urlencoded"
    )
    assert world.requests[0].parameters == [
        Parameter("model_name", "", b"echo"),
        Parameter("a", "", b"q"),
        Parameter("b", "", "ü".encode()),
        Parameter("a", "", b"body"),
    ]


async def test_query_of_predictions_is_not_for_the_handler(world: Apis) -> None:
    await world.ask("POST /predictions/echo?a=1", b"x")
    assert world.requests[0].parameters == [Parameter("body", "", b"x")]


async def test_headers_reach_the_handler_as_they_were_spelled(world: Apis) -> None:
    await world.send(
        b"GET /predictions/echo HTTP/1.1\r\nHOST: Here\r\nx-A: \xe9\r\nX-Request-Id: mine\r\nx-A: last\r\n\r\n"
    )
    assert split_headers(world.requests[0].headers) == {
        "HOST": "Here",
        "x-A": "last",
        "X-Request-Id": "mine",
        "content-length": "0",
    }


async def test_compressed_body_stays_compressed(world: Apis) -> None:
    await world.send(
        b"POST /predictions/echo HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert world.requests[0].parameters[0].value == b"abc"


async def test_prediction_is_sent_as_the_handler_made_it(world: Apis) -> None:
    made = Prediction(b"\x00\xff", 299, "as I like", "image/x", [("X-Mine", "1")])
    world.backend.answer = lambda requests: PredictReply([made])
    response = await world.ask("POST /predictions/echo", b"x")
    assert (response.status, response.reason, response.body) == (299, "as I like", b"\x00\xff")
    assert (response.header("content-type"), response.header("x-mine")) == ("image/x", "1")


async def test_failure_of_a_handler_is_the_error_it_said(world: Apis) -> None:
    world.backend.answer = failing(507, "Out of resources")
    response = await world.ask("POST /predictions/echo", b"x")
    assert (response.status, error(response.body)) == (507, ("InternalServerException", "Out of resources"))


async def test_death_of_a_worker_is_a_500(world: Apis) -> None:
    world.backend.hold = True
    async with await world.open() as wire:
        wire.send(b"POST /predictions/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        await until(lambda: world.backend.batches)
        world.backend.workers[0].die()
        response = await wire.answer()
    assert (response.status, error(response.body)) == (500, ("InternalServerException", "Worker died."))


async def test_model_without_workers_is_a_503(world: Apis) -> None:
    await world.model("idle", workers=0)
    response = await world.ask("POST /predictions/idle", b"x")
    assert (response.status, error(response.body)) == (
        503,
        (
            "ServiceUnavailableException",
            "No worker is available to serve request for model: idle. Consider increasing job queue size.",
        ),
    )


async def test_fault_of_our_own_is_a_500_without_details(world: Apis, caplog: pytest.LogCaptureFixture) -> None:
    def broken(requests: object, answered: object) -> None:
        raise KeyError("secret")

    world.backend.workers[0].predict = broken  # type: ignore[assignment]  # a backend with a bug
    response = await world.ask("POST /predictions/echo", b"x")
    assert (response.status, error(response.body)[0]) == (500, "InternalServerException")
    assert b"secret" not in response.body
    assert "secret" in caplog.text
