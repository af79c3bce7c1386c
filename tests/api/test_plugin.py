"""What an endpoint plugin holds in its hands: Request and Response."""

import json

import pytest

from mms.plugin import EndpointType, ModelServerEndpoint, Request, Response


def request(**fields: object) -> Request:
    usual: dict[str, object] = {
        "method": "GET",
        "uri": "/it",
        "path": "/it",
        "parameters": {},
        "headers": {},
        "body": b"",
    }
    return Request(**(usual | fields))  # type: ignore[arg-type]  # named by the tests


def test_headers_are_found_in_any_case() -> None:
    asked = request(headers={"content-type": "text/plain", "x-a": "1"})
    assert (asked.header("X-A"), asked.header("x-a"), asked.header("X-B")) == ("1", "1", None)
    assert asked.content_type == "text/plain"
    assert request().content_type is None


def test_the_first_value_of_a_parameter() -> None:
    asked = request(parameters={"a": ("1", "2"), "empty": ("",)})
    assert (asked.parameter("a"), asked.parameter("empty"), asked.parameter("b")) == ("1", "", None)


def test_every_stream_begins_at_the_beginning() -> None:
    asked = request(body=b"abc")
    assert (asked.stream.read(), asked.stream.read(2)) == (b"abc", b"ab")


def test_a_response_is_200_and_empty_at_first() -> None:
    response = Response()
    assert (response.status, response.reason, response.headers, bytes(response.body)) == (200, None, [], b"")


def test_a_header_that_is_set_takes_the_place_of_all_of_its_name() -> None:
    response = Response()
    response.add_header("X-A", "1")
    response.add_header("x-a", "2")
    response.add_header("X-B", "3")
    response.set_header("X-a", "4")
    assert response.headers == [("X-B", "3"), ("X-a", "4")]


def test_text_and_bytes_make_one_body() -> None:
    response = Response()
    for part in ("grün ", b"blau ", bytearray(b"rot "), memoryview(b"gelb")):
        response.write(part)
    assert bytes(response.body).decode() == "grün blau rot gelb"


def test_json_is_written_as_the_server_writes_its_own() -> None:
    response = Response()
    response.write_json({"name": "Zoë"})
    assert bytes(response.body).decode() == '{\n  "name": "Zoë"\n}\n'
    assert json.loads(response.body) == {"name": "Zoë"}
    assert response.headers == [("content-type", "application/json")]


@pytest.mark.parametrize("status", [0, 100, 199, 1000, -1, "abc", None, 2.5])
def test_a_status_that_no_answer_can_have_is_refused(status: object) -> None:
    with pytest.raises(ValueError, match="status must"):
        Response().set_status(status)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(("name", "value"), [("a b", "x"), ("", "x"), ("a", "x\r\nb: c"), ("a\n", "x"), ("a", "\0")])
def test_a_header_that_http_cannot_carry_is_refused(name: str, value: str) -> None:
    response = Response()
    for method in (response.set_header, response.add_header):
        with pytest.raises(ValueError):
            method(name, value)
    assert response.headers == []


def test_a_phrase_of_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="reason phrase"):
        Response().set_status(200, "OK\r\nX-Evil: 1")


def test_a_plugin_belongs_to_the_inference_api_unless_it_says_otherwise() -> None:
    assert ModelServerEndpoint.endpoint_type is EndpointType.INFERENCE
    assert EndpointType("management") is EndpointType.MANAGEMENT
