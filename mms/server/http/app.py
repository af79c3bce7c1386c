"""What answers the requests of one listener: routes, errors, ids and the headers of every answer. Front process."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from mms.server.config import Config
from mms.server.errors import InternalServerException, MMSError, RequestEntityTooLarge, ResourceNotFoundException
from mms.server.http import web
from mms.server.http.answer import Answer, error_answer, invalid_message
from mms.server.http.connection import Response
from mms.server.http.inference import description_answer
from mms.server.http.request_id import RequestIds
from mms.server.http.target import Target, parse_target

logger = logging.getLogger(__name__)


class Api(Protocol):
    """A set of routes."""

    async def answer(self, request: web.BaseRequest, target: Target, request_id: str) -> Answer | None:
        """Answer a request, or return None if this API has no such route."""


class Front:
    """Answers every request of one listener. The only place where an exception becomes an answer."""

    def __init__(self, config: Config, apis: Sequence[Api], description: object) -> None:
        self._apis = apis
        self._ids = RequestIds()
        self._description = description
        self._max_request_bytes = config.max_request_size
        self.cors = [
            (name, value)
            for name, value in (
                ("access-control-allow-origin", config.cors_allowed_origin),
                ("access-control-allow-methods", config.cors_allowed_methods),
                ("access-control-allow-headers", config.cors_allowed_headers),
            )
            if value
        ]

    async def __call__(self, request: web.BaseRequest) -> Response:
        """Answer one request."""
        request_id = self._ids.new()
        try:
            answer = await self._route(request, request_id)
        except MMSError as exc:
            answer = error_answer(exc)
        except web.RequestPayloadError:
            answer = invalid_message()
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("Request %s (%s %s) failed", request_id, request.method, request.raw_path[:200])
            answer = error_answer(InternalServerException("Internal server error; the log has the details."))
        return self.respond(request, answer, request_id)

    def respond(self, request: web.BaseRequest, answer: Answer, request_id: str | None = None) -> Response:
        """Make an answer ready for sending."""
        asked = request.keep_alive and not (answer.bare and "Transfer-Encoding" in request.headers)
        keep_alive = answer.keeps_open(asked=asked)
        head = answer.head(request_id or self._ids.new(), keep_alive=keep_alive, cors=self.cors)
        return Response(answer, head, keep_alive=keep_alive)

    async def _route(self, request: web.BaseRequest, request_id: str) -> Answer:
        if "Expect" in request.headers:
            if request.headers["Expect"].lower() != "100-continue":
                return Answer(status=417, reason="Expectation Failed", bare=True)
            if (request.content_length or 0) > self._max_request_bytes:
                raise RequestEntityTooLarge
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (request.content_length or 0) > self._max_request_bytes:
            raise RequestEntityTooLarge
        if request.raw_path == "*" and request.method == "OPTIONS":
            target = Target((), ())
        else:
            target = parse_target(request.raw_path)
        if (answer := description_answer(request, target, self._description)) is not None:
            return answer
        for api in self._apis:
            if (answer := await api.answer(request, target, request_id)) is not None:
                return answer
        raise ResourceNotFoundException
