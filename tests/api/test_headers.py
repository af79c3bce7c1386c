from http import HTTPStatus

import pytest

from mms.headers import check_header, check_status, mime_type, response_headers, split_headers


@pytest.mark.parametrize(
    ("code", "status"), [(200, 200), (999, 999), ("201", 201), (HTTPStatus.IM_A_TEAPOT, 418), (599, 599)]
)
def test_a_final_status_is_an_int(code: object, status: int) -> None:
    assert type(check_status(code)) is int
    assert check_status(code) == status


@pytest.mark.parametrize("code", [-1, 0, 100, 103, 199, 1000, True, "", "abc", "2.5", 200.0, None, object()])
def test_what_no_final_answer_can_have_is_refused(code: object) -> None:
    with pytest.raises(ValueError, match="response status"):
        check_status(code)


@pytest.mark.parametrize(
    ("value", "text"), [("v", "v"), (5, "5"), (1.5, "1.5"), (b"caf\xe9", "café"), ("a\tb", "a\tb"), ("世界", "世界")]
)
def test_a_header_value_becomes_text(value: object, text: str) -> None:
    assert check_header("X-Thing", value) == ("X-Thing", text)


@pytest.mark.parametrize("value", ["a\r\nInjected: 1", "a\nb", "a\rb", "a\x00b", "\x7f", "\ud800", b"a\nb", None])
def test_a_value_that_would_break_the_answer_names_its_header(value: object) -> None:
    with pytest.raises(ValueError, match="'X-Thing'"):
        check_header("X-Thing", value)


@pytest.mark.parametrize("name", ["", "two words", "colon:", "line\nbreak", "ümlaut", (1, 2)])
def test_a_name_that_is_no_token_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="name of a response header"):
        check_header(name, "v")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("", ""), ("text/csv", "text/csv"), ("application/json; charset=utf-8", "application/json"), (";;;", "")],
)
def test_a_mime_type_has_no_parameters(content_type: str, expected: str) -> None:
    assert mime_type(content_type) == expected


def test_a_block_splits_into_headers_as_they_were_spelled() -> None:
    block = b"X-Dup: one\nX-Dup: two\nx-dup: three\nTransfer-Encoding: chunked\nEmpty:\nX-U: caf\xc3\xa9\nUrl: a:b"
    assert split_headers(block) == {"X-Dup": "two", "x-dup": "three", "Empty": "", "X-U": "cafÃ©", "Url": "a:b"}


def test_no_headers_is_an_empty_block() -> None:
    assert split_headers(b"") == {}


def test_the_content_type_is_told_apart_whatever_its_case() -> None:
    headers = [("X-A", "1"), ("Content-Type", "text/odd"), ("x-a", "2"), ("X-B", "3")]
    assert response_headers(headers) == ("text/odd", [("x-a", "2"), ("X-B", "3")])


def test_an_empty_content_type_is_not_none() -> None:
    assert response_headers([("content-type", "")]) == ("", [])
    assert response_headers([]) == (None, [])
