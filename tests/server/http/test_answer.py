"""Answers as bytes."""

import json

import pytest

from mms.protocol.messages import Failure, Prediction
from mms.server.errors import ModelNotFoundException, RequestEntityTooLarge, WorkerDied
from mms.server.http.answer import (
    Answer,
    error_answer,
    failure_answer,
    is_plain,
    json_answer,
    plain_head,
    prediction_answer,
    standard_phrase,
    status_answer,
)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (404, "Not Found"),
        (507, "Insufficient Storage"),
        (299, "Success (299)"),
        (399, "Redirection (399)"),
        (499, "Client Error (499)"),
        (513, "Server Error (513)"),
        (999, "Unknown Status (999)"),
    ],
)
def test_phrases_of_statuses_are_nettys(status: int, phrase: str) -> None:
    assert standard_phrase(status) == phrase


def test_json_is_indented_and_ends_with_a_line_feed() -> None:
    answer = json_answer({"status": "größe"})
    assert bytes(answer.body) == '{\n  "status": "größe"\n}\n'.encode()


def test_lone_surrogate_in_a_message_can_be_sent() -> None:
    assert json.loads(json_answer({"message": "\ud800"}).body)


def test_error_has_the_body_of_mms() -> None:
    answer = error_answer(ModelNotFoundException("Model not found: x"))
    assert answer.status == 404
    assert json.loads(answer.body) == {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: x"}


def test_inner_errors_keep_their_names_to_themselves() -> None:
    assert json.loads(error_answer(WorkerDied()).body) == {
        "code": 500,
        "type": "InternalServerException",
        "message": "Worker died.",
    }


def test_failure_of_a_worker_is_an_error_with_its_code() -> None:
    answer = failure_answer(Failure(507, "InternalServerException", "Out of resources"))
    assert answer.status == 507
    assert answer.reason == "Insufficient Storage"


def test_too_large_a_body_is_answered_bare() -> None:
    answer = error_answer(RequestEntityTooLarge("x"))
    assert answer.head("id", keep_alive=True) == b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n"


def test_reason_of_a_management_answer_may_be_its_own() -> None:
    assert status_answer("x", status=210, reason="Partial Success").reason == "Partial Success"


@pytest.mark.parametrize("content_type", ["text/plain", ""])
def test_content_type_of_a_prediction_wins_over_its_headers(content_type: str) -> None:
    answer = prediction_answer(Prediction(b"", content_type=content_type, headers=[("Content-Type", "other")]))
    assert list(answer.headers) == [("content-type", content_type)]


def test_prediction_without_a_content_type_gets_none() -> None:
    head = prediction_answer(Prediction(b"x")).head("id", keep_alive=True)
    assert b"content-type" not in head.lower()


def test_header_values_beyond_ascii_are_sent_as_utf_8() -> None:
    head = Answer(headers=[("x-city", "Zürich")]).head("id", keep_alive=True)
    assert "x-city: Zürich\r\n".encode() in head


@pytest.mark.parametrize(("status", "body"), [(200, b"x"), (204, b""), (304, b""), (404, b"x")])
def test_body_is_sent_where_the_status_has_one(status: int, body: bytes) -> None:
    answer = Answer(b"x", status=status)
    assert answer.body_for("GET") == body
    assert answer.body_for("HEAD") == b""
    assert (b"content-length: 1" in answer.head("id", keep_alive=True)) is bool(body)


@pytest.mark.parametrize(("status", "open_"), [(200, True), (302, True), (399, True), (400, False), (503, False)])
def test_errors_close(status: int, open_: bool) -> None:
    assert Answer(status=status).keeps_open(asked=True) is open_
    assert Answer(status=status).keeps_open(asked=False) is False


def test_plain_head_is_the_head_of_a_plain_prediction() -> None:
    prediction = Prediction(b"OK")
    assert is_plain(prediction)
    assert plain_head("id", 2) == prediction_answer(prediction).head("id", keep_alive=True)


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction(b"", 201),
        Prediction(b"", 204),
        Prediction(b"", 200, "Fine"),
        Prediction(b"", 200, "", ""),
        Prediction(b"", headers=[("a", "b")]),
    ],
)
def test_any_other_prediction_is_not_plain(prediction: Prediction) -> None:
    assert not is_plain(prediction)
