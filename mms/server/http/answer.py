"""What goes back to a client: status line, headers and body, as MMS writes them. Runs in the front process."""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from mms.protocol.messages import Failure, Prediction
from mms.server.errors import MMSError, RequestEntityTooLarge

CLASS_PHRASES = {1: "Informational", 2: "Success", 3: "Redirection", 4: "Client Error", 5: "Server Error"}
UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
OWN_HEADERS = (
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache; no-store, must-revalidate, private"),
    (
        "Expires",
        "Thu, 01 Jan 1970 00:00:00 UTC",
    ),
)
"""On every answer of MMS (util/NettyUtils.java); they win over what a handler sets."""


class Answer(web.StreamResponse):
    """A complete answer, sent exactly as it is: nothing is added that MMS does not send."""

    _keep_alive: bool

    def __init__(
        self,
        body: bytes | bytearray = b"",
        *,
        status: int = 200,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        bare: bool = False,
    ) -> None:
        """Make an answer. `reason` None is the standard phrase; a `bare` one gets no header beside its length."""
        super().__init__(status=status, reason=standard_phrase(status) if reason is None else reason)
        self.payload = body
        self.bare = bare
        self.malformed = False
        """Whether this answers bytes that were no request; the access log says so."""
        self._own = CIMultiDict(headers)
        self._keep_alive = True

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._keep_alive

    def finish(self, request: web.BaseRequest, request_id: str, extra: Iterable[tuple[str, str]]) -> None:
        """Add the headers of every answer; `extra` ones give way to what a handler set."""
        # MMS closes after every error; a client that asked for the end gets it (MMS ignores that).
        self._keep_alive = request.keep_alive and self.status < 400
        if self.bare:
            self._keep_alive = request.keep_alive and not request.headers.get("Transfer-Encoding")
            return
        headers = self._own
        for name, value in extra:
            headers.setdefault(name, value)
        headers["x-request-id"] = request_id
        for name, value in OWN_HEADERS:
            headers[name] = value
        headers["connection"] = "keep-alive" if self._keep_alive else "close"

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp: send the answer. Head and body leave together."""
        headers = self._own
        has_body = self.status >= 200 and self.status not in (204, 304)
        headers.pop("content-length", None)
        headers.pop("transfer-encoding", None)
        if has_body:
            headers["content-length"] = str(len(self.payload))
        writer = request.writer
        await writer.write_headers(f"HTTP/1.1 {self.status} {self.reason}", headers)
        if has_body and request.method != "HEAD":
            await writer.write_eof(bytes(self.payload) if isinstance(self.payload, bytearray) else self.payload)
        else:
            await writer.write_eof()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """aiohttp: everything was sent by `prepare`."""


def standard_phrase(status: int) -> str:
    """Return the reason phrase of a status, or Netty's for a code that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"{CLASS_PHRASES.get(status // 100, 'Unknown Status')} ({status})"


def json_answer(document: object, *, status: int = 200, reason: str | None = None) -> Answer:
    """Answer with a document, in the form that MMS gives its own."""
    body = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(errors="surrogatepass")
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


def prediction_answer(prediction: Prediction) -> Answer:
    """Answer with what a handler made. The worker has checked the headers; the worker is not trusted with them."""
    headers = [
        (name, value)
        for name, value in prediction.headers
        if not UNSENDABLE.search(name) and not UNSENDABLE.search(value)
    ]
    if prediction.content_type is not None and not UNSENDABLE.search(prediction.content_type):
        headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
        headers.append(("content-type", prediction.content_type))
    reason = UNSENDABLE.sub(" ", prediction.reason)
    return Answer(prediction.body, status=prediction.status, reason=reason, headers=headers)
