import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mms.protocol.messages import Failure, InferenceRequest, MetricRecord, Parameter, Prediction, PredictReply
from mms.service import PredictionException, Service

Serve = Callable[..., Service]
RequestOf = Callable[..., InferenceRequest]


def recording(seen: list[Any]) -> Any:
    def handle(data: Any, context: Any) -> Any:
        seen.append(data)
        return ["OK"] * len(data)

    return handle


def inputs_of(service: Service, seen: list[Any], request: InferenceRequest) -> Any:
    reply = service.predict([request])
    assert isinstance(reply.results[0], Prediction)
    return seen.pop()[0]


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def recorder(serve: Serve, seen: list[Any]) -> Service:
    return serve(recording(seen))


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("", b"\x00\xff", bytearray(b"\x00\xff")),
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("application/json; charset=utf-8", b"5", 5),
        ("application/json", b"null", None),
        ("Application/JSON", b"5", bytearray(b"5")),
        ("application/vnd.api+json", b"5", bytearray(b"5")),
        ("text/csv", b"1,2\n", "1,2\n"),
        ("text/plain", "héllo".encode(), "héllo"),
        ("text/plain", b"", ""),
        ("TEXT/plain", b"x", bytearray(b"x")),
        ("image/jpeg", b"\xff\xd8", bytearray(b"\xff\xd8")),
        (";;;", b"x", bytearray(b"x")),
    ],
)
def test_a_parameter_is_decoded_by_its_content_type(
    recorder: Service, seen: list[Any], request_of: RequestOf, content_type: str, body: bytes, value: Any
) -> None:
    inputs = inputs_of(recorder, seen, request_of(body, content_type))
    assert inputs == {"body": value}
    assert type(inputs["body"]) is type(value)


def test_json_may_say_nan(recorder: Service, seen: list[Any], request_of: RequestOf) -> None:
    value = inputs_of(recorder, seen, request_of(b"NaN", "application/json"))["body"]
    assert value != value


def test_nothing_is_decoded_if_so_configured(serve: Serve, seen: list[Any], request_of: RequestOf) -> None:
    service = serve(recording(seen), decode_input=False)
    assert inputs_of(service, seen, request_of(b"{broken", "application/json")) == {"body": bytearray(b"{broken")}
    assert inputs_of(service, seen, request_of(b"\xff", "text/plain")) == {"body": bytearray(b"\xff")}


def test_a_large_value_is_not_copied_again(recorder: Service, seen: list[Any]) -> None:
    value = bytearray(b"large")
    request = InferenceRequest("r", b"", [Parameter("body", "", value)])  # type: ignore[arg-type]  # as frames.py does
    assert inputs_of(recorder, seen, request)["body"] is value


def test_of_equal_names_the_last_counts(recorder: Service, seen: list[Any]) -> None:
    request = InferenceRequest("r", b"", [Parameter("a", "", b"1"), Parameter("b", "", b"2"), Parameter("a", "", b"3")])
    assert inputs_of(recorder, seen, request) == {"a": bytearray(b"3"), "b": bytearray(b"2")}


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("application/json", b"{bad", "JSON"),
        ("application/json", b"", "JSON"),
        ("application/json", b'"\xe9"', "JSON"),
        ("application/json", b"\xef\xbb\xbf1", "JSON"),
        ("application/json", b"[" * 100_000, "JSON"),
        ("application/json", b"1" * 5000, "JSON"),
        ("text/plain", b"\xff", "text"),
    ],
)
def test_an_unreadable_body_is_the_clients_error(
    recorder: Service, seen: list[Any], request_of: RequestOf, content_type: str, body: bytes, reason: str
) -> None:
    reply = recorder.predict([request_of(body, content_type, name="data")])
    assert seen == []
    assert reply.metrics == ()
    (failure,) = reply.results
    assert isinstance(failure, Failure)
    assert (failure.code, failure.type) == (400, "BadRequestException")
    assert failure.message.startswith(f'Parameter "data" is not valid {reason}: ')


