"""aiohttp's connection, taught MMS's way with what is no proper request. Runs in the front process."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from aiohttp.abc import AbstractAccessLogger, AbstractStreamWriter
from aiohttp.streams import StreamReader

from mms.server.http import web
from mms.server.http.answer import Answer, invalid_message
from mms.server.http.express import MAX_HELD_BYTES, ExpressLane, Head, Ride, Sink
from mms.server.http.lenient import mended

MAX_REQUEST_LINE_BYTES = 4096
MAX_HEADER_BYTES = 8192
READ_BUFFER_BYTES = 1 << 20
SMALL_BODY_BYTES = 1 << 16
BAD_REQUEST_TARGET = "/bad-request"


class Response(web.StreamResponse):
    """An Answer on its way through aiohttp, sent as it is."""

    def __init__(self, answer: Answer, head: bytes, *, keep_alive: bool) -> None:
        super().__init__(status=answer.status, reason="")
        self.answer = answer
        self._head = head
        self._open = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp: send the answer."""
        writer = request.writer
        # Bytes of our own making, not aiohttp's headers: it would add a Date, a Server and a Content-Type.
        body = self.answer.body_for(request.method)
        if len(body) <= SMALL_BODY_BYTES:
            await writer.write(self._head + body)
        else:
            await writer.write(self._head)
            await writer.write(body)
        await writer.write_eof()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """aiohttp: everything was sent by `prepare`."""


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_lane", "_last_ride", "_ride", "head", "incoming", "peer", "spoken_method")

    def __init__(self, *args: Any, lane: ExpressLane | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lane = lane
        self._ride: Ride | None = None
        self._last_ride: asyncio.Future[None] | None = None
        """Waited for by `shutdown`, if a ride is under way then."""
        self.peer = ""
        self.head: Head | None = None
        """See express.Line."""
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
        return cast(Server, self._manager).respond(request, invalid_message())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client is there."""
        super().connection_made(transport)
        self.peer = peer_name(transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived. They belong to the express lane until its first request that is not ordinary."""
        if self._ride is not None:
            self._ride.more(data)
            return
        if self._lane is not None and not self._force_close and not self._close:
            ride = self._lane.board(self, data)
            if ride is not None:
                self._ride = ride
                ride.more(data[ride.start :])
                return
            self._send_posted()
            self._lane = None
        self.data_for_aiohttp(data)

    def data_for_aiohttp(self, data: bytes) -> None:
        """Let aiohttp read `data`."""
        super().data_received(data)
        if self._messages:
            self.incoming = self._messages[-1][1]

    def ride_is_over(self, rest: bytes) -> None:
        """An express request was answered; `rest` is what the client sent behind it."""
        self._end_ride()
        transport = self.transport
        if transport is None:
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._close:
            self._send_posted()
            transport.close()
        elif rest:
            if len(rest) > MAX_HELD_BYTES:
                transport.resume_reading()
            self.data_received(rest)

    def connection_lost(self, exc: BaseException | None) -> None:
        """asyncio: the client is gone."""
        if self._ride is not None:
            self._ride.leave()
            self._end_ride()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - the signature is aiohttp's
        """aiohttp: let the request in hand finish, for `timeout` seconds at most."""
        self._close = True
        self._send_posted()
        if self._ride is not None:
            self._last_ride = self._loop.create_future()
            await asyncio.wait((self._last_ride,), timeout=timeout)
        await super().shutdown(timeout)

    def _send_posted(self) -> None:
        if self._lane is not None:
            self._lane.flush()

    def _end_ride(self) -> None:
        self._ride = None
        if self._last_ride is not None and not self._last_ride.done():
            self._last_ride.set_result(None)

    def eof_received(self) -> None:
        """asyncio: the client will send no more; if that was in the middle of a request, say so with a reset."""
        # What follows may close the transport.
        self._send_posted()
        unfinished = self.incoming is not None and not self.incoming.is_eof()
        if self._ride is not None:
            unfinished = not self._ride.body_is_complete
        if unfinished and self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class LenientConnection(Connection):
    """A connection with `lenient_http=true`: understands what MMS's parser understood and HTTP does not allow."""

    __slots__ = ("_in_head",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = False

    def data_for_aiohttp(self, data: bytes) -> None:
        """Let aiohttp read `data`. Only whole heads on an idle connection are mended."""
        idle = self._current_request is None and not self._messages and not self._request_in_progress
        if idle and not self._in_head and (self.incoming is None or self.incoming.is_eof()):
            data, self.spoken_method = mended(data)
        seen = self._request_count
        super().data_for_aiohttp(data)
        self._in_head = idle and self._request_count == seen


class Server(web.Server):
    """Makes a Connection for every client."""

    def __init__(self, front: Any, sink: Sink, *, lane: ExpressLane | None, lenient: bool) -> None:
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
        self._lane = lane
        self.respond: Callable[[web.BaseRequest, Answer], Response] = front.respond

    def __call__(self) -> Connection:
        """aiohttp: make the protocol of a new connection."""
        return self._connection(self, loop=self._loop, lane=self._lane, **self._kwargs)


class AccessLog(AbstractAccessLogger):
    """Passes what aiohttp knows of a finished request on to the log."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """aiohttp: an answer was sent; `time` is in seconds."""
        connection = cast(Connection, request.protocol)
        if isinstance(response, Response) and response.answer.malformed:
            method, target, version = "GET", BAD_REQUEST_TARGET, "HTTP/1.1"
        else:
            method, target = connection.spoken_method or request.method, request.raw_path
            version = f"HTTP/{request.version.major}.{request.version.minor}"
        self._sink.answered(connection.peer, method, target, version, response.status, int(time * 1000))


def peer_name(transport: asyncio.BaseTransport) -> str:
    """Return the client's address as MMS logs it: `127.0.0.1:56506`, or `0.0.0.0` on a unix socket."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return "0.0.0.0"
    host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
    return f"{host}:{peer[1]}"
