"""Property files, compared with an independent reader of them."""

import io
import random

import javaproperties
import pytest

from mms.server.config.properties import parse_properties

PIECES = [
    "\\",
    "\\\\",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    "\f",
    "=",
    ":",
    "#",
    "!",
    "a",
    "b",
    "n",
    "\\u00e4",
    "\\n",
    "\\t",
    "ü",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1\nb: 2\nc 3\nd\n", {"a": "1", "b": "2", "c": "3", "d": ""}),
        ("  # no\n\t! no\n\n a = 1  ", {"a": "1  "}),
        ("a=1\\\n   2\\\r\n\t3\nb=4", {"a": "123", "b": "4"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("# not continued\\\na=1", {"a": "1"}),
        ("a=1\\\n# continued", {"a": "1# continued"}),
        ("a=1\\\n\nb=2", {"a": "1", "b": "2"}),
        ("\\\na=1", {"a": "1"}),
        ("a=1\\", {"a": "1"}),
        ("k\\=e\\:y\\ x=1", {"k=e:y x": "1"}),
        ("=1", {"": "1"}),
        ("a==1\nb= :2", {"a": "=1", "b": ":2"}),
        ("a=\\t\\n\\r\\f\\q\\\\", {"a": "\t\n\r\fq\\"}),
        ("a=\\u00e4\\ud83d\\ude00\\ud83d", {"a": "ä\U0001f600\ud83d"}),
        ("a=1\na=2", {"a": "2"}),
        ("", {}),
    ],
)
def test_rules(text: str, expected: dict[str, str]) -> None:
    assert parse_properties(text.encode("latin-1")) == expected


def test_bytes_are_latin_1() -> None:
    assert parse_properties(b"a=\xe4") == {"a": "ä"}


@pytest.mark.parametrize("text", ["a=\\u00z4", "a=\\u12", "\\u=1"])
def test_bad_escape_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="malformed escape"):
        parse_properties(text.encode())


def test_any_text_is_read_as_by_another_reader() -> None:
    chance = random.Random(5)
    for _ in range(20_000):
        raw = "".join(chance.choices(PIECES, k=chance.randrange(14))).encode("latin-1")
        assert parse_properties(raw) == javaproperties.load(io.BytesIO(raw)), raw
