"""aiohttp's connection, taught MMS's way with what is no proper request. Runs in the front process."""

import socket
import struct
from typing import Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from mms.protocol.messages import Failure
from mms.server.http.answer import Answer, failure_answer

MAX_REQUEST_LINE_BYTES = 4096
MAX_HEADER_BYTES = 8192
READ_BUFFER_BYTES = 1 << 20
BAD_REQUEST_TARGET = "/bad-request"


class AccessSink(Protocol):
    """Takes a line for the access log and counts the answer."""

    def access(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Take one answered request."""


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp: answer bytes that are no request. Errors of handlers never come here: `Front` answers them."""
        answer = invalid_message()
        self._manager.finish(request, answer)  # type: ignore[union-attr]  # the manager is our Server
        return answer

    def eof_received(self) -> None:
        """asyncio: the client will send no more; if that was in the middle of a request, say so with a reset."""
        transport = self.transport
        if transport is not None and self._current_request is not None and not self._current_request.content.is_eof():
            sock = transport.get_extra_info("socket")
            if isinstance(sock, socket.socket) or hasattr(sock, "setsockopt"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server(web.Server):
    """Makes a Connection for every client."""

    def __init__(self, front: Any, sink: AccessSink, **options: Any) -> None:
        super().__init__(
            front,
            handler_cancellation=True,
            access_log_class=lambda _log, _format: AccessLog(sink),
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
            **options,
        )
        self.finish = front.finish

    def __call__(self) -> Connection:
        """aiohttp: make the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)


class AccessLog(AbstractAccessLogger):
    """Passes what aiohttp knows of a finished request on to the log."""

    def __init__(self, sink: AccessSink) -> None:
        self._sink = sink

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """aiohttp: an answer was sent; `time` is in seconds."""
        if isinstance(response, Answer) and response.malformed:
            method, target, version = "GET", BAD_REQUEST_TARGET, "HTTP/1.1"
        else:
            method, target = request.method, request.raw_path
            version = f"HTTP/{request.version.major}.{request.version.minor}"
        self._sink.access(peer_of(request), method, target, version, response.status, int(time * 1000))


def peer_of(request: web.BaseRequest) -> str:
    """Return the client's address as MMS logs it: `/127.0.0.1:56506`, or `0.0.0.0` on a unix socket."""
    peer = request.protocol.peername
    if not isinstance(peer, tuple):
        return "0.0.0.0"
    host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
    return f"/{host}:{peer[1]}"


def invalid_message() -> Answer:
    """Answer what is no HTTP."""
    answer = failure_answer(Failure(400, "BadRequestException", "Invalid HTTP message."))
    answer.malformed = True
    return answer
