"""Mends heads that MMS accepted although HTTP does not allow them (`lenient_http=true`). Runs in the front process.

Off by default: where two servers in a row read one request differently, a client can smuggle a second one past the
first (RFC 9112, sections 2.2 and 6.3).
"""

import re

STAND_IN_METHOD = "PATCH"
"""Means nothing to any route of ours: those that take every method take it, the others answer 405."""
KNOWN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"))
METHOD = re.compile(rb"([A-Z]{1,32}) (?=/)")
HOST = re.compile(rb"\r\nhost:", re.IGNORECASE)
OTHER_VERSION = re.compile(rb"(?<=[^\r\n]) HTTP/(?!1\.[01]\r)[0-9]\.[0-9]\r\n")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[^\r\n]*(?=\r\n)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


def mended(data: bytes) -> tuple[bytes, str | None]:
    """Return bytes that start with a request as a strict parser wants them, and the method if it was replaced.

    No Host, a version that does not exist, lines that end in a line feed alone, methods the parser does not know, and
    a Content-Length beside `Transfer-Encoding: chunked` (chunked wins). Anything else, and any head that is not
    complete, stays as it is.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        head, end, rest = data.partition(b"\n\n")
        if not end or b"\r" in head:
            return data, None
        head = head.replace(b"\n", b"\r\n")
    head += b"\r\n"
    head = OTHER_VERSION.sub(b" HTTP/1.1\r\n", head, count=1)
    if not HOST.search(head) and b" HTTP/1.1\r\n" in head:
        head += b"Host: \r\n"
    if CHUNKED.search(head):
        head = CONTENT_LENGTH.sub(b"", head)
    method = METHOD.match(head)
    spoken = method[1].decode() if method else None
    if method and spoken not in KNOWN_METHODS:
        head = STAND_IN_METHOD.encode() + head[method.end() - 1 :]
        return head + b"\r\n" + rest, spoken
    return head + b"\r\n" + rest, None
