"""Management parameters: types, defaults, limits and the words of every refusal."""

import json

import pytest

from mms.server.errors import BadRequestException
from mms.server.http.payload import page_request, register_request, scale_request
from mms.server.http.target import Target, parse_target
from mms.server.model import RegisterModelRequest


def query(text: str) -> Target:
    return parse_target(f"/models?{text}")


def from_query(text: str) -> RegisterModelRequest:
    return register_request(query(text), "", b"")


def from_json(document: object) -> RegisterModelRequest:
    return register_request(query("url=ignored"), "application/json; charset=utf-8", json.dumps(document).encode())


def test_url_alone_gives_the_defaults_of_mms() -> None:
    assert from_query("url=m.mar") == RegisterModelRequest(
        url="m.mar",
        model_name=None,
        handler=None,
        runtime=None,
        batch_size=1,
        max_batch_delay_ms=100,
        response_timeout_s=None,
        initial_workers=None,
        preload_model=None,
        synchronous=True,
    )


FULL = {
    "url": "m.mar",
    "model_name": "n",
    "handler": "h.py:f",
    "runtime": "python3",
    "batch_size": "4",
    "max_batch_delay": "0",
    "response_timeout": "7",
    "initial_workers": "2",
    "preload_model": "True",
    "synchronous": "false",
    "unknown": "x",
}
FULL_REQUEST = RegisterModelRequest(
    url="m.mar",
    model_name="n",
    handler="h.py:f",
    runtime="python3",
    batch_size=4,
    max_batch_delay_ms=0,
    response_timeout_s=7,
    initial_workers=2,
    preload_model=True,
    synchronous=False,
)


def test_query_sets_everything() -> None:
    assert from_query("&".join(f"{key}={value}" for key, value in FULL.items())) == FULL_REQUEST


def test_json_sets_everything_as_text_or_as_values() -> None:
    values = FULL | {"batch_size": 4, "max_batch_delay": 0, "response_timeout": 7, "initial_workers": 2}
    values |= {"preload_model": True, "synchronous": False}
    assert from_json(FULL) == from_json(values) == FULL_REQUEST


def test_json_body_counts_instead_of_the_query() -> None:
    assert from_json({"url": "json.mar"}).url == "json.mar"


def test_other_bodies_are_ignored() -> None:
    request = register_request(query("url=q.mar"), "application/x-www-form-urlencoded", b"url=form.mar")
    assert request.url == "q.mar"


def test_first_of_a_repeated_parameter_counts() -> None:
    assert from_query("url=a.mar&url=b.mar").url == "a.mar"


@pytest.mark.parametrize("text", ["", "url=", "model_name=x", "URL=m.mar"])
def test_url_is_required(text: str) -> None:
    with pytest.raises(BadRequestException, match=r"^Parameter url is required\.$"):
        from_query(text)


def test_runtime_is_checked_before_the_url() -> None:
    with pytest.raises(BadRequestException, match=r"^Invalid RuntimeType value: java$"):
        from_query("runtime=java")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size=0", "batch_size must be at least 1, not 0"),
        ("batch_size=-3", "batch_size must be at least 1"),
        ("batch_size=x", "batch_size must be a whole number, not 'x'"),
        ("batch_size=1.5", "batch_size must be a whole number"),
        ("batch_size=99999999999", "batch_size must be a whole number"),
        ("max_batch_delay=-1", "max_batch_delay must be at least 0"),
        ("response_timeout=0", "response_timeout must be at least 1 second"),
        ("preload_model=banana", "preload_model must be true or false, not 'banana'"),
    ],
)
def test_value_that_cannot_work_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(BadRequestException, match=f"^Parameter {message}"):
        from_query(f"url=m.mar&{text}")


@pytest.mark.parametrize(
    "document",
    [{"url": 5}, {"url": "m", "model_name": {}}, {"url": "m", "batch_size": True}, {"url": "m", "handler": []}],
)
def test_json_value_of_another_type_is_refused(document: object) -> None:
    with pytest.raises(BadRequestException, match=r"^Parameter \w+ must be a "):
        from_json(document)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b"[]", b'"url"', b"5", b"[" * 100_000])
def test_json_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestException, match="^The JSON body"):
        register_request(query(""), "application/json", body)


@pytest.mark.parametrize(("text", "workers"), [("", None), ("x", None), ("0", 0), ("-2", 0), ("3", 3)])
def test_initial_workers_are_read_leniently(text: str, workers: int | None) -> None:
    assert from_query(f"url=m.mar&initial_workers={text}").initial_workers == workers


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("false", False), ("1", False), ("", False)]
)
def test_only_true_is_synchronous(text: str, value: bool) -> None:
    assert from_query(f"url=m.mar&synchronous={text}").synchronous is value


@pytest.mark.parametrize("text", ["-1", ""])
def test_response_timeout_that_says_nothing_is_the_default(text: str) -> None:
    assert from_query(f"url=m.mar&response_timeout={text}").response_timeout_s is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", (1, 1, False)),
        ("min_worker=3", (3, 3, False)),
        ("max_worker=3", (1, 3, False)),
        ("min_worker=0", (0, 0, False)),
        ("min_worker=0&max_worker=2&synchronous=True", (0, 2, True)),
        ("min_worker=1&number_gpu=4&timeout=x", (1, 1, False)),
    ],
)
def test_scale_parameters(text: str, numbers: tuple[int, int, bool]) -> None:
    assert scale_request(query(text)) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_worker=2&max_worker=1", r"max_worker cannot be less than min_worker\."),
        ("max_worker=0", r"max_worker cannot be less than min_worker\."),
        ("min_worker=-1", "Parameter min_worker must be at least 0"),
        ("max_worker=-1", "Parameter max_worker must be at least 0"),
        ("min_worker=x", "Parameter min_worker must be a whole number"),
    ],
)
def test_scale_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadRequestException, match=f"^{message}"):
        scale_request(query(text))


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("", (100, 0)),
        ("limit=5&next_page_token=10", (5, 10)),
        ("limit=0", (100, 0)),
        ("limit=101", (100, 0)),
        ("limit=-1", (100, 0)),
        ("limit=x&next_page_token=y", (100, 0)),
        ("next_page_token=-5", (100, 0)),
        ("next_page_token=99999999999999", (100, 99999999999999)),
    ],
)
def test_page_parameters_that_cannot_be_read_are_the_default(text: str, page: tuple[int, int]) -> None:
    assert page_request(query(text)) == page
