"""The short way for the one call that matters most: a plain `POST /predictions/{model}`. Runs in the front process.

aiohttp's request machinery (a task, a request object, a router, a response object) costs more than everything else
that a quick prediction needs. So an ordinary prediction request is read here, straight from the bytes of the
connection, and answered straight to it. What counts as ordinary is a strict subset of HTTP/1.1, checked by one regular
expression; anything else, down to a blank too many, goes to aiohttp untouched, together with all that follows it on
that connection. So there is one reader of any byte, and no second opinion on where a request ends.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Protocol

from mms.protocol.messages import Failure, InferenceRequest, Prediction
from mms.server.errors import InternalServerException, MMSError
from mms.server.http.answer import Answer, Header, error_answer, failure_answer, prediction_answer
from mms.server.http.payload import body_parameters
from mms.server.http.request_id import new_request_id
from mms.server.registry import ModelRegistry

logger = logging.getLogger(__name__)

START = b"POST /predictions/"
HEAD = re.compile(
    rb"POST /predictions/([A-Za-z0-9_.~-]+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
MAX_HEAD_BYTES = 8192
MAX_HELD_BYTES = 1 << 18
"""What a client may send ahead while its request is worked on, before reading from it is paused."""
HOST = b"\r\nhost:"
CONTENT_LENGTH = b"\r\ncontent-length:"
CONTENT_TYPE = b"\r\ncontent-type:"
# How the message travels; the ordinary request needs none of these.
UNUSUAL = re.compile(rb"\r\n(?:transfer-encoding|expect|connection|upgrade|te|trailer|http2-settings):")
KEEP_ALIVE = b"\r\nconnection: keep-alive\r\n"
DIGITS = re.compile(rb"[0-9]{1,15}")


class Sink(Protocol):
    """Takes a line for the access log and counts the answer."""

    def access(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Take one answered request."""

    def request_metric(self, status: int) -> None:
        """Count one answer."""


class Line(Protocol):
    """The connection as a Ride sees it."""

    transport: asyncio.Transport | None
    peer: str

    def ride_is_over(self, rest: bytes) -> None:
        """Go on with the bytes that followed the request."""


class ExpressLane:
    """What all express requests of one listener share."""

    def __init__(self, registry: ModelRegistry, sink: Sink, *, max_request_bytes: int, cors: Sequence[Header]) -> None:
        self.registry = registry
        self.sink = sink
        self.max_request_bytes = max_request_bytes
        self.cors = cors
        self.clock = asyncio.get_running_loop().time

    def board(self, line: Line, data: bytes) -> "Ride | None":
        """Return the ride of the request that starts with `data`, or None if it is not for this lane.

        To be called with the first bytes of a request only. The body follows through `Ride.more`, from `Ride.start`.
        """
        if not data.startswith(START):
            return None
        match = HEAD.match(data)
        if match is None or match.end() > MAX_HEAD_BYTES:
            return None
        # The line break before the first header makes every name start behind one.
        lowered = b"\r\n" + match[2].lower()
        if UNUSUAL.search(lowered) is not None and (KEEP_ALIVE not in lowered or len(UNUSUAL.findall(lowered)) > 1):
            return None
        if lowered.count(HOST) != 1:
            # RFC 9112, section 3.2: to be refused, which aiohttp does.
            return None
        length = 0
        position = lowered.find(CONTENT_LENGTH)
        if position >= 0:
            digits = _value(lowered, position + len(CONTENT_LENGTH))
            if lowered.find(CONTENT_LENGTH, position + 1) >= 0 or not DIGITS.fullmatch(digits):
                return None
            length = int(digits)
        if length > self.max_request_bytes:
            return None
        content_type = ""
        position = lowered.find(CONTENT_TYPE)
        if position >= 0:
            if lowered.find(CONTENT_TYPE, position + 1) >= 0:
                return None
            content_type = _value(match[2], position + len(CONTENT_TYPE) - 2).decode("latin-1")
        return Ride(self, line, match, content_type, length)


def _value(headers: bytes, start: int) -> bytes:
    return headers[start : headers.index(b"\r\n", start)].strip(b" \t")


class Ride:
    """One express request, from its head to its answer. It is what its job settles (batching.Waiter)."""

    __slots__ = (
        *("_begin", "_body", "_content_type", "_done", "_headers", "_lane", "_line", "_missing", "_model", "_rest"),
        *("id", "start"),
    )

    def __init__(self, lane: ExpressLane, line: Line, head: re.Match[bytes], content_type: str, length: int) -> None:
        self._lane = lane
        self._line = line
        self._model = head[1].decode("ascii")
        self._headers = head[2]
        self.start = head.end()
        """Where the body begins in the bytes that the head came with."""
        self._content_type = content_type
        self._body: list[bytes] = []
        self._missing = length
        self._rest = b""
        self._done = False
        self._begin = lane.clock()
        self.id = ""

    def more(self, data: bytes) -> None:
        """Take further bytes of the connection: of the body, and then of the next request."""
        if self.id:
            self._rest += data
            if len(self._rest) > MAX_HELD_BYTES and self._line.transport is not None:
                self._line.transport.pause_reading()
            return
        if len(data) > self._missing:
            self._rest = data[self._missing :]
            data = data[: self._missing]
        self._missing -= len(data)
        self._body.append(data)
        if self._missing == 0:
            self._submit()

    def done(self) -> bool:
        """Whether nobody waits any more; see batching.Waiter."""
        return self._done

    def leave(self) -> None:
        """The client is gone: its job is not worth working on."""
        self._done = True

    @property
    def body_is_complete(self) -> bool:
        """Whether the client has sent the whole request."""
        return bool(self.id)

    def set_result(self, result: Prediction | Failure) -> None:
        """Answer with what the handler made; see batching.Waiter."""
        self._answer(prediction_answer(result) if isinstance(result, Prediction) else failure_answer(result))

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error; see batching.Waiter."""
        if not isinstance(error, MMSError):
            error = InternalServerException("Internal server error; the log has the details.")
        self._answer(error_answer(error))

    def _submit(self) -> None:
        self.id = new_request_id()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        try:
            model = self._lane.registry.get(self._model)
            headers = self._headers[:-2].replace(b"\r\n", b"\n")
            if b"\ncontent-length" not in b"\n" + headers.lower():
                headers += b"\ncontent-length: 0"
            parameters = body_parameters(self._content_type, body)
            model.submit(InferenceRequest(self.id, headers, parameters), self)
        except MMSError as exc:
            self.set_exception(exc)
        except Exception as exc:
            logger.exception("Request %s (POST /predictions/%s) failed", self.id, self._model)
            self.set_exception(exc)

    def _answer(self, answer: Answer) -> None:
        self._done = True
        lane, line = self._lane, self._line
        transport = line.transport
        if transport is None or transport.is_closing():
            return
        keep_alive = answer.keeps_open(asked=True)
        head = answer.head(self.id, keep_alive=keep_alive, cors=lane.cors)
        body = answer.body_for("POST")
        if len(body) < 1 << 16:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        milliseconds = int((lane.clock() - self._begin) * 1000)
        lane.sink.access(line.peer, "POST", f"/predictions/{self._model}", "HTTP/1.1", answer.status, milliseconds)
        lane.sink.request_metric(answer.status)
        if keep_alive:
            line.ride_is_over(self._rest)
        else:
            transport.close()
