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
from dataclasses import dataclass
from typing import Protocol

from mms.protocol.messages import Failure, InferenceRequest, Parameter, Pieces, Prediction
from mms.server.errors import InternalServerException, MMSError
from mms.server.http.answer import (
    Answer,
    Header,
    error_answer,
    failure_answer,
    is_plain,
    plain_head,
    prediction_answer,
)
from mms.server.http.payload import body_parameters, is_divided
from mms.server.http.request_id import RequestIds
from mms.server.registry import ModelRegistry

logger = logging.getLogger(__name__)

START = b"POST /predictions/"
HEAD = re.compile(
    rb"POST /predictions/([A-Za-z0-9_.~-]+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
MAX_HEAD_BYTES = 8192
SMALL_BODY_BYTES = 1 << 16
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
    """Takes a line for the access log, and counts the answer."""

    def answered(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Take one answered request."""


@dataclass(slots=True)
class Head:
    """What the head of an ordinary request says."""

    raw: bytes
    """All of it, with the empty line at its end."""
    model: str
    target: str
    headers: bytes
    """As InferenceRequest has them."""
    content_type: str
    is_divided: bool
    """Whether the body has parts or fields, each of them a parameter."""
    body_bytes: int


class Line(Protocol):
    """The connection as a Ride sees it."""

    transport: asyncio.Transport | None
    peer: str
    head: Head | None
    """Of its newest express request: most clients say the same again, and need not be read again."""

    def ride_is_over(self, rest: bytes) -> None:
        """Go on with the bytes that followed the request."""


class ExpressLane:
    """What all express requests of one listener share."""

    def __init__(self, registry: ModelRegistry, sink: Sink, *, max_request_bytes: int, cors: Sequence[Header]) -> None:
        self.registry = registry
        self.sink = sink
        self.max_request_bytes = max_request_bytes
        self.cors = cors
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.new_id = RequestIds().new
        self._call_soon = loop.call_soon
        self._outbox: list[tuple[Ride, asyncio.Transport, bytes]] = []

    def board(self, line: Line, data: bytes) -> "Ride | None":
        """Return the ride of the request that starts with `data`, or None if it is not for this lane.

        To be called with the first bytes of a request only. The body follows through `Ride.more`, from `Ride.start`.
        """
        head = line.head
        if head is None or not data.startswith(head.raw):
            head = line.head = self._read_head(data)
        return None if head is None else Ride(self, line, head)

    def post(self, ride: "Ride", transport: asyncio.Transport, answer: bytes) -> None:
        """Send a small answer at the end of the event loop's turn, together with the others of that turn.

        A worker answers several requests at once. Were each written as soon as it is made, a client of many connections
        would fall asleep after each and have to be woken for the next, which takes longer than to make an answer.
        """
        if not self._outbox:
            self._call_soon(self.flush)
        self._outbox.append((ride, transport, answer))

    def flush(self) -> None:
        """Send now what `post` was given. To be called before a connection of this lane is closed."""
        outbox, self._outbox = self._outbox, []
        for ride, transport, answer in outbox:
            try:
                if not transport.is_closing():
                    transport.write(answer)
            except Exception:
                # A fault of this connection is not the others'.
                logger.exception("Request %s could not be answered", ride.id)
                transport.abort()

    def _read_head(self, data: bytes) -> Head | None:
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
        headers = match[2][:-2].replace(b"\r\n", b"\n")
        position = lowered.find(CONTENT_LENGTH)
        if position >= 0:
            digits = _value(lowered, position + len(CONTENT_LENGTH))
            if lowered.find(CONTENT_LENGTH, position + 1) >= 0 or not DIGITS.fullmatch(digits):
                return None
            length = int(digits)
        else:
            headers += b"\ncontent-length: 0"
        if length > self.max_request_bytes:
            return None
        content_type = ""
        position = lowered.find(CONTENT_TYPE)
        if position >= 0:
            if lowered.find(CONTENT_TYPE, position + 1) >= 0:
                return None
            content_type = _value(match[2], position + len(CONTENT_TYPE) - 2).decode("latin-1")
        model = match[1].decode("ascii")
        return Head(
            raw=match[0],
            model=model,
            target=f"/predictions/{model}",
            headers=headers,
            content_type=content_type,
            is_divided=is_divided(content_type),
            body_bytes=length,
        )


def _value(headers: bytes, start: int) -> bytes:
    return headers[start : headers.index(b"\r\n", start)].strip(b" \t")


class Ride:
    """One express request, from its head to its answer. It is what its job settles (batching.Waiter)."""

    __slots__ = ("_begin", "_body", "_done", "_head", "_lane", "_line", "_missing", "_rest", "id")

    def __init__(self, lane: ExpressLane, line: Line, head: Head) -> None:
        self._lane = lane
        self._line = line
        self._head = head
        self._body: list[bytes] = []
        self._missing = head.body_bytes
        self._rest = b""
        self._done = False
        self._begin = lane.clock()
        self.id = ""
        """Given when the whole request is there."""

    @property
    def start(self) -> int:
        """Where the body begins in the bytes that the head came with."""
        return len(self._head.raw)

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
        try:
            if isinstance(result, Failure):
                self._answer(failure_answer(result))
            elif is_plain(result) and not self._lane.cors:
                self._send(plain_head(self.id, len(result.body)), result.body, 200, keep_alive=True)
            else:
                self._answer(prediction_answer(result))
        except Exception:
            # Called by the worker's end of the front, for one request of many: a fault here is this client's alone.
            logger.exception("Request %s (POST %s) could not be answered", self.id, self._head.target)
            if self._line.transport is not None:
                self._line.transport.abort()

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error; see batching.Waiter."""
        if not isinstance(error, MMSError):
            error = InternalServerException("Internal server error; the log has the details.")
        self._answer(error_answer(error))

    def _submit(self) -> None:
        head, lane = self._head, self._lane
        self.id = lane.new_id()
        try:
            model = lane.registry.get(head.model)
            if head.is_divided:
                parameters = body_parameters(head.content_type, b"".join(self._body))
            else:
                parameters = [Parameter("body", head.content_type, self._whole_body())]
            model.submit(InferenceRequest(self.id, head.headers, parameters), self)
        except MMSError as exc:
            self.set_exception(exc)
        except Exception as exc:
            logger.exception("Request %s (POST %s) failed", self.id, head.target)
            self.set_exception(exc)

    def _whole_body(self) -> bytes:
        pieces = self._body
        if len(pieces) == 1:
            return pieces[0]
        if self._head.body_bytes <= SMALL_BODY_BYTES:
            return b"".join(pieces)
        return Pieces(pieces)  # type: ignore[return-value]  # as good as bytes to those who send it on

    def _answer(self, answer: Answer) -> None:
        keep_alive = answer.keeps_open(asked=True)
        head = answer.head(self.id, keep_alive=keep_alive, cors=self._lane.cors)
        self._send(head, answer.body_for("POST"), answer.status, keep_alive=keep_alive)

    def _send(self, head: bytes, body: bytes | bytearray, status: int, *, keep_alive: bool) -> None:
        self._done = True
        lane, line = self._lane, self._line
        transport = line.transport
        if transport is None or transport.is_closing():
            return
        if len(body) < SMALL_BODY_BYTES:
            lane.post(self, transport, head + body)
        else:
            # Nobody falls asleep over this one. Behind what was posted, perhaps on the same connection.
            lane.flush()
            transport.writelines((head, body))
        milliseconds = int((lane.clock() - self._begin) * 1000)
        lane.sink.answered(line.peer, "POST", self._head.target, "HTTP/1.1", status, milliseconds)
        if keep_alive:
            line.ride_is_over(self._rest)
        else:
            lane.flush()
            transport.close()
