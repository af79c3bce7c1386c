"""ENDPOINT PLUGIN API: what a route of your own gets and gives. Runs in the front process; docs/endpoint_plugins.md.

A plugin is a class with `url_pattern` and at least one of `do_get`, `do_post`, `do_put` and `do_delete`:

    class Greeting(ModelServerEndpoint):
        url_pattern = "greeting"
        description = "Say hello."

        def do_get(self, request: Request, response: Response, context: Context) -> None:
            response.write_json({"hello": request.parameter("name") or "world", "models": sorted(context.models)})

Its distribution names it in the entry point group `mms.endpoints`, and the configuration key `plugins` turns it on.
"""

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, ClassVar

from mms.headers import check_header, check_status, check_text


class EndpointType(StrEnum):
    """The API that a plugin belongs to."""

    INFERENCE = "inference"
    MANAGEMENT = "management"


class ModelServerEndpoint:
    """What every plugin derives from. One object is made at the start of the server, without arguments.

    Methods may be `async`; those that are not run in a thread each, several at once, so they may block but must be
    safe to run side by side. A request for a method that the class does not have is answered 405, and an exception
    500. HEAD is answered as GET, without the body.
    """

    url_pattern: ClassVar[str]
    """First segment of the path, such as `execution-parameters`: the plugin gets that path and all below it."""
    endpoint_type: ClassVar[EndpointType] = EndpointType.INFERENCE
    description: ClassVar[str] = ""
    """For the API description, which `OPTIONS /` answers."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    uri: str
    """The target as it was sent, with its query."""
    path: str
    """The path, percent escapes undone."""
    parameters: Mapping[str, tuple[str, ...]]
    """Of the query: all values of a name, in order."""
    headers: Mapping[str, str]
    """By names in small letters; of a repeated header the values are joined by `, `."""
    body: bytes

    @property
    def content_type(self) -> str | None:
        """The Content-Type as it was sent, or None."""
        return self.headers.get("content-type")

    @property
    def stream(self) -> BinaryIO:
        """The body as a new file to read from its beginning."""
        return io.BytesIO(self.body)

    def header(self, name: str) -> str | None:
        """Return a header, whatever the case of its name, or None."""
        return self.headers.get(name.lower())

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        values = self.parameters.get(name)
        return values[0] if values else None


class Response:
    """What the client is to get: `200` and nothing, until a plugin says otherwise. Sent when the method returns.

    What HTTP cannot carry raises ValueError at once. The server adds the headers that it gives every answer.
    """

    def __init__(self) -> None:
        self.status = 200
        self.reason: str | None = None
        """The phrase of the status line; None is the standard one."""
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()

    def set_status(self, status: int, reason: str | None = None) -> None:
        """Set the status, 200 to 999, and its phrase."""
        self.status = check_status(status)
        self.reason = None if reason is None else check_text("The reason phrase", reason)

    def set_header(self, name: str, value: str) -> None:
        """Set a header in place of all of that name."""
        header = check_header(name, value)
        self.headers = [(old, text) for old, text in self.headers if old.lower() != name.lower()]
        self.headers.append(header)

    def add_header(self, name: str, value: str) -> None:
        """Add a header to those of that name."""
        self.headers.append(check_header(name, value))

    def set_content_type(self, content_type: str) -> None:
        """Set the Content-Type; without it none is sent."""
        self.set_header("content-type", content_type)

    def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Add to the body; a str as UTF-8."""
        self.body += data.encode() if isinstance(data, str) else data

    def write_json(self, document: object) -> None:
        """Add a document to the body, written as the server writes its own, and set the Content-Type."""
        self.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        self.set_content_type("application/json")


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of a model, as it is at the moment of the request."""

    is_running: bool
    """Whether it has loaded the model and takes requests."""
    memory_bytes: int
    """Resident memory when it was last looked at (`metric_time_interval`); 0 before."""


@dataclass(frozen=True, slots=True)
class Model:
    """One registered model, as it is at the moment of the request."""

    name: str
    url: str
    handler: str
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """The server, as it is at the moment of the request."""

    config: Mapping[str, str]
    """Every setting that has a value, defaults as well, written as in config.properties. Without passwords."""
    models: Mapping[str, Model] = field(default_factory=dict)
    """By name."""


EndpointMethod = Callable[[Request, Response, Context], Awaitable[None] | None]
"""The type of `do_get` and its like."""
