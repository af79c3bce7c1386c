"""aiohttp that answers by itself, without a worker. Run as `python bare.py PORT noop|echo`."""

import sys
from asyncio import AbstractEventLoop

from aiohttp import web

MAX_BODY_BYTES = 1 << 24


async def noop(request: web.Request) -> web.Response:
    """Answer what the handler of the same name does."""
    await request.read()
    return web.Response(body=b"OK")


async def echo(request: web.Request) -> web.Response:
    """Answer with the body."""
    return web.Response(body=await request.read())


async def ping(request: web.Request) -> web.Response:
    """Say that the server is there."""
    return web.json_response({"status": "Healthy"})


def make_loop() -> AbstractEventLoop | None:
    """Return the loop that our server would run on too: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: AbstractEventLoop = uvloop.new_event_loop()
    return loop


def main(port: int, answer: str) -> None:
    """Serve until a signal comes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/ping", ping)
    app.router.add_post("/predictions/{model}", {"noop": noop, "echo": echo}[answer])
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=make_loop())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
