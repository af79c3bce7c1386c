"""The parts of aiohttp's server that this one is made of. Runs in the front process.

`aiohttp.web` would import its applications, router and file responses as well, and the start of the server wait for it.
"""

from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

__all__ = ["BaseRequest", "RequestHandler", "RequestPayloadError", "Server", "StreamResponse"]
