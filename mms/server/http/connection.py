"""aiohttp's connection, taught MMS's way with what is no proper request. Runs in the front process."""

import socket
import struct
from typing import Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.streams import StreamReader

from mms.protocol.messages import Failure
from mms.server.http.answer import Answer, failure_answer
from mms.server.http.lenient import mended

MAX_REQUEST_LINE_BYTES = 4096
MAX_HEADER_BYTES = 8192
READ_BUFFER_BYTES = 1 << 20
BAD_REQUEST_TARGET = "/bad-request"


class AccessSink(Protocol):
    """Takes a line for the access log and counts the answer."""

    def access(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Take one answered request."""

    def request_metric(self, status: int) -> None:
        """Count one answer."""


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("incoming", "spoken_method")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.incoming: StreamReader | None = None
        """The body of the newest request."""
        self.spoken_method: str | None = None
        """The method of the newest request, where the parser was told another one."""

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

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        super().data_received(data)
        if self._messages:
            self.incoming = self._messages[-1][1]

    def eof_received(self) -> None:
        """asyncio: the client will send no more; if that was in the middle of a request, say so with a reset."""
        if self.incoming is not None and not self.incoming.is_eof() and self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class LenientConnection(Connection):
    """A connection with `lenient_http=true`: understands what MMS's parser understood and HTTP does not allow."""

    __slots__ = ("_in_head",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = False

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived. Only whole heads on an idle connection are mended."""
        idle = self._current_request is None and not self._messages and not self._request_in_progress
        if idle and not self._in_head and (self.incoming is None or self.incoming.is_eof()):
            data, self.spoken_method = mended(data)
        seen = self._request_count
        super().data_received(data)
        self._in_head = idle and self._request_count == seen


class Server(web.Server):
    """Makes a Connection for every client."""

    def __init__(self, front: Any, sink: AccessSink, *, lenient: bool) -> None:
        super().__init__(
            front,
            handler_cancellation=True,
            access_log_class=lambda _log, _format: AccessLog(sink),
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
        )
        self._connection = LenientConnection if lenient else Connection
        self.finish = front.finish

    def __call__(self) -> Connection:
        """aiohttp: make the protocol of a new connection."""
        return self._connection(self, loop=self._loop, **self._kwargs)


class AccessLog(AbstractAccessLogger):
    """Passes what aiohttp knows of a finished request on to the log."""

    def __init__(self, sink: AccessSink) -> None:
        self._sink = sink

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """aiohttp: an answer was sent; `time` is in seconds."""
        if isinstance(response, Answer) and response.malformed:
            method, target, version = "GET", BAD_REQUEST_TARGET, "HTTP/1.1"
        else:
            method, target = getattr(request.protocol, "spoken_method", None) or request.method, request.raw_path
            version = f"HTTP/{request.version.major}.{request.version.minor}"
        self._sink.access(peer_of(request), method, target, version, response.status, int(time * 1000))
        self._sink.request_metric(response.status)


def peer_of(request: web.BaseRequest) -> str:
    """Return the client's address as MMS logs it: `127.0.0.1:56506`, or `0.0.0.0` on a unix socket."""
    peer = request.protocol.peername
    if not isinstance(peer, tuple):
        return "0.0.0.0"
    host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
    return f"{host}:{peer[1]}"


def invalid_message() -> Answer:
    """Answer what is no HTTP."""
    answer = failure_answer(Failure(400, "BadRequestException", "Invalid HTTP message."))
    answer.malformed = True
    return answer