def test_an_unreadable_request_fails_alone(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.set_response_header(1, "X-Second", "yes")
        return [[request["body"], context.get_request_id(idx)] for idx, request in enumerate(data)]

    requests = [
        request_of(b"{", "application/json", request_id="a"),
        request_of(b"1", "application/json", request_id="b"),
        request_of(b"]", "application/json", request_id="c"),
        request_of(b"2", "application/json", request_id="d"),
    ]
    reply = serve(handle).predict(requests)
    assert [type(result) for result in reply.results] == [Failure, Prediction, Failure, Prediction]
    first, second = reply.results[1], reply.results[3]
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert (json.loads(first.body), json.loads(second.body)) == ([1, "b"], [2, "d"])
    assert (list(first.headers), list(second.headers)) == ([], [("X-Second", "yes")])
    assert reply.metrics[-1].request_id == "b,d"


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ba"), b"ba"),
        ("héllo 世界", "héllo 世界".encode()),
        ("", b""),
        (None, b"null"),
        (True, b"true"),
        (1.5, b"1.5"),
        (2**70, b"1180591620717411303424"),
        (float("nan"), b"NaN"),
        ({"k\u00e9y": 1}, b'{\n  "k\\u00e9y": 1\n}'),
        ((1, 2), b"[\n  1,\n  2\n]"),
        ({1: "one"}, b'{\n  "1": "one"\n}'),
        ([], b"[]"),
    ],
)
def test_results_become_bodies_as_in_mms(serve: Serve, request_of: RequestOf, value: Any, body: bytes) -> None:
    reply = serve(lambda data, context: [value]).predict([request_of()])
    assert reply.results == [Prediction(body, 200, "", None, ())]
    assert type(reply.results[0].body) is bytes  # type: ignore[union-attr]


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [{1, 2}, object(), "\ud800", endless(), {"a": b"bytes"}], ids=repr)
def test_a_result_that_is_no_json_fails_alone(serve: Serve, request_of: RequestOf, value: Any) -> None:
    reply = serve(lambda data, context: ["fine", value, "fine"]).predict([request_of()] * 3)
    failure = Failure(503, "InternalServerException", "Unsupported model output data type.")
    assert reply.results == [Prediction(b"fine"), failure, Prediction(b"fine")]


def test_a_response_over_the_limit_fails_alone(serve: Serve, request_of: RequestOf) -> None:
    service = serve(lambda data, context: ["x" * 10, "x" * 11], max_response_bytes=10)
    fits, too_large = service.predict([request_of()] * 2).results
    assert fits == Prediction(b"x" * 10)
    assert isinstance(too_large, Failure)
    assert (too_large.code, too_large.type) == (500, "InternalServerException")
    assert "11 bytes" in too_large.message
    assert "max_response_size (10 bytes)" in too_large.message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "Invalid model predict output"),
        ({"not": "a list"}, "Invalid model predict output"),
        ("text", "Invalid model predict output"),
        (("a", "b"), "Invalid model predict output"),
        ([], "number of batch response mismatched"),
        (["a", "b", "c"], "number of batch response mismatched"),
    ],
)
def test_a_wrong_return_value_fails_the_batch(serve: Serve, request_of: RequestOf, output: Any, message: str) -> None:
    reply = serve(lambda data, context: output).predict([request_of()] * 2)
    assert reply == PredictReply([Failure(503, "InternalServerException", message)] * 2)


@pytest.mark.parametrize(
    ("exception", "code", "message"),
    [
        (ValueError("secret"), 503, "Prediction failed"),
        (StopIteration(), 503, "Prediction failed"),
        (AssertionError("no"), 503, "Prediction failed"),
        (MemoryError("full"), 507, "Out of resources"),
        (PredictionException("only message"), 500, "only message"),
        (PredictionException("bad input", 400), 400, "bad input"),
        (PredictionException("x", 599), 599, "x"),
        (PredictionException("odd", 299), 299, "odd"),
        (PredictionException("", 500), 500, ""),
        (PredictionException(ValueError("inner"), "404"), 404, "inner"),  # type: ignore[arg-type]
        (PredictionException("lone \ud800 surrogate"), 500, "lone \\ud800 surrogate"),
        (PredictionException("big", 1000), 500, "big"),
        (PredictionException("zero", 0), 500, "zero"),
        (PredictionException("negative", -5), 500, "negative"),
    ],
)
def test_what_a_handler_raises_answers_the_whole_batch(
    serve: Serve, request_of: RequestOf, exception: Exception, code: int, message: str
) -> None:
    def handle(data: Any, context: Any) -> Any:
        raise exception

    reply = serve(handle).predict([request_of()] * 2)
    assert reply == PredictReply([Failure(code, "InternalServerException", message)] * 2)


