"""What goes back to a client: status line, headers and body, as MMS writes them. Runs in the front process."""

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from mms.protocol.messages import Failure, Prediction
from mms.server.errors import MMSError, RequestEntityTooLarge

Header = tuple[str, str]

CLASS_PHRASES = {1: "Informational", 2: "Success", 3: "Redirection", 4: "Client Error", 5: "Server Error"}
UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# On every answer of MMS (util/NettyUtils.java); they win over what a handler sets.
OWN_HEADERS = (
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache; no-store, must-revalidate, private\r\n"
    "Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\n"
)
OWN_NAMES = frozenset(
    (
        *("x-request-id", "pragma", "cache-control", "expires"),
        *("connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer"),
    )
)


class Answer:
    """A complete answer. Nothing is ever added to it that MMS does not send."""

    __slots__ = ("bare", "body", "headers", "malformed", "reason", "status")

    def __init__(
        self,
        body: bytes | bytearray = b"",
        *,
        status: int = 200,
        reason: str | None = None,
        headers: Sequence[Header] = (),
        bare: bool = False,
    ) -> None:
        """Make an answer. `reason` None is the standard phrase; a `bare` one gets no header beside its length."""
        self.status = status
        self.reason = standard_phrase(status) if reason is None else reason
        self.headers = headers
        self.body = body
        self.bare = bare
        self.malformed = False
        """Whether this answers bytes that were no request; the access log says so."""

    def keeps_open(self, *, asked: bool) -> bool:
        """Whether the connection stays open, where the client asked for that: MMS closes after every error."""
        return asked and (self.status < 400 or self.bare)

    def head(self, request_id: str, *, keep_alive: bool, cors: Sequence[Header] = ()) -> bytes:
        """Return the status line and all headers, up to the empty line."""
        has_body = self.status >= 200 and self.status not in (204, 304)
        length = f"content-length: {len(self.body)}\r\n" if has_body else ""
        if self.bare:
            return f"HTTP/1.1 {self.status} {self.reason}\r\n{length}\r\n".encode("latin-1")
        lines = ""
        if self.headers or cors:
            own = [(name, value) for name, value in self.headers if name.lower() not in OWN_NAMES]
            names = {name.lower() for name, _ in own}
            own += [(name, value) for name, value in cors if name not in names]
            lines = "".join([f"{name}: {value}\r\n" for name, value in own])
        connection = "keep-alive" if keep_alive else "close"
        return (
            f"HTTP/1.1 {self.status} {self.reason}\r\n{lines}x-request-id: {request_id}\r\n{OWN_HEADERS}"
            f"{length}connection: {connection}\r\n\r\n"
        ).encode("utf-8", "replace")

    def body_for(self, method: str) -> bytes | bytearray:
        """Return the body as far as it is sent: not for HEAD, nor with a status that has none."""
        return b"" if method == "HEAD" or self.status < 200 or self.status in (204, 304) else self.body


def is_plain(prediction: Prediction) -> bool:
    """Whether `plain_head` is the head of its answer."""
    return (
        prediction.status == 200
        and not prediction.headers
        and not prediction.reason
        and prediction.content_type is None
    )


def plain_head(request_id: str, body_bytes: int) -> bytes:
    """Return the head of the most common answer, status 200 and a body, as `Answer.head` would make it."""
    return (
        f"HTTP/1.1 200 \r\nx-request-id: {request_id}\r\n{OWN_HEADERS}"
        f"content-length: {body_bytes}\r\nconnection: keep-alive\r\n\r\n"
    ).encode("ascii")


def standard_phrase(status: int) -> str:
    """Return the reason phrase of a status, or Netty's for a code that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"{CLASS_PHRASES.get(status // 100, 'Unknown Status')} ({status})"


def json_answer(document: object, *, status: int = 200, reason: str | None = None) -> Answer:
    """Answer with a document, in the form that MMS gives its own."""
    body = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    return Answer(body, status=status, reason=reason, headers=[("content-type", "application/json")])


def status_answer(text: str, *, status: int = 200, reason: str | None = None) -> Answer:
    """Answer a management call."""
    return json_answer({"status": text}, status=status, reason=reason)


def error_answer(error: MMSError) -> Answer:
    """Turn an error into its answer."""
    if isinstance(error, RequestEntityTooLarge):
        return Answer(status=413, reason="Request Entity Too Large", bare=True)
    return failure_answer(Failure(error.status, error.type, str(error)))


def failure_answer(failure: Failure) -> Answer:
    """Answer with MMS's error body."""
    document: dict[str, Any] = {"code": failure.code, "type": failure.type, "message": failure.message}
    return json_answer(document, status=failure.code)


def invalid_message() -> Answer:
    """Answer what is no HTTP."""
    answer = failure_answer(Failure(400, "BadRequestException", "Invalid HTTP message."))
    answer.malformed = True
    return answer


def prediction_answer(prediction: Prediction) -> Answer:
    """Answer with what a handler made. The worker has checked the headers; the worker is not trusted with them."""
    headers: Sequence[Header] = prediction.headers
    if headers or prediction.content_type is not None:
        headers = [(name, value) for name, value in headers if _is_sendable(name, value)]
        if prediction.content_type is not None and _is_sendable("content-type", prediction.content_type):
            headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
            headers.append(("content-type", prediction.content_type))
    reason = UNSENDABLE.sub(" ", prediction.reason) if prediction.reason else ""
    return Answer(prediction.body, status=prediction.status, reason=reason, headers=headers)


def _is_sendable(name: str, value: str) -> bool:
    return HEADER_NAME.fullmatch(name) is not None and not UNSENDABLE.search(value)
