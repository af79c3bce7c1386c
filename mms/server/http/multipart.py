"""multipart/form-data bodies (RFC 7578), read whole from memory. Runs in the front process."""

from collections.abc import Iterator
from email.message import Message

from aiohttp.multipart import parse_content_disposition

from mms.protocol.messages import Parameter
from mms.server.errors import BadRequestException

MAX_PARTS = 1000
MAX_PART_HEADER_BYTES = 8192


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary that a Content-Type names, or None."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    return boundary.encode("latin-1", "replace") if boundary else None


def parse_multipart(body: bytes, boundary: bytes) -> list[Parameter]:
    """Return the complete parts, in order. What is cut off or no part is left out, as in MMS.

    A part without a file name is a plain field: its content type does not count. Raises BadRequestException for a
    part that has no name.
    """
    parameters: list[Parameter] = []
    for head, value in _parts(body, boundary):
        if len(parameters) == MAX_PARTS:
            raise BadRequestException(f"The multipart body has more than {MAX_PARTS} parts.")
        headers = _headers(head)
        _, disposition = parse_content_disposition(headers.get("content-disposition"))
        name = disposition.get("name")
        if name is None:
            raise BadRequestException("A part of the multipart body has no name.")
        is_file = "filename" in disposition or "filename*" in disposition
        content_type = headers.get("content-type", "application/octet-stream") if is_file else ""
        parameters.append(Parameter(name, content_type, value))
    return parameters


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    delimiter = b"\r\n--" + boundary
    # The first delimiter may stand at the very start, where no line break precedes it.
    position = 0 if body.startswith(delimiter[2:]) else _after(body, delimiter, 0) - len(delimiter) + 2
    while position >= 0:
        position += len(delimiter) - 2
        if body[position : position + 2] == b"--":
            return
        start = _after(body, b"\r\n", position)
        end = body.find(delimiter, max(start - 2, 0)) if start >= 0 else -1
        if end < 0:
            return
        head_end = body.find(b"\r\n\r\n", start - 2, end + 2)
        if head_end >= 0 and head_end - start <= MAX_PART_HEADER_BYTES:
            yield body[start:head_end], body[head_end + 4 : end]
        position = end + 2


def _after(body: bytes, needle: bytes, start: int) -> int:
    found = body.find(needle, start)
    return found + len(needle) if found >= 0 else -(1 << 62)


def _headers(head: bytes) -> dict[str, str]:
    headers = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers
