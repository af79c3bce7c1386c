"""multipart/form-data, whole and in pieces."""

import pytest

from mms.protocol.messages import Parameter
from mms.server.errors import BadRequestException
from mms.server.http.multipart import MAX_PARTS, boundary_of, parse_multipart

BODY = (
    b"--XX\r\n"
    b'Content-Disposition: form-data; name="text"\r\n'
    b"Content-Type: application/json\r\n"
    b"\r\n"
    b"plain\r\n"
    b"--XX\r\n"
    b'content-disposition: form-data; name="data"; filename="cat.jpg"\r\n'
    b"content-type: image/jpeg\r\n"
    b"\r\n"
    b"\x00\xff\r\n--X\r\n\r\n\r\n"
    b"--XX\r\n"
    b'Content-Disposition: form-data; name=bare; filename="x"\r\n'
    b"\r\n"
    b"\r\n"
    b"--XX--\r\n"
)
PARTS = [
    Parameter("text", "", b"plain"),
    Parameter("data", "image/jpeg", b"\x00\xff\r\n--X\r\n\r\n"),
    Parameter("bare", "application/octet-stream", b""),
]


def part(name: str, value: bytes = b"v", boundary: bytes = b"XX") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=XX", b"XX"),
        ("multipart/form-data;boundary=XX; charset=utf-8", b"XX"),
        ('multipart/form-data; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data; BOUNDARY=XX", b"XX"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary=""', None),
    ],
)
def test_boundary_is_taken_from_the_content_type(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


def test_parts_are_given_in_order_with_the_types_of_files_only() -> None:
    assert parse_multipart(BODY, b"XX") == PARTS


def test_every_truncation_gives_complete_parts_only() -> None:
    lengths = []
    for end in range(len(BODY)):
        got = parse_multipart(BODY[:end], b"XX")
        assert got == PARTS[: len(got)]
        lengths.append(len(got))
    assert lengths == sorted(lengths)
    assert lengths[-1] == 3


def test_every_lost_beginning_is_survived() -> None:
    for start in range(1, len(BODY)):
        got = parse_multipart(BODY[start:], b"XX")
        assert got == PARTS[len(PARTS) - len(got) :]


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"--XX", b"--XX--", b"--XX--\r\n", b"\r\n" * 50, b"--YY\r\n\r\nx\r\n--YY--"]
)
def test_what_has_no_parts_gives_none(body: bytes) -> None:
    assert parse_multipart(body, b"XX") == []


def test_text_before_and_after_the_parts_is_ignored() -> None:
    assert parse_multipart(b"before\r\n" + part("a") + b"--XX--\r\nafter\r\n" + part("b"), b"XX") == [
        Parameter("a", "", b"v")
    ]


def test_boundary_with_blanks_behind_it_is_one() -> None:
    body = part("a").replace(b"--XX\r\n", b"--XX \t\r\n") + b"--XX--"
    assert parse_multipart(body, b"XX") == [Parameter("a", "", b"v")]


def test_repeated_names_are_all_given() -> None:
    body = part("a", b"1") + part("a", b"2") + b"--XX--"
    assert [p.value for p in parse_multipart(body, b"XX")] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="gr\u00f6\u00dfe"', "gr\u00f6\u00dfe"),
        ('form-data; name="a;b"', "a;b"),
        ("FORM-DATA; NAME=a", "a"),
        ('form-data; name=""', ""),
    ],
)
def test_name_of_a_part(disposition: str, name: str) -> None:
    body = f"--XX\r\nContent-Disposition: {disposition}\r\n\r\nv\r\n--XX--".encode()
    assert [p.name for p in parse_multipart(body, b"XX")] == [name]


@pytest.mark.parametrize("head", ["Content-Type: text/plain", "Content-Disposition: form-data", "nonsense"])
def test_part_without_a_name_is_a_bad_request(head: str) -> None:
    with pytest.raises(BadRequestException, match="has no name"):
        parse_multipart(f"--XX\r\n{head}\r\n\r\nv\r\n--XX--".encode(), b"XX")


def test_part_with_an_endless_head_is_left_out() -> None:
    long = b"--XX\r\nX: " + b"y" * 9000 + b"\r\n\r\nv\r\n"
    assert parse_multipart(long + part("a") + b"--XX--", b"XX") == [Parameter("a", "", b"v")]


def test_too_many_parts_are_a_bad_request() -> None:
    assert len(parse_multipart(part("a") * MAX_PARTS + b"--XX--", b"XX")) == MAX_PARTS
    with pytest.raises(BadRequestException, match=f"more than {MAX_PARTS} parts"):
        parse_multipart(part("a") * (MAX_PARTS + 1) + b"--XX--", b"XX")


def test_large_file_is_one_value() -> None:
    value = bytes(range(256)) * 20_000
    assert parse_multipart(part("data", value) + b"--XX--", b"XX") == [Parameter("data", "", value)]