def test_the_traceback_goes_to_the_log(serve: Serve, request_of: RequestOf, caplog: pytest.LogCaptureFixture) -> None:
    def handle(data: Any, context: Any) -> Any:
        raise ValueError("why it failed")

    serve(handle).predict([request_of()])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "why it failed" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("exception", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_ends_the_process(serve: Serve, request_of: RequestOf, exception: BaseException) -> None:
    def handle(data: Any, context: Any) -> Any:
        raise exception

    with pytest.raises(type(exception)):
        serve(handle).predict([request_of()])


def test_a_handler_that_recovers_serves_the_next_batch(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        if data[0]["body"] == b"bad":
            context.set_all_response_status(404, "never sent")
            raise ValueError
        return ["good"]

    service = serve(handle)
    assert isinstance(service.predict([request_of(b"bad")]).results[0], Failure)
    assert service.predict([request_of(b"x")]).results == [Prediction(b"good")]


def test_status_headers_and_content_type_travel_with_their_request(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.set_response_status(418, "Teapot", 0)
        context.set_response_content_type(1, "text/html")
        context.set_response_header(1, "X-A", 5)
        return ["a", "b"]

    reply = serve(handle).predict([request_of()] * 2)
    assert reply.results == [
        Prediction(b"a", 418, "Teapot", None, ()),
        Prediction(b"b", 200, "", "text/html", [("X-A", "5")]),
    ]


def test_nothing_set_for_one_batch_reaches_the_next(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        if data[0]["body"] == b"set":
            context.set_response_status(404, "Nope")
            context.set_response_header(0, "X-A", "1")
            context.metrics.add_counter("Hits", 1)
        return ["x"]

    service = serve(handle)
    service.predict([request_of(b"set", headers=b"Secret: yes")])
    reply = service.predict([request_of(b"plain", request_id="r-2")])
    assert reply.results == [Prediction(b"x", 200, "", None, ())]
    assert reply.metrics == ()
    assert service.context.get_request_header(0, "Secret") is None
    assert service.context.get_request_id() == "r-2"


def test_header_injection_fails_the_request(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.set_response_header(0, "X-Bad", "a\r\nInjected: 1")
        return ["x"]

    assert serve(handle).predict([request_of()]).results == [
        Failure(503, "InternalServerException", "Prediction failed")
    ]


def test_headers_edited_in_place_are_checked_too(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.get_response_headers(0)["X-Bad"] = "a\nb"
        context.get_response_headers(1)["X-Good"] = "v"
        return ["x", "y"]

    assert serve(handle).predict([request_of()] * 2).results == [
        Failure(503, "InternalServerException", "Prediction failed"),
        Prediction(b"y", 200, "", None, [("X-Good", "v")]),
    ]


def request_headers(serve: Serve, request: InferenceRequest) -> Any:
    reply = serve(lambda data, context: [context.get_all_request_header(0)]).predict([request])
    return json.loads(reply.results[0].body)  # type: ignore[union-attr]


def test_headers_and_parameters_share_one_dict(serve: Serve) -> None:
    request = InferenceRequest(
        "r",
        b"Host: h\nContent-Length: 278\nAccept: text/html",
        [Parameter("a", "", b"1"), Parameter("img", "image/jpeg; q=1", b"2"), Parameter("Accept", "", b"3")],
    )
    assert request_headers(serve, request) == {
        "a": {"content-type": ""},
        "img": {"content-type": "image/jpeg"},
        "Accept": "text/html",
        "Host": "h",
        "Content-Length": "278",
    }


def test_a_chunked_body_has_a_content_length(serve: Serve, request_of: RequestOf) -> None:
    request = request_of(b"hello", headers=b"Host: h\nTransfer-Encoding: chunked")
    assert request_headers(serve, request) == {"body": {"content-type": ""}, "Host": "h", "content-length": "5"}


def test_a_request_without_a_body_has_length_0(serve: Serve, request_of: RequestOf) -> None:
    assert request_headers(serve, request_of(headers=b"Host: h"))["content-length"] == "0"


def test_the_length_of_a_chunked_form_is_unknown(serve: Serve) -> None:
    request = InferenceRequest("r", b"Transfer-Encoding: chunked", [Parameter("a", "", b"1")])
    assert request_headers(serve, request) == {"a": {"content-type": ""}}


def test_metrics_and_time_of_a_batch(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.metrics.add_counter("Hits", 1)
        context.metrics.add_counter("Hits", 2)
        context.metrics.add_time("Step", 3, unit="s", idx=1)
        return ["x", "y"]

    reply = serve(handle).predict([request_of(request_id="a"), request_of(request_id="b")])
    hits, step = reply.metrics
    level = ["ModelName:m", "Level:Model"]
    assert hits == MetricRecord("Hits", "Count", "3", level, "a,b", hits.timestamp)
    assert step == MetricRecord("Step", "Seconds", "3", level, "b", hits.timestamp)
    assert reply.prediction_ms is not None
    assert reply.prediction_ms == round(reply.prediction_ms, 2) >= 0


def test_a_failed_batch_keeps_its_metrics(serve: Serve, request_of: RequestOf) -> None:
    def handle(data: Any, context: Any) -> Any:
        context.metrics.add_error("Reason", "two\nlines")
        raise ValueError

    reply = serve(handle).predict([request_of()])
    assert [(metric.name, metric.value) for metric in reply.metrics] == [("Reason", "two lines")]
    assert reply.prediction_ms is None


def test_metrics_of_loading_travel_with_the_first_batch(serve: Serve, request_of: RequestOf) -> None:
    service = serve(lambda data, context: ["x"] * len(data))
    service.context.metrics.add_size("Weights", 12)
    refused = service.predict([request_of(b"{", "application/json")])
    assert [(metric.name, metric.request_id) for metric in refused.metrics] == [("Weights", "")]
    assert service.predict([request_of()]).metrics == ()


def test_a_metric_that_cannot_be_written_costs_no_answer(serve: Serve, request_of: RequestOf) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("computed too late")

    def handle(data: Any, context: Any) -> Any:
        context.metrics.add_metric("Loss", Broken())
        return ["x"]

    reply = serve(handle).predict([request_of()])
    assert reply.results == [Prediction(b"x")]
    assert reply.metrics == ()


def test_an_empty_batch_is_answered_empty(recorder: Service, seen: list[Any]) -> None:
    assert recorder.predict([]) == PredictReply([])
    assert seen == []
