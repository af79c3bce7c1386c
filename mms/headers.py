"""What HTTP headers and statuses look like to a handler, and which of its own HTTP can carry. Worker process."""

import re
from collections.abc import Iterable
from operator import index

HeaderValue = str | dict[str, str]
"""A header's text, or for an input parameter's name `{"content-type": "image/jpeg"}`."""
RequestHeaders = dict[str, HeaderValue]

MIN_STATUS = 200
MAX_STATUS = 999

_NOT_IN_A_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_UNENCODABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def check_status(code: object) -> int:
    """Return `code` as an int; ValueError unless it can be the status of a final answer (200 to 999)."""
    try:
        status = int(code) if isinstance(code, str) else index(code)  # type: ignore[arg-type]  # index() is the check
    except (TypeError, ValueError):
        raise ValueError(f"The response status must be an integer, not {code!r}.") from None
    if not MIN_STATUS <= status <= MAX_STATUS:
        raise ValueError(f"The response status must lie between {MIN_STATUS} and {MAX_STATUS}; it is {status}.")
    return status


def check_header(name: object, value: object) -> tuple[str, str]:
    """Return a response header as text; ValueError names the header that HTTP could not carry.

    Bytes are read as Latin-1, other values are converted by `str()`. Rules: RFC 9110, sections 5.1 and 5.5.
    """
    token = name if isinstance(name, str) else str(name)
    if not token or _NOT_IN_A_TOKEN.search(token):
        raise ValueError(f"{token!r} cannot be the name of a response header.")
    return token, check_text(f"The value of the response header {token!r}", value)


def check_text(what: str, value: object) -> str:
    """Return `value` as one line of text; the ValueError begins with `what`."""
    if value is None:
        raise ValueError(f"{what} must not be None.")
    if isinstance(value, bytes | bytearray):
        value = value.decode("latin-1")
    text = value if isinstance(value, str) else str(value)
    if _UNENCODABLE.search(text):
        raise ValueError(f"{what} must not contain line breaks, other control characters or lone surrogates.")
    return text


def mime_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip()


def split_headers(block: bytes) -> dict[str, str]:
    """Return the headers of an `InferenceRequest` by name. Of a repeat the last counts; Transfer-Encoding is left out.

    The handler gets the body whole, so how it travelled means nothing any more. Same rule as MMS (netty).
    """
    headers = {}
    for line in block.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon and name.lower() != "transfer-encoding":
            headers[name] = value.strip(" \t")
    return headers


def response_headers(headers: Iterable[tuple[str, str]]) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the content type and the other headers. Of names that differ in case only, the last one counts."""
    unique = {name.lower(): (name, value) for name, value in (check_header(*header) for header in headers)}
    content_type = unique.pop("content-type", None)
    return None if content_type is None else content_type[1], list(unique.values())
