"""Addresses, in the forms and with the messages of MMS."""

import pytest

from mms.server.config.address import Address, parse_address
from mms.server.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "management", "expected"),
    [
        ("http://127.0.0.1:8080", False, Address("http", "127.0.0.1", 8080)),
        ("HTTPS://Example.org", False, Address("https", "Example.org", 443)),
        ("http://localhost", False, Address("http", "localhost", 80)),
        ("http://localhost", True, Address("http", "localhost", 8081)),
        ("https://localhost", True, Address("https", "localhost", 8444)),
        ("http://0.0.0.0:0", False, Address("http", "0.0.0.0", 0)),
        ("http://0.0.0.0:65535 ", False, Address("http", "0.0.0.0", 65535)),
        ("http://[::1]:8080", False, Address("http", "::1", 8080)),
        ("http://[::]/", False, Address("http", "::", 80)),
        ("unix:/run/mms.sock", True, Address("unix", path="/run/mms.sock")),
    ],
)
def test_valid_address(text: str, management: bool, expected: Address) -> None:
    assert parse_address(text, management=management) == expected


@pytest.mark.parametrize(
    "text", ["localhost:8080", "ftp://x", "http://", "http://a:b", "unix:relative", "http://::1:80"]
)
def test_invalid_address_names_the_text(text: str) -> None:
    with pytest.raises(ConfigurationError, match="^Invalid binding address: ") as error:
        parse_address(text, management=False)
    assert str(error.value).endswith(text)


def test_port_above_65535_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="^Invalid port number: http://127.0.0.1:65536$"):
        parse_address("http://127.0.0.1:65536", management=False)


@pytest.mark.parametrize("text", ["http://127.0.0.1:8080", "https://[::1]:8443", "unix:/tmp/x"])
def test_str_reads_back(text: str) -> None:
    assert str(parse_address(text, management=False)) == text


@pytest.mark.parametrize(
    ("text", "local"),
    [("http://127.1.2.3", True), ("http://[::1]", True), ("unix:/x", True), ("http://0.0.0.0", False)],
)
def test_is_local(text: str, local: bool) -> None:
    assert parse_address(text, management=True).is_local is local
