"""One place where the server listens, and the connections that came in there. Runs in the front process."""

import asyncio
import socket
from ssl import SSLContext

from mms.server.http.web import Server

BACKLOG = 1024


class Listener:
    """Takes connections for a server, from `open` to `close`."""

    def __init__(self, server: Server, *, shutdown_timeout_s: float) -> None:
        self._server = server
        self._shutdown_timeout_s = shutdown_timeout_s
        self._accepting: asyncio.Server | None = None

    async def open(self, sock: socket.socket, context: SSLContext | None) -> None:
        """Listen at a socket that is bound. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._accepting = await loop.create_server(self._server, sock=sock, ssl=context, backlog=BACKLOG)

    async def close(self) -> None:
        """Take no more connections, let the requests that run finish, and end what is left; may be called again."""
        if self._accepting is None:
            return
        self._accepting.close()
        self._accepting = None
        # A connection that was accepted just now shall begin with its request, and not count as idle.
        await asyncio.sleep(0)
        self._server.pre_shutdown()
        await self._server.shutdown(self._shutdown_timeout_s)
